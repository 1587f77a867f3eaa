"""The reader of FGVC-Aircraft, on generated folders of its layout."""

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hmc_shared.data import HierarchicalDataset, load_dataset

Encode = Callable[..., bytes]
Path3 = tuple[str, str, str]
PATHS = {
    "train": [("Airbus", "A310", "A310"), ("Lockheed Martin", "F-16", "F-16A/B"), ("Airbus", "A320", "A319")],
    "val": [("Airbus", "A320", "A318")],
    "test": [("Airbus", "A320", "A318"), ("Lockheed Martin", "F-16", "F-16A/B")],
}
HEIGHT, WIDTH = 30, 12


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def write(folder: Path, images: dict[str, list[tuple[str, Path3]]], content: Callable[[str], bytes]) -> None:
    """Text files and images of the official layout: for each part (image name, its path)."""
    (folder / "images").mkdir(parents=True)
    boxes = []
    for part, rows in images.items():
        for column, level in enumerate(("manufacturer", "family", "variant")):
            lines = [f"{image} {path[column]}\n" for image, path in rows]
            (folder / f"images_{level}_{part}.txt").write_text("".join(lines))
        for image, _ in rows:
            (folder / "images" / f"{image}.jpg").write_bytes(content(image))
            boxes.append(f"{image} 3 2 8 6\n")
    (folder / "images_box.txt").write_text("".join(boxes))


@pytest.fixture
def folder(tmp_path: Path, encode: Encode) -> Path:
    folder = tmp_path / "fgvc-aircraft-2013b" / "data"
    numbers = iter(range(1, 100))
    images = {part: [(f"{next(numbers):07d}", path) for path in paths] for part, paths in PATHS.items()}
    write(folder, images, lambda image: encode(pixels(int(image))))  # the suffix of an image does not matter
    return folder


def load(folder: Path, name: str = "fgvc-aircraft") -> HierarchicalDataset:
    return load_dataset(name, folder.parents[1])


def test_splits_hierarchy_and_images_are_those_of_the_files(folder: Path) -> None:
    dataset = load(folder, "FGVC-Aircraft")
    assert (dataset.name, dataset.kind) == ("fgvc-aircraft", "image")
    assert dataset.hierarchy.names == (
        *("Airbus", "Lockheed Martin"),
        *("Airbus/A310", "Airbus/A320", "Lockheed Martin/F-16"),
        *("Airbus/A310/A310", "Airbus/A320/A318", "Airbus/A320/A319", "Lockheed Martin/F-16/F-16A/B"),
    )
    assert dataset.hierarchy.is_tree
    number = 0
    for paths, split in zip(PATHS.values(), dataset.splits.values(), strict=True):
        assert len(split) == len(paths)
        for row, path in enumerate(paths):
            number += 1
            assert split.ids[row] == f"{number:07d}"
            classes = {dataset.hierarchy.names[node] for node in split.targets[row].nonzero().flatten()}
            assert classes == {path[0], "/".join(path[:2]), "/".join(path)}
            without_banner = torch.from_numpy(pixels(number)).permute(2, 0, 1)[:, :-20]
            assert split.inputs[row].equal(without_banner)
    assert "banner" in dataset.notes[0]


def test_boxes_count_from_one_and_include_their_last_pixel(folder: Path) -> None:
    lines = (folder / "images_box.txt").read_text().splitlines()
    boxes = ["3 2 8 6", f"1 1 {WIDTH} {HEIGHT}", "4 5 4 5", "-3 2 99 6"]
    lines[:4] = [line.split()[0] + " " + box for line, box in zip(lines, boxes, strict=False)]
    (folder / "images_box.txt").write_text("\n".join(lines))
    dataset = load(folder, "fgvc-aircraft-boxes")
    assert dataset.name == "fgvc-aircraft-boxes"
    whole = [torch.from_numpy(pixels(number)).permute(2, 0, 1) for number in range(1, 5)]
    train = dataset.train.inputs
    assert train[0].equal(whole[0][:, 1:6, 2:8])
    assert train[1].equal(whole[1][:, :-20])  # what is outside the image or in the banner is cut off
    assert train[2].equal(whole[2][:, 4:5, 3:4])
    assert dataset.validation.inputs[0].equal(whole[3][:, 1:6, :])
    assert train.sizes.tolist() == [[6, 5], [12, 10], [1, 1]]


@pytest.mark.parametrize("end", ["", "-boxes"])
def test_families_are_the_first_two_levels(folder: Path, end: str) -> None:
    """Of the same images; the lists of variants are not needed."""
    whole = load(folder, f"fgvc-aircraft{end}")
    for path in folder.glob("images_variant_*.txt"):
        path.unlink()
    dataset = load(folder, f"fgvc-aircraft-families{end}")
    assert dataset.hierarchy.names == whole.hierarchy.names[: whole.hierarchy.levels[1].stop]
    for split, of_whole in zip(dataset.splits.values(), whole.splits.values(), strict=True):
        assert split.targets.equal(of_whole.targets[:, : len(dataset.hierarchy)])
        assert split.inputs[0].equal(of_whole.inputs[0])


