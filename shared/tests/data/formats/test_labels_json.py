"""Folders of images with a labels.json, generated and real."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.formats.hf_export import export

Encode = Callable[..., bytes]
Plant = Callable[..., Path]
NAMES = ["ant", "bee", "cow"]


def numbers_of(image: int) -> list[int]:
    return [label for label in range(3) if image >> label & 1]  # 8 has none


@pytest.fixture
def plant(tmp_path: Path, encode: Encode) -> Plant:
    """A function that writes images 1, 2 and so on in splits of some sizes, or all in one; their labels too.

    The number of a picture is its height.
    """

    def write(sizes: dict[str, int], *, names: bool = False, folders: bool = True) -> Path:
        root = tmp_path / "things"
        labels: dict[str, Any] = {}
        numbers = iter(range(1, 1000))
        for split, size in sizes.items():
            below = root / split if folders else root
            below.mkdir(parents=True, exist_ok=True)
            for number in (next(numbers) for _ in range(size)):
                (below / f"{number}.jpg").write_bytes(encode((number, 4), "jpeg"))
                of_image = [NAMES[label] if names else label for label in numbers_of(number)]
                (labels.setdefault(split, {}) if split else labels)[f"{number}.jpg"] = of_image
        (root / "labels.json").write_text(json.dumps(labels))
        return root

    return write


def load(root: Path) -> HierarchicalDataset:
    return load_dataset(f"labels:{root}")


def edit(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    labels = json.loads((root / "labels.json").read_text())
    change(labels)
    (root / "labels.json").write_text(json.dumps(labels))


def check(dataset: HierarchicalDataset) -> dict[str, set[int]]:
    """Targets are those of the images; the numbers of the images in each split."""
    seen = {}
    for part, split in dataset.splits.items():
        images = [split.inputs[row].shape[1] for row in range(len(split))]
        for image, name, target in zip(images, split.ids, split.targets, strict=True):
            assert Path(name).stem == str(image)
            assert target.nonzero().flatten().tolist() == numbers_of(image)
        seen[part] = set(images)
    return seen


@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("folders", [False, True])
@pytest.mark.parametrize("val", ["val", "validation", "VAL2017"])
def test_given_splits_are_kept(plant: Plant, names: bool, folders: bool, val: str) -> None:
    dataset = load(plant({"train2017": 12, val: 5, "test": 4}, names=names, folders=folders))
    assert (dataset.name, dataset.kind) == ("things", "image")
    assert dataset.hierarchy.names == (tuple(NAMES) if names else ("0", "1", "2"))
    seen = check(dataset)
    assert seen == {"train": {*range(1, 13)}, "validation": {*range(13, 18)}, "test": {*range(18, 22)}}
    assert dataset.notes == ()


def test_missing_splits_are_sampled(plant: Plant) -> None:
    seen = check(dataset := load(plant({"": 40}, names=True)))
    assert set.union(*seen.values()) == {*range(1, 41)}
    assert [len(images) for images in seen.values()] == [24, 8, 8]
    assert dataset.notes[0].startswith("splits: 60 %")
    seen = check(dataset := load(plant({"train": 20, "test": 6})))
    assert (len(seen["train"]), len(seen["validation"]), seen["test"]) == (16, 4, {*range(21, 27)})
    assert dataset.notes[0].startswith("validation: 20%")


def test_a_validation_split_stands_for_a_test_split(plant: Plant) -> None:
    seen = check(dataset := load(plant({"train2017": 20, "val2017": 6})))
    assert seen["test"] == {*range(21, 27)}
    assert seen["train"] | seen["validation"] == {*range(1, 21)}
    assert "test: the validation split, because there is no test split" in dataset.notes


def test_classes_may_be_named(plant: Plant) -> None:
    root = plant({"train": 10, "test": 5})
    names = ["cow", "ant", "bee", "unseen"]
    (root / "classes.json").write_text(json.dumps(names))
    dataset = load(root)
    assert dataset.hierarchy.names == tuple(names)
    check(dataset)
    assert dataset.sources.keys() == {"labels.json", "classes.json", "images"}
    root = plant({"train": 10, "test": 5}, names=True)
    dataset = load(root)
    order = [names.index(name) for name in NAMES]
    for split in dataset.splits.values():
        for row, target in enumerate(split.targets):
            assert target[order].nonzero().flatten().tolist() == numbers_of(split.inputs[row].shape[1])


def test_it_can_be_exported(plant: Plant, tmp_path: Path) -> None:
    dataset = load(plant({"train": 10, "test": 5}))
    export(dataset, tmp_path / "out")
    again = load_dataset(f"hf:{tmp_path / 'out'}")
    assert again.checksum == dataset.checksum
    assert again.test.targets.equal(dataset.test.targets)
    assert again.test.inputs[3].equal(dataset.test.inputs[3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: labels.clear(), "should map images, or splits and images, to labels"),
        (
            lambda labels: labels["train"].update({"1.jpg": None}),
            "labels of 'train/1.jpg' should be a list .*Found None",
        ),
        (
            lambda labels: labels["train"].update({"1.jpg": [1.0]}),
            r"labels of 'train/1.jpg' should be a list .*Found \[1.0\]",
        ),
        (
            lambda labels: labels["train"].update({"./2.jpg": [1]}),
            r"the image 'train/2.jpg' should be given once. Found again: './2.jpg'",
        ),
        (
            lambda labels: labels["train"].update({"../../2.jpg": [1]}),
            r"an image should lie inside the folder. Found 'train/../../2.jpg'",
        ),
        (
            lambda labels: labels["train"].update({"2.jpg": [10**11]}),
            "a number from 0 to 9999 .* 100000000000",
        ),
        (lambda labels: labels["train"].update({"2\0.jpg": [1]}), "a name should be UTF-8 text"),
        (lambda labels: labels["train"].update({"2.jpg": ["\ud800"]}), "a name should be UTF-8 text"),
        (
            lambda labels: labels["train"].update({"1.jpg": [True]}),
            "labels of 'train/1.jpg' should be a list",
        ),
        (lambda labels: labels["train"].update({"1.jpg": ["ant"]}), "names or numbers as labels. Found both"),
        (
            lambda labels: labels["train"].update({"1.jpg": [-1]}),
            "should be a number from 0 to 9999 .*Found -1",
        ),
        (lambda labels: labels["train"].update({"99.jpg": [1]}), r"99\.jpg is missing"),
        (lambda labels: labels.update(test={}), "the test split should have images"),
    ],
)
def test_damaged_labels_are_named(plant: Plant, change: Callable[[Any], object], message: str) -> None:
    root = plant({"train": 10, "test": 5})
    edit(root, change)
    with pytest.raises(ValueError, match=message) as caught:
        load(root)
    assert str(root) in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("[1, 2, 3]", r"classes\.json should be a list of names, or .* Found \[1, 2, 3\]"),
        ('{"0": "ant", "2": "bee"}', r"classes\.json should be a list of names"),
        ('{"ant": 0, "bee": 0}', r"classes\.json should be a list of names"),
        ('{"ant": 0, "ant": 1}', r"classes\.json: each name should be given once. Found 'ant' again"),
        ('["ant", "bee"]', r"labels\.json: a label of .* should be a number from 0 to 1. Found 2"),
        ('["ant", "bee", "ant"]', "things: .*ant"),
        ('["ant",\n"bee"', r"classes\.json:2: damaged JSON"),
    ],
)
def test_damaged_classes_are_named(plant: Plant, classes: str, message: str) -> None:
    root = plant({"train": 10, "test": 5})
    (root / "classes.json").write_text(classes)
    with pytest.raises(ValueError, match=message):
        load(root)


def test_damaged_files_are_named(plant: Plant, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="labels:PATH should name a"):
        load(tmp_path)
    root = plant({"train": 10, "test": 5})
    (root / "labels.json").write_text('{"train":\n {')
    with pytest.raises(ValueError, match=r"labels\.json:2: damaged JSON"):
        load(root)
    (root / "labels.json").write_bytes(b'{"\xff": []}')
    with pytest.raises(ValueError, match=r"labels\.json:1: not UTF-8 text"):
        load(root)
    (root / "labels.json").write_text("[]")
    with pytest.raises(ValueError, match="should map images"):
        load(root)


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("vector", [lambda i: [1, i % 2, 0], lambda i: [i % 2, 1 - i % 2]])
def test_vectors_of_0_and_1_are_no_numbers_of_classes(
    plant: Plant, vector: Callable[[int], list[int]], classes: bool
) -> None:
    root = plant({"": 12})
    (root / "labels.json").write_text(json.dumps({f"{i}.jpg": vector(i) for i in range(1, 13)}))
    if classes:
        (root / "classes.json").write_text('["a", "b", "c"]')
    with pytest.raises(
        ValueError, match=r"labels\.json should hold ids or names of classes\. Found a vector of 0 and 1"
    ):
        load(root)


def test_numbers_0_and_1_are_numbers_of_classes_where_some_images_have_both(plant: Plant) -> None:
    root = plant({"": 12})
    (root / "labels.json").write_text(json.dumps({f"{i}.jpg": [0, 1][: 1 + i % 2] for i in range(1, 13)}))
    assert load(root).hierarchy.names == ("0", "1")


@pytest.mark.parametrize(
    "classes", ['["c", "a", "b"]', '{"0": "c", "2": "b", "1": "a"}', '{"b": 2, "a": 1, "c": 0}']
)
def test_classes_may_be_a_list_or_a_mapping(plant: Plant, classes: str) -> None:
    root = plant({"train": 10, "test": 5})
    (root / "classes.json").write_text(classes)
    dataset = load(root)
    assert dataset.hierarchy.names == ("c", "a", "b")
    check(dataset)


def test_one_label_and_backslashes_may_be_written_plainly(plant: Plant) -> None:
    root = plant({"train": 10, "test": 5})
    expected = load(root)
    labels = json.loads((root / "labels.json").read_text())
    plain = {}
    for split, images in labels.items():
        plain |= {f".\\{split}\\{image}": of[0] if len(of) == 1 else of for image, of in images.items()}
    (root / "labels.json").write_text(json.dumps(plain))
    assert set(load(root).sources) == set(expected.sources)
    check(load(root))


@pytest.mark.data
def test_the_real_images_of_coco() -> None:
    root = Path(os.environ["HMC_DATA"], "images", "coco256")
    labels = json.loads((root / "labels.json").read_text())
    dataset = load(root)
    assert len(dataset.hierarchy) == 80
    assert (len(dataset.train) + len(dataset.validation), len(dataset.test)) == (128, 128)
    train = torch.cat([dataset.train.targets, dataset.validation.targets])
    assert [f"{targets.sum(1).double().mean():.2f}" for targets in (train, dataset.test.targets)] == [
        "2.83",
        "2.91",
    ]
    assert [int(targets.any(0).sum()) for targets in (train, dataset.test.targets)] == [71, 73]
    assert int((~train.any(1)).sum()) == 2
    for split in dataset.splits.values():
        for row in range(0, len(split), 11):
            folder, file = split.ids[row].split("/")
            assert split.targets[row].nonzero().flatten().tolist() == sorted(labels[folder][file])
            assert split.inputs.encoded(row) == (root / folder / file).read_bytes()
            assert split.inputs[row].float().std() > 5


@pytest.mark.data
def test_the_real_images_of_voc() -> None:
    root = Path(os.environ["HMC_DATA"], "images", "voc2012_85")
    labels = json.loads((root / "labels.json").read_text())
    dataset = load(root)
    names = dataset.hierarchy.names
    assert (len(names), sum(len(split) for split in dataset.splits.values())) == (30, 85)
    assert list(names) == sorted(names)
    for split in dataset.splits.values():
        for name, target in zip(split.ids, split.targets, strict=True):
            assert {names[node] for node in target.nonzero().flatten()} == set(labels[name])
