"""The lists of VOC-LT and COCO-LT: small ones with their images, and the published ones."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.benchmarks.voc_coco_lt import CLASSES, read_list
from hmc_shared.data.describe import describe
from hmc_shared.data.formats.hf_export import export
from hmc_shared.metrics.ranking import head_medium_tail

Encode = Callable[..., bytes]
PLACES = {
    "voc-lt": {"train": "VOCdevkit/VOC2012/JPEGImages", "test": "VOCdevkit/VOC2007/JPEGImages"},
    "coco-lt": {"train": "train2017", "test": "val2017"},
}
SIZES = {"train": 130, "test": 9}


def labels_of(name: str, number: int) -> list[int]:
    """Class 3 in each of the 130 images for training; others at random, in no order; some have none."""
    others = np.random.default_rng(number).integers(0, len(CLASSES[name]), number % 4).tolist()
    return [*others, 3] if number <= SIZES["train"] else others


@pytest.fixture(params=PLACES)
def folder(request: pytest.FixtureRequest, tmp_path: Path, encode: Encode) -> Path:
    """Lists and images in separate folders; the number of a picture is its height."""
    name, numbers = request.param, iter(range(1, 1000))
    lists = tmp_path / "data" / "splits" / name.replace("-", "_")
    lists.mkdir(parents=True)
    for part, place in PLACES[name].items():
        images = tmp_path / "data" / "pictures" / place
        images.mkdir(parents=True)
        lines = []
        for number in (next(numbers) for _ in range(SIZES[part])):
            (images / f"{number:06d}.jpg").write_bytes(encode((number, 5), "jpeg"))
            lines.append(" ".join([f"{place}/{number:06d}.jpg", *map(str, labels_of(name, number))]) + " \n")
        (lists / f"{part}.txt").write_text("".join(lines))
    return lists


def load(folder: Path) -> HierarchicalDataset:
    return load_dataset(folder.name.replace("_", "-"), folder.parents[1])


def test_images_and_labels_are_those_of_the_lists(folder: Path) -> None:
    dataset = load(folder)
    assert dataset.hierarchy.names == CLASSES[dataset.name]
    assert dataset.hierarchy.num_levels == 1
    for split in dataset.splits.values():
        for row, image in enumerate(split.ids):
            number = int(Path(image).stem)
            assert set(split.targets[row].nonzero().flatten().tolist()) == set(
                labels_of(dataset.name, number)
            )
            assert split.inputs[row].shape == (3, number, 5)
    numbers = {part: {int(Path(i).stem) for i in split.ids} for part, split in dataset.splits.items()}
    assert numbers["train"] | numbers["validation"] == set(range(1, 131))
    assert not numbers["train"] & numbers["validation"]
    assert len(numbers["validation"]) in range(20, 33)
    assert numbers["test"] == set(range(131, 140))


def test_groups_are_those_of_the_published_counts(folder: Path, tmp_path: Path) -> None:
    dataset = load(folder)
    together = torch.cat([dataset.train.targets, dataset.validation.targets]).sum(0)
    assert dataset.train_counts.equal(together)
    assert dataset.train_counts[3] == 130
    assert dataset.train.targets[:, 3].sum() < 120
    assert any("published training counts" in note for note in dataset.notes)
    assert "head (100 or more)        1" in describe(dataset)
    export(dataset, tmp_path / "out")
    assert load_dataset(f"hf:{tmp_path / 'out'}").train_counts.equal(together)


def test_damage_is_named(folder: Path) -> None:
    path = folder / "train.txt"
    content = path.read_text()
    classes = len(CLASSES[folder.name.replace("_", "-")])
    for line, message in [
        (
            f"x.jpg 1 {classes}",
            rf"train\.txt:131: a label should be .* from 0 to {classes - 1}. Found '{classes}'",
        ),
        ("x.jpg -1", r"train\.txt:131: a label should be .*\. Found '-1'"),
        (content.splitlines()[0], r"train\.txt:131: the image .*000001\.jpg' is listed twice"),
    ]:
        path.write_text(content + line)
        with pytest.raises(ValueError, match=message):
            load(folder)
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"train\.txt should list images"):
        load(folder)
    path.write_text(content + (folder / "test.txt").read_text())
    with pytest.raises(ValueError, match=r"000131\.jpg' should be in one split"):
        load(folder)
    path.write_text(content)
    next(folder.parents[1].rglob("000007.jpg")).unlink()
    with pytest.raises(ValueError, match=r"000007\.jpg is missing"):
        load(folder)
    next(folder.parents[1].rglob("000001.jpg")).unlink()
    with pytest.raises(
        ValueError, match=r"the images of .* are not under .*000001\.jpg .* Unpack the official"
    ):
        load(folder)


@pytest.mark.data
@pytest.mark.parametrize(("name", "groups"), [("voc-lt", (6, 6, 8)), ("coco-lt", (22, 33, 25))])
def test_published_lists_have_the_published_groups(name: str, groups: tuple[int, ...]) -> None:
    folder = Path(os.environ["HMC_DATA"], "splits", name.replace("-", "_"))
    known = json.loads((folder / "class_freq.json").read_text())
    assert tuple(known["classes"]) == CLASSES[name]
    train, test = (read_list(folder / f"{part}.txt", len(CLASSES[name])) for part in ("train", "test"))
    counts = np.bincount(
        [label for labels in train.values() for label in labels], minlength=len(CLASSES[name])
    )
    assert counts.tolist() == known["class_freq"]
    assert tuple(members.sum() for members in head_medium_tail(counts).values()) == groups
    assert (len(train), len(test)) == {"voc-lt": (1142, 4952), "coco-lt": (1909, 5000)}[name]
