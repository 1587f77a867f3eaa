"""The reader of PASCAL VOC, on generated folders of its layout, beside torchvision's."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import VOCDetection

from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.benchmarks.voc import CLASSES, object_classes

Encode = Callable[..., bytes]
SIZES = {"train": 15, "val": 6, "test": 7}
HEAD = "<annotation>\n<filename>x</filename>\n<size><width>5</width></size>\n"
PART = "<part><name>head</name><difficult>1</difficult></part>"


def annotation(objects: list[tuple[str, int | None]]) -> str:
    """Objects with their class and the mark difficult, which may not be there; each has a part, too."""
    marks = [(name, "" if mark is None else f"<difficult>{mark}</difficult>") for name, mark in objects]
    return HEAD + "".join(f"<object><name>{n}</name>{m}{PART}</object>\n" for n, m in marks) + "</annotation>"


def objects_of(number: int) -> list[tuple[str, int | None]]:
    rng = np.random.default_rng(number)
    return [(CLASSES[rng.integers(20)], [0, 1, None][rng.integers(3)]) for _ in range(rng.integers(1, 6))]


def expected(number: int) -> set[str]:
    return {name for name, difficult in objects_of(number) if not difficult}


@pytest.fixture(params=["2007", "2012"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, encode: Encode) -> Path:
    """Images 1, 2 and so on, in the order of the splits; the number of a picture is its height."""
    folder = tmp_path / "VOCdevkit" / f"VOC{request.param}"
    for name in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    numbers = iter(range(1, 100))
    for part, size in SIZES.items():
        images = [next(numbers) for _ in range(size)]
        lines = "".join(f"{image:06d}\n" for image in images)
        (folder / "ImageSets" / "Main" / f"{part}.txt").write_text(lines)
        for image in images:
            (folder / "Annotations" / f"{image:06d}.xml").write_text(annotation(objects_of(image)))
            (folder / "JPEGImages" / f"{image:06d}.jpg").write_bytes(encode((image, 5), "jpeg"))
    return folder


def load(folder: Path) -> HierarchicalDataset:
    return load_dataset(folder.name.lower(), folder.parent)


def numbers(dataset: HierarchicalDataset, part: str) -> list[int]:
    return [int(Path(name).stem) for name in dataset.splits[part].ids]


def test_splits_targets_and_images_are_those_of_the_files(folder: Path) -> None:
    dataset = load(folder)
    assert (dataset.name, dataset.kind) == (folder.name.lower(), "image")
    assert dataset.hierarchy.names == CLASSES == tuple(sorted(CLASSES))
    assert len(CLASSES) == 20
    assert dataset.evaluated.all()
    if folder.name == "VOC2007":
        parts = [numbers(dataset, part) for part in dataset.splits]
        assert parts == [list(range(1, 16)), list(range(16, 22)), list(range(22, 29))]
        assert not any("validation" in note for note in dataset.notes)
    else:
        assert numbers(dataset, "test") == list(range(16, 22))
        assert sorted(numbers(dataset, "train") + numbers(dataset, "validation")) == list(range(1, 16))
        assert len(dataset.validation) in range(2, 6)
        assert any("validation: 20%" in note for note in dataset.notes)
        assert any("test: the official validation split" in note for note in dataset.notes)
    assert any("difficult" in note for note in dataset.notes)
    for part, split in dataset.splits.items():
        for row, number in enumerate(numbers(dataset, part)):
            classes = {CLASSES[node] for node in split.targets[row].nonzero().flatten()}
            assert classes == expected(number)
            assert split.inputs[row].shape == (3, number, 5)


def test_torchvision_reads_the_same(folder: Path) -> None:
    dataset = load(folder)
    year = folder.name[-4:]
    target_of = {
        name: target
        for split in dataset.splits.values()
        for name, target in zip(split.ids, split.targets, strict=True)
    }
    image_of = {
        name: split.inputs[row] for split in dataset.splits.values() for row, name in enumerate(split.ids)
    }
    seen = 0
    for image_set in ("train", "val", "test") if year == "2007" else ("train", "val"):
        oracle = VOCDetection(str(folder.parents[1]), year=year, image_set=image_set)
        for path, (image, content) in zip(oracle.images, oracle, strict=True):
            name = Path(path).relative_to(folder).as_posix()
            objects = content["annotation"]["object"]
            names = {item["name"] for item in objects if item.get("difficult") != "1"}
            assert target_of[name].tolist() == [known in names for known in CLASSES]
            assert torch.from_numpy(np.array(image)).permute(2, 0, 1).equal(image_of[name])
            seen += 1
    assert seen == len(target_of) == sum(len(split) for split in dataset.splits.values())


def test_annotations_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(folder)
    with monkeypatch.context() as patch:
        patch.setattr("hmc_shared.data.benchmarks.voc.read_annotations", None)
        second = load(folder)
    assert first.checksum == second.checksum
    assert first.train.targets.equal(second.train.targets)
    changed = folder / "Annotations" / "000001.xml"
    changed.write_text(annotation([("cow", 0)]))
    third = load(folder)
    assert third.checksum != first.checksum
    row = [*third.train.ids, *third.validation.ids].index("JPEGImages/000001.jpg")
    targets = torch.cat([third.train.targets, third.validation.targets])
    assert targets[row].nonzero().flatten().tolist() == [CLASSES.index("cow")]


def test_an_image_may_have_no_class() -> None:
    assert object_classes(annotation([("cat", 1), ("dog", 1)]).encode(), Path("x.xml")) == []
    assert object_classes(b"<annotation/>", Path("x.xml")) == []
    assert object_classes(annotation([("dog", 1), ("dog", 0), ("cat", None)]).encode(), Path("x.xml")) == [
        7,
        11,
    ]


@pytest.mark.parametrize("folder", ["2007"], indirect=True)
def test_damage_is_named_and_nothing_is_cached(folder: Path, own_cache: Path, encode: Encode) -> None:
    path = folder / "Annotations" / "000003.xml"
    content = path.read_text()
    path.write_text(content.removesuffix("</annotation>"))
    with pytest.raises(ValueError, match=rf"{path}:\d+: damaged XML"):
        load(folder)
    path.write_text(annotation([("unicorn", 0)]))
    with pytest.raises(ValueError, match=r"000003\.xml: the class of an object .* Found 'unicorn'"):
        load(folder)
    path.unlink()
    with pytest.raises(ValueError, match=r"000003\.xml is missing"):
        load(folder)
    path.write_text(content)
    assert not own_cache.exists()
    image = folder / "JPEGImages" / "000020.jpg"
    image.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"'JPEGImages/000020.jpg' is not an image"):
        load(folder)
    image.write_bytes(encode((20, 5), "jpeg"))
    lists = folder / "ImageSets" / "Main"
    (lists / "val.txt").write_text("000016\n000017\n\n000016\n")
    with pytest.raises(ValueError, match=r"val\.txt:4: the image '000016' is listed twice"):
        load(folder)
    (lists / "val.txt").write_text("000016\n000001\n")
    with pytest.raises(ValueError, match=r"the image 'JPEGImages/000001.jpg' should be in one split"):
        load(folder)
    (lists / "val.txt").write_text("\n")
    with pytest.raises(ValueError, match="the validation split should have images"):
        load(folder)
    (lists / "test.txt").unlink()
    with pytest.raises(ValueError, match=r"test\.txt of voc2007 is missing"):
        load(folder)


@pytest.mark.data
def test_classes_are_those_of_the_published_lists() -> None:
    path = Path(os.environ["HMC_DATA"], "splits", "voc2007", "classes.json")
    assert json.loads(path.read_text()) == list(CLASSES)
