"""`mirflickr`: 25,000 images from Flickr with 24 concepts."""

from __future__ import annotations

from pathlib import Path

from hmc_shared.data.catalog import CATALOG
from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.image_dataset import image_dataset
from hmc_shared.data.image_table import needs_pillow
from hmc_shared.data.storage.find import checksums, find_folder
from hmc_shared.data.storage.sources import file_error, file_lines, whole_number
from hmc_shared.hierarchy import Hierarchy

READER_VERSION = 1
MOST_IMAGES = 1_000_000
CONCEPTS = tuple(Path(file).stem for file in CATALOG["mirflickr"].files)
"""The 24 potential labels."""


def load(data_dir: str | Path) -> HierarchicalDataset:
    """Read the folders ``mirflickr25k_annotations_v080`` and, beside it, ``mirflickr`` with the images.

    The classes are the 24 potential labels, roots in alphabetical order. The 14 files ``*_r1.txt``, which
    list the images in which a concept is salient, are not read. Images without any label are left out, as is
    usual: 24,581 remain. There is no official split: 60, 20 and 20 % are sampled. Source: Huiskes and Lew,
    "The MIR Flickr Retrieval Evaluation", MIR 2008.

    Raises ValueError, naming file and line, for a damaged list; and for a missing or damaged image.
    """
    needs_pillow("mirflickr")
    lists = find_folder("mirflickr", data_dir)
    classes_of: dict[int, list[int]] = {}
    for label, concept in enumerate(CONCEPTS):
        for image in read_numbers(lists / f"{concept}.txt"):
            classes_of.setdefault(image, []).append(label)
    images = lists.parent / "mirflickr"
    without = sum(1 for _ in images.glob("im*.jpg")) - len(classes_of)
    return image_dataset(
        "mirflickr",
        lists.parent,
        {"all": {f"mirflickr/im{image}.jpg": classes_of[image] for image in sorted(classes_of)}},
        Hierarchy.from_edges([], nodes=CONCEPTS),
        reader=f"mirflickr {READER_VERSION}",
        sources=checksums("mirflickr", lists),
        notes=[f"{without} images without any of the {len(CONCEPTS)} labels were left out"],
    )


def read_numbers(path: Path) -> list[int]:
    """The numbers of a list, in its order. Raises ValueError, naming file and line, for anything else."""
    numbers: dict[int, None] = {}
    for line_number, line in file_lines(path):
        number = whole_number(line, MOST_IMAGES, "an image", path, line_number)
        if number in numbers:
            raise file_error(path, line_number, f"each image should be listed once. Found {number} again")
        numbers[number] = None
    return list(numbers)
