"""`nuswide` and `nuswide21`: images from Flickr with 81 concepts, or the 21 most frequent of them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.image_dataset import image_dataset
from hmc_shared.data.image_table import needs_pillow
from hmc_shared.data.storage.cache import cached_labels
from hmc_shared.data.storage.find import find_folder
from hmc_shared.data.storage.sources import file_error, file_lines, read_bytes
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import shown

READER_VERSION = 1
PARTS = {"train": "Train", "test": "Test"}
CONCEPT_LISTS = ("ConceptsList/Concepts81.txt", "Concepts81.txt")
IMAGE_FOLDERS = ("Flickr", "images")
FREQUENT = 21


def load(name: str, data_dir: str | Path) -> HierarchicalDataset:
    """Read ImageList, Groundtruth/TrainTestLabels, ConceptsList/Concepts81.txt and the images in ``Flickr``.

    Classes are roots in the order of Concepts81.txt. "nuswide21" keeps the 21 that most images of both
    official splits have. Images without any of the classes are left out, as is usual (209,347 of 269,648
    have one of the 81), and so are images that are not on disk: some are no longer available. The official
    training and test images stay apart; 20 % of the former are sampled for validation. Source: Chua et al.,
    "NUS-WIDE: A Real-World Web Image Database from National University of Singapore", CIVR 2009.

    Raises ValueError, naming file and line, for a damaged list; if there is no image; and for a damaged one.
    """
    needs_pillow(name)
    root = find_folder(name, data_dir).parent
    concepts = read_lines(first_there(root, CONCEPT_LISTS))
    lists = {stem: root / "ImageList" / f"{stem}Imagelist.txt" for stem in PARTS.values()}
    labels = root / "Groundtruth" / "TrainTestLabels"
    files = {
        stem: [labels / f"Labels_{concept}_{stem}.txt" for concept in concepts] for stem in PARTS.values()
    }
    sources = [path for stem in PARTS.values() for path in (lists[stem], *files[stem])]
    reader = f"nuswide-labels {READER_VERSION}"
    content = cached_labels(
        reader, sources, lambda: {stem: read_part(lists[stem], files[stem]) for stem in PARTS.values()}
    )
    kept = range(len(concepts))
    if name == "nuswide21":
        total = sum(np.array(part["counts"]) for part in content.values())
        kept = sorted(np.argsort(-total, kind="stable")[:FREQUENT].tolist())
    label_of = {concept: label for label, concept in enumerate(kept)}
    images = first_there(root, IMAGE_FOLDERS)
    parts, absent, without = {}, 0, 0
    for part, stem in PARTS.items():
        parts[part] = {}
        for image, concepts_of_image in content[stem]["images"].items():
            classes = [label_of[concept] for concept in concepts_of_image if concept in label_of]
            if not classes:
                without += 1
            elif not os.path.isfile(images / image):  # False, too, for a name that is too long
                absent += 1
            else:
                parts[part][f"{images.name}/{image}"] = classes
    return image_dataset(
        name,
        root,
        parts,
        Hierarchy.from_edges([], nodes=[concepts[concept] for concept in kept]),
        reader=f"{name} {READER_VERSION}",
        sources={f"{stem} labels": content[stem]["digest"] for stem in PARTS.values()},
        notes=[
            f"{without} images without any of the {len(kept)} classes were left out",
            *([f"{absent} images that are not in {images.name} were left out"] if absent else []),
        ],
    )


def first_there(root: Path, names: tuple[str, ...]) -> Path:
    """The first of the files or folders that exists. Raises ValueError if none does."""
    for name in names:
        if (root / name).exists():
            return root / name
    raise ValueError(f"{root}: {' or '.join(names)} is missing.")


def read_lines(path: Path) -> list[str]:
    """The lines of a file that are not empty, stripped."""
    return [line for _, line in file_lines(path)]


def read_part(image_list: Path, files: list[Path]) -> dict[str, Any]:
    """Image -> its concepts, how many images each concept has, and the SHA-256 of all files.

    Image names have backslashes in the lists. Raises ValueError, naming the file and where possible the line,
    for an image that is listed twice and for a label file that has not 0 or 1 for each image.
    """
    names = [line.replace("\\", "/") for line in read_lines(image_list)]
    if len(set(names)) < len(names):
        raise ValueError(
            f"{image_list} should list each image once. Found {len(names) - len(set(names))} again."
        )
    sha = hashlib.sha256(image_list.read_bytes())
    table = np.zeros((len(names), len(files)), dtype=bool)
    for column, path in enumerate(files):
        content = read_bytes(path)
        sha.update(content)
        labels = np.array(content.split())
        if len(labels) != len(names):
            rule = f"should have a line for each of the {len(names)} images of {image_list.name}"
            raise ValueError(f"{path} {rule}. Found {len(labels)}.")
        wrong = ~np.isin(labels, [b"0", b"1"])
        if wrong.any():
            line = int(wrong.argmax())
            raise file_error(
                path, line + 1, f"a line should be 0 or 1, found {shown(labels[line].decode('latin-1'))}"
            )
        table[:, column] = labels == b"1"
    return {
        "images": {image: row.nonzero()[0].tolist() for image, row in zip(names, table, strict=True)},
        "counts": table.sum(0).tolist(),
        "digest": sha.hexdigest(),
    }
