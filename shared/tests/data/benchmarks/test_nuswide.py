"""The reader of NUS-WIDE, on generated folders of its layout."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hmc_shared.data import HierarchicalDataset, load_dataset

Encode = Callable[..., bytes]
CONCEPTS = [f"concept{i:02d}" for i in range(25)][::-1]
SIZES = {"Train": 40, "Test": 20}


def labels_of(image: int) -> np.ndarray:
    """(25,) bool; concept i is the rarer the greater i * 7 % 25 is, and every eighth image has none."""
    share = 0.9 - 0.035 * (np.arange(25) * 7 % 25)
    return np.random.default_rng(image).random(25) < share * (image % 8 > 0)


COUNTS = sum(labels_of(image).astype(int) for image in range(1, 61))


def name_of(image: int) -> str:
    return f"folder{image % 3}/{image:04d}_9.jpg"


@pytest.fixture
def folder(tmp_path: Path, encode: Encode) -> Path:
    folder = tmp_path / "data" / "NUS-WIDE"
    for name in (
        "ImageList",
        "Groundtruth/TrainTestLabels",
        "ConceptsList",
        *(f"Flickr/folder{i}" for i in range(3)),
    ):
        (folder / name).mkdir(parents=True)
    (folder / "ConceptsList" / "Concepts81.txt").write_text("".join(f"{concept}\r\n" for concept in CONCEPTS))
    first = 1
    for stem, size in SIZES.items():
        images = range(first, first + size)
        first += size
        lines = [name_of(image).replace("/", "\\") + " \r\n" for image in images]
        (folder / "ImageList" / f"{stem}Imagelist.txt").write_text("".join(lines))
        table = np.stack([labels_of(image) for image in images])
        for concept, column in zip(CONCEPTS, table.T, strict=True):
            text = "".join(f"{int(label)} \n" for label in column)
            (folder / "Groundtruth" / "TrainTestLabels" / f"Labels_{concept}_{stem}.txt").write_text(text)
        for image in images:
            (folder / "Flickr" / name_of(image)).write_bytes(encode((image, 4), "jpeg"))
    return folder


def load(folder: Path, name: str = "nuswide") -> HierarchicalDataset:
    return load_dataset(name, folder.parents[1])


def check(dataset: HierarchicalDataset, columns: list[int], absent: tuple[int, ...] = ()) -> None:
    """Every image that has one of the concepts is there, with its own, on its side of the official split."""
    assert dataset.hierarchy.names == tuple(CONCEPTS[column] for column in columns)
    seen = {}
    for part, split in dataset.splits.items():
        for row, target in enumerate(split.targets.numpy()):
            image = split.inputs[row].shape[1]
            assert split.ids[row] == f"Flickr/{name_of(image)}"
            np.testing.assert_array_equal(target, labels_of(image)[columns])
            seen[image] = part
    labelled = {image for image in range(1, 61) if labels_of(image)[columns].any()}
    assert seen.keys() == labelled - set(absent)
    assert {image for image, part in seen.items() if part == "test"} == {
        image for image in seen if image > 40
    }
    assert (
        f"{60 - len(labelled)} images without any of the {len(columns)} classes were left out"
        in dataset.notes
    )


def test_splits_and_targets_are_those_of_the_files(folder: Path) -> None:
    dataset = load(folder, "NUSWide")
    assert (dataset.name, dataset.kind) == ("nuswide", "image")
    check(dataset, list(range(25)))
    assert dataset.notes[0].startswith("validation: 20%")


def test_the_21_most_frequent_concepts(folder: Path) -> None:
    dataset = load(folder, "nuswide21")
    order = sorted(range(25), key=lambda column: -COUNTS[column])
    assert COUNTS[order[20]] > COUNTS[order[21]]  # else the choice would not be clear
    check(dataset, sorted(order[:21]))


def test_images_that_are_not_on_disk_are_counted(folder: Path) -> None:
    expected = load(folder)
    assert not any("not in" in note for note in expected.notes)
    for image in (3, 44, 8):  # the eighth has no label
        (folder / "Flickr" / name_of(image)).unlink()
    dataset = load(folder)
    check(dataset, list(range(25)), absent=(3, 44))
    assert "2 images that are not in Flickr were left out" in dataset.notes
    (folder / "Flickr").rename(folder / "images")
    assert len(load(folder).test) == len(dataset.test)
    (folder / "images").rename(folder / "elsewhere")
    with pytest.raises(ValueError, match="NUS-WIDE: Flickr or images is missing"):
        load(folder)
    (folder / "Flickr").mkdir()
    with pytest.raises(ValueError, match="the train split should have images"):
        load(folder)


def test_labels_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(folder)
    with monkeypatch.context() as patch:
        patch.setattr("hmc_shared.data.benchmarks.nuswide.read_part", None)
        second = load(folder)
    assert (second.checksum, second.train.ids) == (first.checksum, first.train.ids)
    assert second.train.targets.equal(first.train.targets)


def test_damaged_lists_are_named(folder: Path, own_cache: Path) -> None:
    path = folder / "Groundtruth" / "TrainTestLabels" / "Labels_concept07_Test.txt"
    content = path.read_text()
    path.write_text(content.replace("0", "2", 1))
    line = 1 + content.split().index("0")
    with pytest.raises(ValueError, match=rf"{path}:{line}: a line should be 0 or 1, found '2'"):
        load(folder)
    path.write_text(content + "1\n")
    with pytest.raises(ValueError, match=rf"{path} should have a line for each of the 20 images .*Found 21"):
        load(folder)
    path.unlink()
    with pytest.raises(ValueError, match=r"Labels_concept07_Test\.txt is missing"):
        load(folder)
    path.write_text(content)
    images = folder / "ImageList" / "TestImagelist.txt"
    lines = images.read_text().splitlines()
    images.write_text("\n".join([*lines[:-1], lines[0]]))
    with pytest.raises(ValueError, match=r"TestImagelist\.txt should list each image once. Found 1 again"):
        load(folder)
    (folder / "ConceptsList" / "Concepts81.txt").unlink()
    with pytest.raises(ValueError, match=r"Concepts81\.txt is missing"):
        load(folder)
    assert not own_cache.exists()
