"""The reader of the Grocery Store images, on small archives and folders and on the real ones."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hmc_shared.data import HierarchicalDataset, ImageTable, load_dataset

Encode = Callable[..., bytes]
CLASSES = """Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int)
Gala,0,Apple,0
Fuji,1,Apple,0
Banana,2,Banana,1
"""
LISTS = {
    "train": [
        ("Fruit/Apple/Gala/1.jpg", 0, 0),
        ("Fruit/Banana/1.jpg", 2, 1),
        ("Fruit/Apple/Fuji/1.jpg", 1, 0),
    ],
    "val": [("Fruit/Apple/Gala/2, ripe.jpg", 0, 0)],
    "test": [("Fruit/Banana/1.jpg", 2, 1), ("Fruit/Apple/Fuji/9.jpg", 1, 0)],
}


@pytest.fixture
def folder(tmp_path: Path, encode: Encode) -> Path:
    """The layout of the repository, three folders deep."""
    folder = tmp_path / "data" / "images" / "grocery"
    folder.mkdir(parents=True)
    (folder / "classes.csv").write_text(CLASSES)
    for number, (stem, rows) in enumerate(LISTS.items()):
        (folder / f"{stem}.txt").write_text("".join(f"{stem}/{name}, {a}, {b}\n" for name, a, b in rows))
        for row, (name, _, _) in enumerate(rows):
            path = folder / stem / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode((10 + number, 20 + row), "jpeg"))
    return folder


def pack(folder: Path, stem: str, *, prefix: str = "", remove: bool = True) -> Path:
    """Move the images of a split to an archive, in another order than listed."""
    archive = folder / f"{stem}.tar"
    with tarfile.open(archive, "w") as tar:
        for path in sorted((folder / stem).rglob("*"), reverse=True):
            tar.add(path, prefix + path.relative_to(folder).as_posix(), recursive=False)
    if remove:
        (folder / stem).rename(folder.parent / f"unpacked-{stem}")
    return archive


def load(folder: Path) -> HierarchicalDataset:
    return load_dataset("grocery", folder.parents[1])


@pytest.mark.parametrize("packed", ["", "tar", "tar with ./"])
def test_folders_and_archives_hold_the_same_set(folder: Path, packed: str) -> None:
    expected = load(folder)
    for stem in LISTS if packed else ():
        pack(folder, stem, prefix="./" if "./" in packed else "")
    dataset = load(folder)
    assert (dataset.name, dataset.kind, dataset.checksum) == ("grocery", "image", expected.checksum)
    assert dataset.hierarchy.names == ("Apple", "Banana", "Apple/Gala", "Apple/Fuji", "Banana/Banana")
    for number, ((stem, rows), split) in enumerate(zip(LISTS.items(), dataset.splits.values(), strict=True)):
        assert split.ids == tuple(f"{stem}/{name}" for name, _, _ in rows)
        for row, (_, fine, coarse) in enumerate(rows):
            assert split.targets[row].nonzero().flatten().tolist() == [coarse, 2 + fine]
            assert split.inputs[row].shape == (3, 10 + number, 20 + row)


def test_an_archive_writes_nothing(folder: Path, tmp_path: Path) -> None:
    archive = pack(folder, "val")
    content = (folder.parent / "unpacked-val" / LISTS["val"][0][0]).read_bytes()
    with tarfile.open(archive, "a") as tar:
        for name in ("../../escaped.jpg", str(tmp_path / "absolute.jpg")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    load(folder)
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before


def test_a_changed_list_is_noticed(folder: Path) -> None:
    first = load(folder)
    lines = (folder / "train.txt").read_text().splitlines()
    (folder / "train.txt").write_text("\n".join(lines[::-1]))
    second = load(folder)
    assert second.train.ids == first.train.ids[::-1]
    assert second.train.targets.equal(first.train.targets.flip(0))
    assert second.train.inputs[0].equal(first.train.inputs[2])
    assert second.checksum != first.checksum


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train/x.jpg, 0", "a line should be image, label, coarse label"),
        ("train/x.jpg, a, 0", "a label should be a number"),
        (", 0, 0", "a line should be image, label, coarse label"),
        ("train/x.jpg, 0, 1", "classes.csv has no class 0 below 1"),
        ("train/x.jpg, 7, 0", "classes.csv has no class 7 below 0"),
        ("train/Fruit/Banana/1.jpg, 2, 1", "the image 'train/Fruit/Banana/1.jpg' is listed twice"),
    ],
)
def test_a_damaged_list_is_named_with_its_line(folder: Path, line: str, message: str) -> None:
    with (folder / "train.txt").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(ValueError, match=rf"train\.txt:5: {message}"):
        load(folder)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("Fuji,3", "a row should be name, label, coarse name, coarse label"),
        ("Fuji,x,Apple,0", "a label should be a number"),
        ("Fuji,1,Apple,0", "a label should have one name"),
        ("Pear,3,Pears,0", "a label should have one name"),
    ],
)
def test_a_damaged_class_list_is_named_with_its_line(folder: Path, row: str, message: str) -> None:
    (folder / "classes.csv").write_text(f"{CLASSES}{row}\n")
    with pytest.raises(ValueError, match=rf"classes\.csv:5: {message}"):
        load(folder)


def test_empty_lists_are_refused(folder: Path) -> None:
    (folder / "test.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"test\.txt:1: no image is listed"):
        load(folder)
    (folder / "classes.csv").write_text(CLASSES.splitlines()[0])
    with pytest.raises(ValueError, match=r"classes\.csv:1: no class below the header"):
        load(folder)


def test_what_is_missing_or_damaged_is_named(folder: Path) -> None:
    image = folder / "test" / "Fruit" / "Banana" / "1.jpg"
    content = image.read_bytes()
    image.write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"grocery: 'test/Fruit/Banana/1.jpg' is not an image"):
        load(folder)
    archive = pack(folder, "test", remove=False)
    image.unlink()
    with pytest.raises(ValueError, match=r"1\.jpg is missing"):
        load(folder)
    (folder / "test").rename(folder / "away")
    with pytest.raises(ValueError, match=r"test\.tar: 'test/Fruit/Banana/1.jpg' is not an image"):
        load(folder)
    (folder / "away" / "Fruit" / "Banana" / "1.jpg").write_bytes(content)
    (folder / "away" / "Fruit" / "Apple" / "Fuji" / "9.jpg").unlink()
    (folder / "away").rename(folder / "test")
    pack(folder, "test")
    with pytest.raises(ValueError, match=r"test\.tar has no file 'test/Fruit/Apple/Fuji/9.jpg'"):
        load(folder)
    archive.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"test\.tar cannot be read: "):
        load(folder)
    archive.unlink()
    with pytest.raises(ValueError, match=r"test\.tar is missing"):
        load(folder)


def test_a_set_without_its_lists_is_named(folder: Path) -> None:
    (folder / "val.txt").unlink()
    with pytest.raises(ValueError, match=r"grocery: val\.txt of grocery is missing"):
        load(folder)
    (folder / "classes.csv").unlink()
    with pytest.raises(ValueError, match=r"grocery is not under .*: no classes\.csv there"):
        load(folder)


@pytest.mark.data
def test_the_real_archives() -> None:
    dataset = load_dataset("grocery", os.environ["HMC_DATA"])
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 2640,
        "validation": 296,
        "test": 2485,
    }
    names = dataset.hierarchy.names
    assert [len(level) for level in dataset.hierarchy.levels] == [43, 81]
    own_name = [name for name in names if "/" in name and len(set(name.split("/"))) == 1]
    assert len(own_name) == 26
    assert "Avocado/Avocado" in own_name
    assert dataset.train.targets.any(0).all()
    assert dataset.test.targets.any(0).all()
    for split in dataset.splits.values():
        assert isinstance(split.inputs, ImageTable)
        # The folders of the paths are labels made independently of the numbers in the lists.
        for name, target in zip(split.ids, split.targets, strict=True):
            coarse, fine = (names[node] for node in target.nonzero().flatten().tolist())
            folders = name.split("/")[2:-1]
            assert folders[-1] == fine.removeprefix(f"{coarse}/")
            assert len(folders) == 1 or folders == fine.split("/")
        for row in range(0, len(split), 97):
            image = split.inputs[row]
            oracle = np.asarray(Image.open(io.BytesIO(split.inputs.encoded(row))).convert("RGB"))
            np.testing.assert_array_equal(image.permute(1, 2, 0), oracle)
            assert min(image.shape[1:]) == 128
            assert image.float().std() > 5
