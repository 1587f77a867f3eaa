"""`labels:PATH`: a folder of images with their labels in one labels.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.image_dataset import image_dataset
from hmc_shared.data.image_table import needs_pillow
from hmc_shared.data.storage.sources import read_json
from hmc_shared.hierarchy import Hierarchy

READER_VERSION = 1
PARTS = {"train": "train", "val": "validation", "test": "test"}  # by the beginning of the name of a split


def load(path: str) -> HierarchicalDataset:
    """Read labels.json: image -> labels, or split -> image -> labels.

    Labels are lists of names, or of numbers, which count from 0 the names in ``classes.json``, a list beside
    it. Without that file the classes are the labels themselves: the names, sorted, or "0", "1" and so on up
    to the highest number. They are roots. Splits are recognised by the beginning of their names, train, val
    and test; the images of a split lie in the folder of its name, or if there is none, beside labels.json.
    The validation split replaces a missing test split. Other missing splits are sampled by iterative
    stratification: 20 % of the training images for validation, or 60, 20 and 20 % of all.

    Raises ValueError, naming the file, for damaged JSON, for splits and labels of any other form, and for a
    missing or damaged image.
    """
    needs_pillow("labels:PATH")
    root = Path(path).expanduser().resolve()
    file = root / "labels.json"
    if not file.is_file():
        raise ValueError(f"labels:PATH should name a folder with a labels.json. Found none at {root}.")
    content, sources = read_json(file)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{file} should map images, or splits and images, to labels.")
    parts, notes = {"all": content}, []
    if all(isinstance(part, dict) for part in content.values()):
        parts, notes = by_split(content, file)
    for images in parts.values():
        for image, labels in images.items():
            check(labels, image, file)
    names = None
    if (root / "classes.json").is_file():
        names, more = read_json(root / "classes.json")
        sources |= more
    used = {label for images in parts.values() for labels in images.values() for label in labels}
    classes = class_names(used, names, file)
    try:
        hierarchy = Hierarchy.from_edges([], nodes=classes)
    except ValueError as error:
        raise ValueError(f"{root}: {error}") from error
    number_of = {name: number for number, name in enumerate(classes)}
    return image_dataset(
        root.name,
        root,
        {
            part: {
                image: [label if isinstance(label, int) else number_of[label] for label in labels]
                for image, labels in images.items()
            }
            for part, images in parts.items()
        },
        hierarchy,
        reader=f"labels {READER_VERSION}",
        sources=sources,
        notes=notes,
    )


def by_split(content: dict[str, dict[str, Any]], file: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Part to path of image to labels, and a note on the test split. Raises ValueError for other splits."""
    parts: dict[str, dict[str, Any]] = {}
    for split, images in content.items():
        part = next((PARTS[start] for start in PARTS if split.lower().startswith(start)), None)
        if part is None or part in parts:
            rule = "should have one split each of names that begin with train, val and test"
            raise ValueError(f"{file} {rule}. Found {', '.join(content)}.")
        below = f"{split}/" if (file.parent / split).is_dir() else ""
        parts[part] = {f"{below}{image}": labels for image, labels in images.items()}
    notes = []
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
        notes = ["test: the validation split, because there is no test split"]
    if parts.keys() - {"validation"} != {"train", "test"}:
        raise ValueError(
            f"{file} should have a train split, and a val or test split. Found {', '.join(content)}."
        )
    return parts, notes


def check(labels: object, image: str, file: Path) -> None:
    """Raise ValueError unless the labels of an image are names, or numbers."""
    if not isinstance(labels, list) or not all(type(label) in (str, int) for label in labels):  # no bool
        rule = "should be a list of names or of numbers"
        raise ValueError(f"{file}: the labels of {image!r} {rule}. Found {labels!r}.")


def class_names(used: set[Any], names: Any, file: Path) -> list[str]:
    """The names of all classes: the content of classes.json if there is one.

    Raises ValueError if that is not a list of names, for a label not in it, and for names among numbers.
    """
    numbers = [label for label in used if isinstance(label, int)]
    if 0 < len(numbers) < len(used):
        raise ValueError(f"{file} should have names or numbers as labels. Found both.")
    if names is None:
        names = [str(number) for number in range(max(numbers) + 1)] if numbers else sorted(used)
    elif not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{file.parent / 'classes.json'} should be a list of names. Found {names!r}.")
    unknown = used - set(range(len(names)) if numbers else names)
    if unknown:
        raise ValueError(f"{file}: a label should be one of {len(names)} classes. Found {min(unknown)!r}.")
    return names
