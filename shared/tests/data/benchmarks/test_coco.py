"""The reader of MS-COCO, on generated folders of its layout, beside torchvision's."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import CocoDetection

from hmc_shared.data import HierarchicalDataset, load_dataset

Encode = Callable[..., bytes]
# Ids have gaps, and the file is not in their order.
CATEGORIES = [(7, "train", "vehicle"), (1, "person", "person"), (3, "car", "vehicle"), (18, "dog", "animal")]
NAMES = ("person", "car", "train", "dog")
SIZES = {"train": 20, "val": 8}


def name_of(number: int, stem: str) -> str:
    return f"COCO_{stem}_{number:012d}.jpg" if stem.endswith("2014") else f"{number:012d}.jpg"


def expected(number: int) -> set[str]:
    return {name for i, name in enumerate(NAMES) if number >> i & 1}  # 16 has none


@pytest.fixture(params=["2014", "2017"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, encode: Encode) -> Path:
    """Images 1, 2 and so on; the number of a picture is its height."""
    folder = tmp_path / "coco"
    (folder / "annotations").mkdir(parents=True)
    numbers = iter(range(1, 100))
    id_of = {name: number for number, name, _ in CATEGORIES}
    for part, size in SIZES.items():
        stem = f"{part}{request.param}"
        (folder / stem).mkdir()
        images, instances = [], []
        for number in (next(numbers) for _ in range(size)):
            image = {"id": 1000 - number, "file_name": name_of(number, stem), "height": number, "width": 5}
            images.append(image)
            (folder / stem / image["file_name"]).write_bytes(encode((number, 5), "jpeg"))
            for name in sorted(expected(number)) * 2:  # two instances of each, in no order
                instances.append(
                    {
                        "id": len(instances),
                        "image_id": image["id"],
                        "category_id": id_of[name],
                        "iscrowd": len(instances) % 2,
                        "bbox": [0, 0, 1, 1],
                        "area": 1.0,
                        "segmentation": [[0.0, 1.0, 2.0, 3.0]],
                    }
                )
        np.random.default_rng(0).shuffle(instances)
        content = {
            "info": {},
            "images": images,
            "annotations": instances,
            "categories": [{"id": i, "name": n, "supercategory": s} for i, n, s in CATEGORIES],
        }
        (folder / "annotations" / f"instances_{stem}.json").write_text(json.dumps(content))
    return folder


def year(folder: Path) -> str:
    return max(path.name[-4:] for path in folder.iterdir() if path.name.startswith("train"))


def load(folder: Path, suffix: str = "") -> HierarchicalDataset:
    return load_dataset(f"coco{year(folder)}{suffix}", folder.parent)


def change(folder: Path, part: str, edit: Callable[[dict[str, Any]], object]) -> Path:
    path = folder / "annotations" / f"instances_{part}{year(folder)}.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return path


def positives(dataset: HierarchicalDataset) -> dict[int, set[str]]:
    """Height of an image to its classes."""
    classes_of_side = {}
    for split in dataset.splits.values():
        for row, target in enumerate(split.targets):
            classes = {dataset.hierarchy.names[node] for node in target.nonzero().flatten()}
            classes_of_side[split.inputs[row].shape[1]] = classes
    return classes_of_side


def test_splits_targets_and_images_are_those_of_the_files(folder: Path) -> None:
    dataset = load(folder)
    assert (dataset.name, dataset.kind) == (f"coco{year(folder)}", "image")
    assert dataset.hierarchy.names == NAMES
    assert dataset.hierarchy.num_levels == 1
    assert dataset.evaluated.all()
    assert positives(dataset) == {number: expected(number) for number in range(1, 29)}
    assert [int(Path(name).stem[-12:]) for name in dataset.test.ids] == list(range(21, 29))
    assert len(dataset.train) + len(dataset.validation) == 20
    assert len(dataset.validation) in range(3, 6)
    assert any("validation: 20%" in note for note in dataset.notes)
    assert any("test: the official validation split" in note for note in dataset.notes)
    files = {f"instances_{part}{year(folder)}.json" for part in SIZES}
    assert dataset.sources.keys() == {*files, "images"}


def test_the_tree_puts_categories_below_supercategories(folder: Path, own_cache: Path) -> None:
    plain = load(folder)
    entries = set(own_cache.iterdir())
    dataset = load(folder, "-TREE")
    assert set(own_cache.iterdir()) == entries  # the same images and labels
    assert dataset.name == f"coco{year(folder)}-tree"
    names = dataset.hierarchy.names
    assert names == (
        "person",
        "vehicle",
        "animal",
        "person/person",
        "vehicle/car",
        "vehicle/train",
        "animal/dog",
    )
    assert dataset.evaluated.tolist() == [False] * 3 + [True] * 4
    for split in dataset.splits.values():
        assert dataset.hierarchy.has_ancestors(split.targets)
    above = {name.split("/")[1]: name.split("/")[0] for name in names if "/" in name}
    for number, classes in positives(dataset).items():
        leaves = expected(number)
        assert classes == {f"{above[name]}/{name}" for name in leaves} | {above[name] for name in leaves}
    test = dataset.test.targets[:, dataset.evaluated]
    assert test.equal(plain.test.targets)
    assert dataset.checksum != plain.checksum


def test_torchvision_reads_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = load(folder)
    where = {name: (split, row) for split in dataset.splits.values() for row, name in enumerate(split.ids)}
    seen = 0
    for part in SIZES:
        stem = f"{part}{year(folder)}"
        oracle = CocoDetection(str(folder / stem), str(folder / "annotations" / f"instances_{stem}.json"))
        id_to_position = {category: i for i, category in enumerate(sorted(oracle.coco.getCatIds()))}
        for number, (image, instances) in zip(oracle.ids, oracle, strict=True):
            split, row = where[f"{stem}/{oracle.coco.loadImgs(number)[0]['file_name']}"]
            labels = {id_to_position[instance["category_id"]] for instance in instances}
            assert set(split.targets[row].nonzero().flatten().tolist()) == labels
            assert split.inputs[row].equal(torch.from_numpy(np.array(image)).permute(2, 0, 1))
            seen += 1
    assert seen == len(where) == 28
    capsys.readouterr()  # pycocotools prints


@pytest.mark.parametrize("folder", ["2014"], indirect=True)
def test_coco_is_coco2014(folder: Path) -> None:
    assert load_dataset("COCO", folder).name == "coco2014"


def test_annotations_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(folder)
    with monkeypatch.context() as patch:
        patch.setattr("hmc_shared.data.benchmarks.coco.read_instances", None)
        second = load(folder)
    assert second.checksum == first.checksum
    assert second.train.ids == first.train.ids
    assert second.train.targets.equal(first.train.targets)
    change(folder, "train", lambda content: content.update(annotations=content["annotations"][:1]))
    third = load(folder)
    assert third.checksum != first.checksum
    assert third.train.targets.sum() + third.validation.targets.sum() == 1


@pytest.mark.parametrize("folder", ["2017"], indirect=True)
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda content: content.pop("categories"), r"has no COCO instances: KeyError 'categories'\."),
        (lambda content: content["images"].pop(), r"has no COCO instances: KeyError 980\."),
        (lambda content: content["categories"].pop(), r"has no COCO instances: KeyError 18\."),
        (lambda content: content["images"][0].pop("file_name"), r"has no COCO instances: KeyError"),
        (lambda content: content.update(annotations=3), r"has no COCO instances: TypeError"),
    ],
)
def test_damaged_annotations_are_named(
    folder: Path, own_cache: Path, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = change(folder, "train", edit)
    with pytest.raises(ValueError, match=f"{path} {message}"):
        load(folder)
    assert not own_cache.exists()


@pytest.mark.parametrize("folder", ["2017"], indirect=True)
def test_other_damage_is_named(folder: Path) -> None:
    path = folder / "annotations" / "instances_train2017.json"
    content = path.read_text()
    path.write_text("{\n" + content[1:-1])
    with pytest.raises(ValueError, match=rf"{path}:2: damaged JSON"):
        load(folder)
    path.write_bytes(b"{\xff}")
    with pytest.raises(ValueError, match=rf"{path}:1: not UTF-8"):
        load(folder)
    path.write_text(content)
    image = folder / "val2017" / name_of(22, "val2017")
    image.unlink()
    with pytest.raises(ValueError, match=rf"{image} is missing"):
        load(folder)
    change(folder, "val", lambda content: content["categories"].pop(0) and content["annotations"].clear())
    with pytest.raises(
        ValueError, match="the categories of training and validation images should be the same"
    ):
        load(folder)
    path.unlink()
    with pytest.raises(
        ValueError, match=r"coco2017 is not under .*: no annotations/instances_train2017\.json"
    ):
        load(folder)


@pytest.mark.data
def test_the_real_images_of_val2017_read_as_coco(tmp_path: Path) -> None:
    """The sample of 128 + 128 images, written with its labels as COCO annotations."""
    source = Path(os.environ["HMC_DATA"])
    names = json.loads((source / "splits" / "coco_classes.json").read_text())
    labels = json.loads((source / "images" / "coco256" / "labels.json").read_text())
    (tmp_path / "annotations").mkdir()
    for stem, rows in labels.items():
        (tmp_path / stem).symlink_to(source / "images" / "coco256" / stem)
        images = [{"id": i, "file_name": file} for i, file in enumerate(rows)]
        instances = [
            {"image_id": i, "category_id": label + 1}
            for i, labels in enumerate(rows.values())
            for label in labels
        ]
        categories = [{"id": i + 1, "name": name, "supercategory": "x"} for i, name in enumerate(names)]
        content = {"images": images, "annotations": instances, "categories": categories}
        (tmp_path / "annotations" / f"instances_{stem}.json").write_text(json.dumps(content))
    dataset = load_dataset("coco2017", tmp_path)
    assert dataset.hierarchy.names == tuple(names)
    assert f"{dataset.test.targets.sum(1).double().mean():.2f}" == "2.91"
    for split in dataset.splits.values():
        for name, target in zip(split.ids, split.targets, strict=True):
            stem, file = name.split("/")
            assert target.nonzero().flatten().tolist() == sorted(labels[stem][file])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("dog", "animal"), "each should be given once. Found again: animal/dog."),
        (("dog", ""), "has a gap"),
        (("a", "b/c"), "'b/c/a' stands for two classes"),
    ],
)
def test_categories_that_make_no_tree_are_told_with_the_file(
    folder: Path, more: tuple[str, str], said: str
) -> None:
    categories = [*CATEGORIES, (19, "c/a", "b"), (20, *more)]
    for part in SIZES:
        change(
            folder,
            part,
            lambda content: content.update(
                categories=[{"id": i, "name": n, "supercategory": s} for i, n, s in categories]
            ),
        )
    with pytest.raises(ValueError, match=said) as caught:
        load(folder, "-tree")
    assert str(caught.value).startswith(f"{folder}/annotations/instances_train{year(folder)}.json, categor")
