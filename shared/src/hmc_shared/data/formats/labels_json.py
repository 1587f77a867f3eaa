"""`labels:PATH`: images with their labels in one labels.json, in a JSON file of others, or in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.formats.image_json import find_json, load_files
from hmc_shared.data.formats.image_rows import load_image_rows
from hmc_shared.data.formats.label_cells import path_note
from hmc_shared.data.formats.split_tables import find_tables
from hmc_shared.data.image_dataset import image_dataset
from hmc_shared.data.image_table import needs_pillow
from hmc_shared.data.split_names import parts_of
from hmc_shared.data.storage.sources import check_text, path_below, read_json
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.indicators import refuse_vectors
from hmc_shared.unsure import Blank, Uncertain

READER_VERSION = 1
MOST_UNNAMED = 10_000
"""Classes without a classes.json: a larger number is more likely a mistake."""

ImageLabels = dict[str, list[Any]]
"""Path of an image below the folder -> names or numbers of its classes."""


def load(
    path: str,
    levels: str | Sequence[str] | None = None,
    uncertain: Uncertain = "refuse",
    blank: Blank = "refuse",
) -> HierarchicalDataset:
    """Read the labels.json of a folder: image -> labels, or split -> image -> labels.

    Labels are a name or a list of names; or numbers, which count from 0 the names in ``classes.json`` beside
    it: a list, or a mapping between numbers and names. Without that file the classes are the labels
    themselves: the names, sorted, or "0", "1" and so on up to the highest number. They are roots. Splits are
    recognised as :mod:`hmc_shared.data.split_names` says; the images of a split lie in the folder of its
    name, or if there is none, beside labels.json. Missing splits are sampled by iterative stratification:
    20 % of the training images for validation, or 60, 20 and 20 % of all.

    Or PATH is a JSON file of COCO, iNaturalist, MegaDetector or SpeciesNet, or a folder of such files, one
    for each split: see :mod:`hmc_shared.data.formats.image_json`. Or it is a .csv, .tsv or .parquet file with
    a row for each image, or the folder of one, or of one for each split: see
    :mod:`hmc_shared.data.formats.image_rows`, the only one that takes ``levels``, ``uncertain`` and
    ``blank``.

    Raises ValueError, naming the file, for damaged JSON, for splits and labels of any other form, 0/1 vectors
    among them, for an image outside the folder or given twice, and for a missing or damaged image.
    """
    needs_pillow("labels:PATH")
    root = Path(path).expanduser().resolve()
    file = root / "labels.json"
    files = [] if file.is_file() else find_json(root)
    if not file.is_file() and not files and (tables := find_tables(root)):
        return load_image_rows(tables, levels, uncertain, blank)
    for option, value in (("levels", levels), ("uncertain", uncertain), ("blank", blank)):
        if value not in (None, "refuse"):
            raise ValueError(f"`--{option}` is for tables. Found {value!r} with the JSON of {root}.")
    if files:
        return load_files(files)
    if not file.is_file():
        raise ValueError(
            "labels:PATH should name a .csv, .tsv or .parquet file, a folder with a labels.json or with one "
            f"such table, or a .json file of COCO, MegaDetector and the like. Found none at {root}."
        )
    return load_labels(file)


def load_labels(file: Path) -> HierarchicalDataset:
    """A data set of a labels.json. Raises ValueError as :func:`load` does."""
    root = file.parent
    content, sources = read_json(file)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{file} should map images, or splits and images, to labels.")
    parts, notes = by_split(content, file)
    names = None
    if (root / "classes.json").is_file():
        names, more = read_json(root / "classes.json")
        names = read_names(names, root / "classes.json")
        sources |= more
    refuse_vectors([labels for images in parts.values() for labels in images.values()], str(file))
    classes = class_names(parts, names, file)
    try:
        hierarchy = Hierarchy.from_edges([], nodes=classes)
    except ValueError as error:
        raise ValueError(f"{root}: {error}") from error
    number_of: dict[Any, int] = {}
    for number, name in enumerate(classes):
        number_of[name] = number_of[number] = number
    numbered = {
        part: {
            image: [number_of[label] for label in dict.fromkeys(labels)] for image, labels in images.items()
        }
        for part, images in parts.items()
    }
    return image_dataset(
        root.name,
        root,
        numbered,
        hierarchy,
        reader=f"labels {READER_VERSION}",
        sources=sources,
        notes=[*notes, *path_note(classes)],
    )


def by_split(content: dict[str, Any], file: Path) -> tuple[dict[str, ImageLabels], list[str]]:
    """Part to image to labels, and notes. Raises ValueError for other splits, labels or images."""
    part_of, notes = {"": "all"}, []
    if all(isinstance(images, dict) for images in content.values()):
        part_of, notes = parts_of(content, file)
    else:
        content = {"": content}
    parts: dict[str, ImageLabels] = {}
    for split, part in part_of.items():
        below = f"{split}/" if split and (file.parent / split).is_dir() else ""
        images = parts.setdefault(part, {})
        for name, labels in content[split].items():
            image = path_below(f"{below}{name}", file)
            if image in images:
                raise ValueError(f"{file}: the image {image!r} should be given once. Found again: {name!r}.")
            images[image] = check(labels, image, file)
    return parts, notes


def check(labels: object, image: str, file: Path) -> list[Any]:
    """The labels of an image as a list. Raises ValueError unless they are names or numbers."""
    listed: list[Any] = labels if isinstance(labels, list) else [labels]
    if not all(type(label) in (str, int) for label in listed):  # no bool
        rule = "should be a list of names or of numbers"
        raise ValueError(f"{file}: the labels of {image!r} {rule}. Found {str(labels)[:200]}.")
    for label in listed:
        if isinstance(label, str):
            check_text(label, file)
    return listed


def read_names(content: object, file: Path) -> list[str]:
    """The names of the classes, by number, from a list or a mapping of one to the other.

    Raises ValueError for anything else.
    """
    pairs: list[tuple[Any, Any]] = []
    if isinstance(content, list):
        pairs = list(enumerate(content))
    elif isinstance(content, dict):
        is_number = all(type(number) is int for number in content.values())
        pairs = [
            (number, name) if is_number else (to_number(name), number) for name, number in content.items()
        ]
    named: dict[Any, Any] = dict(pairs)
    if not named or len(named) < len(pairs) or set(named) != set(range(len(named))):
        named = {}
    names = [named[number] for number in range(len(named))]
    if not names or not all(isinstance(name, str) for name in names):
        rule = "should be a list of names, or map the numbers from 0 on and names"
        raise ValueError(f"{file} {rule}. Found {str(content)[:200]}.")
    for name in names:
        check_text(name, file)
    return names


def to_number(text: str) -> int | None:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else None


def class_names(parts: Mapping[str, ImageLabels], names: list[str] | None, file: Path) -> list[str]:
    """The names of all classes: those of classes.json if there is one.

    Raises ValueError, naming the image, for a label that is not among them, and for names among numbers.
    """
    image_of = {
        label: image for images in parts.values() for image, labels in images.items() for label in labels
    }
    numbers = [label for label in image_of if isinstance(label, int)]
    if 0 < len(numbers) < len(image_of):
        raise ValueError(f"{file} should have names or numbers as labels. Found both.")
    known = set(image_of) if names is None else set(names)
    if numbers:
        known = set(range(min(max(numbers) + 1, MOST_UNNAMED) if names is None else len(names)))
    for label, image in image_of.items():
        if label not in known:
            rule = f"one of {len(known)} classes"
            if numbers:
                without = " without a classes.json" if names is None else ""
                rule = f"a number from 0 to {(MOST_UNNAMED if names is None else len(names)) - 1}{without}"
            raise ValueError(f"{file}: a label of {image!r} should be {rule}. Found {label!r}.")
    if names is not None:
        return names
    return [str(number) for number in range(len(known))] if numbers else sorted(image_of)