def test_both_names_share_the_images(folder: Path, own_cache: Path) -> None:
    dataset = load(folder)
    entries = set(own_cache.iterdir())
    boxes = load(folder, "fgvc-aircraft-boxes")
    assert set(own_cache.iterdir()) == entries
    assert dataset.train.targets.equal(boxes.train.targets)
    assert dataset.checksum != boxes.checksum


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("family_val", "0000004 A320", "0000004", r"images_family_val\.txt:1: a line should be image"),
        ("family_val", "0000004 A320", "0000009 A320", r"Only one has 0000004"),
        (
            "family_test",
            "0000006",
            "0000005",
            r"images_family_test\.txt:2: the image 0000005 is listed twice",
        ),
        ("family_val", "A320", "A310", r"variant 'A318' should have one family. Found 'A310' and 'A320'"),
        (
            "manufacturer_val",
            "Airbus",
            "Boeing",
            r"family 'A320' should have one manufacturer. Found 'Airbus'",
        ),
        ("box", "3 2 8 6", "3 2 8", r"images_box\.txt:1: the box of 0000001 should be four integers"),
        ("box", "3 2 8 6", "3 2 8 x", r"images_box\.txt:1: the box of 0000001 should be four integers"),
        ("box", "3 2 8 6", "3 20 8 26", r"nothing is left of 0000001"),
        ("box", "0000002 ", "0000008 ", r"images_box\.txt has no box for 0000002"),
    ],
)
def test_damaged_lists_are_named(folder: Path, file: str, old: str, new: str, message: str) -> None:
    path = folder / f"images_{file}.txt"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        load(folder, "fgvc-aircraft-boxes")


def test_missing_and_damaged_files_are_named(folder: Path, encode: Encode) -> None:
    image = folder / "images" / "0000002.jpg"
    image.write_bytes(encode((20, 9)))
    with pytest.raises(ValueError, match=r"nothing is left of 0000002 without its banner"):
        load(folder)
    image.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"data: 'images/0000002.jpg' is not an image"):
        load(folder)
    image.unlink()
    with pytest.raises(ValueError, match=r"0000002\.jpg is missing"):
        load(folder)
    (folder / "images_box.txt").unlink()
    with pytest.raises(ValueError, match=r"images_box\.txt of fgvc-aircraft-boxes is missing"):
        load(folder, "fgvc-aircraft-boxes")
    (folder / "images_variant_train.txt").unlink()
    with pytest.raises(ValueError, match=r"fgvc-aircraft is not under .*images_variant_train\.txt"):
        load(folder)


@pytest.mark.data
def test_the_hierarchy_of_the_real_lists(tmp_path: Path, encode: Encode) -> None:
    source = Path(os.environ["HMC_DATA"], "splits", "fgvc_aircraft")
    if not source.is_dir():
        pytest.skip(f"needs {source}")
    with (source / "hierarchy.tsv").open(newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    path_of = {variant: (manufacturer, family, variant) for variant, family, manufacturer in rows}
    lists = {}
    for part in ("trainval", "test"):
        lines = (source / f"images_variant_{part}.txt").read_text().splitlines()
        lists[part] = [(line.split(" ", 1)[0], path_of[line.split(" ", 1)[1]]) for line in lines]
    # Which half of trainval an image is in is not known here; the official halves have every variant, too.
    images = {"train": lists["trainval"][::2], "val": lists["trainval"][1::2], "test": lists["test"]}
    content = encode((21, 2), "jpeg")
    write(tmp_path / "fgvc-aircraft-2013b" / "data", images, lambda _: content)
    dataset = load_dataset("fgvc-aircraft", tmp_path)
    assert [len(split) for split in dataset.splits.values()] == [3334, 3333, 3333]
    assert [len(level) for level in dataset.hierarchy.levels] == [30, 70, 100]
    edges = {
        (dataset.hierarchy.names[a], dataset.hierarchy.names[b]) for a, b in dataset.hierarchy.edges.tolist()
    }
    assert edges == {
        edge
        for maker, family, variant in path_of.values()
        for edge in ((maker, f"{maker}/{family}"), (f"{maker}/{family}", f"{maker}/{family}/{variant}"))
    }
    assert dataset.test.targets.sum(1).unique().tolist() == [3]
    variants = dataset.hierarchy.levels[2]
    assert set(dataset.test.targets[:, variants.start :].sum(0).tolist()) <= {33, 34}
