"""The reader of MIRFLICKR, on generated folders of its layout."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.benchmarks.mirflickr import CONCEPTS

Encode = Callable[..., bytes]
IMAGES = 60


def concepts_of(image: int) -> set[int]:
    """Every seventh image has none."""
    return set() if image % 7 == 0 else {image % 24, image * 5 % 24}


@pytest.fixture
def folder(tmp_path: Path, encode: Encode) -> Path:
    folder = tmp_path / "mirflickr25k"
    lists = folder / "mirflickr25k_annotations_v080"
    lists.mkdir(parents=True)
    (folder / "mirflickr").mkdir()
    for image in range(1, IMAGES + 1):
        (folder / "mirflickr" / f"im{image}.jpg").write_bytes(encode((image, 4), "jpeg"))
    for label, concept in enumerate(CONCEPTS):
        images = [image for image in range(1, IMAGES + 1) if label in concepts_of(image)]
        (lists / f"{concept}.txt").write_text("".join(f"{image}\r\n" for image in images))
    (lists / "sea_r1.txt").write_text("1\n2\n3\n")
    (lists / "README.txt").write_text("annotations")
    return folder


def load(folder: Path) -> HierarchicalDataset:
    return load_dataset("MIRFlickr", folder.parent)


def test_concepts_are_the_24_potential_labels(folder: Path) -> None:
    dataset = load(folder)
    assert (dataset.name, dataset.kind) == ("mirflickr", "image")
    assert len(dataset.hierarchy) == 24
    assert dataset.hierarchy.names == tuple(sorted(CONCEPTS))
    seen = []
    for split in dataset.splits.values():
        for row, target in enumerate(split.targets):
            image = split.inputs[row].shape[1]
            assert split.ids[row] == f"mirflickr/im{image}.jpg"
            assert set(target.nonzero().flatten().tolist()) == concepts_of(image)
            seen.append(image)
    assert sorted(seen) == [image for image in range(1, IMAGES + 1) if image % 7]
    sizes = [len(split) for split in dataset.splits.values()]
    assert sizes == pytest.approx([0.6 * 52, 0.2 * 52, 0.2 * 52], abs=5)
    assert "8 images without any of the 24 labels were left out" in dataset.notes
    assert "60 % training, 20 % validation and 20 % test" in dataset.notes[0]
    assert load(folder).test.ids == dataset.test.ids


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("3\nx\n", r"sea\.txt:2: an image should be a number from 0 to 1000000. Found 'x'"),
        ("3\n\n3\n", r"sea\.txt:3: each image should be listed once. Found 3 again"),
        ("-3\n", r"sea\.txt:1: an image should be a number from 0 to 1000000. Found '-3'"),
        ("999\n", r"im999\.jpg is missing"),
    ],
)
def test_damaged_lists_are_named(folder: Path, content: str, message: str) -> None:
    (folder / "mirflickr25k_annotations_v080" / "sea.txt").write_text(content)
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_missing_lists_are_named(folder: Path) -> None:
    (folder / "mirflickr25k_annotations_v080" / "water.txt").unlink()
    with pytest.raises(ValueError, match=r"water\.txt of mirflickr is missing"):
        load(folder)
