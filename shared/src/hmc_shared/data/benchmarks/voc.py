"""`voc2007` and `voc2012`: images of PASCAL VOC with the classes of the objects in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.image_dataset import NO_TEST, image_dataset
from hmc_shared.data.image_table import needs_pillow
from hmc_shared.data.storage.cache import cached_labels
from hmc_shared.data.storage.find import checksums, find_folder
from hmc_shared.data.storage.sources import file_error, file_lines, read_all
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import shown

READER_VERSION = 1
CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)
PARTS = {
    "voc2007": {"train": "train", "validation": "val", "test": "test"},
    "voc2012": {"train": "train", "test": "val"},
}


def load(name: str, data_dir: str | Path) -> HierarchicalDataset:
    """Read the folder ``VOC2007`` or ``VOC2012``: JPEGImages, Annotations and the lists of ImageSets/Main.

    In every split, an image has the classes of its objects that are not marked difficult: it is a negative of
    a class whose objects are all difficult (the official evaluation leaves it out of that class).
    The 20 classes are roots, in alphabetical order. voc2007 has its three official splits; of voc2012 the
    official validation split is the test split, and 20 % of the training images are sampled for validation.
    Source: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 88, 2010.

    Raises ValueError, naming file and line, for a damaged list or annotation and an unknown class; and for a
    missing or damaged file.
    """
    needs_pillow(name)
    lists = find_folder(name, data_dir)
    root = lists.parents[1]
    ids = {part: read_ids(lists / f"{stem}.txt") for part, stem in PARTS[name].items()}
    files = [root / "Annotations" / f"{image}.xml" for part in ids.values() for image in part]
    content = cached_labels(f"{name}-labels {READER_VERSION}", files, lambda: read_annotations(files))
    rows = iter(content["labels"])
    return image_dataset(
        name,
        root,
        {part: {f"JPEGImages/{image}.jpg": next(rows) for image in images} for part, images in ids.items()},
        Hierarchy.from_edges([], nodes=CLASSES),
        reader=f"{name} {READER_VERSION}",
        sources={**checksums(name, lists), "Annotations": content["digest"]},
        notes=["objects marked difficult are left out", *([] if name == "voc2007" else [NO_TEST])],
    )


def read_ids(path: Path) -> list[str]:
    """The images of a list. Raises ValueError, naming file and line, for an image that is listed twice."""
    ids: dict[str, None] = {}
    for number, image in file_lines(path):
        if image in ids:
            raise file_error(path, number, f"the image {image!r} is listed twice")
        ids[image] = None
    return list(ids)


def read_annotations(files: Iterable[Path]) -> dict[str, object]:
    """The classes of each image, and the SHA-256 of all files.

    Raises ValueError for a missing file, and as :func:`object_classes` does.
    """
    sha, labels = hashlib.sha256(), []
    for path, content in zip(files, read_all(files), strict=True):
        sha.update(content)
        labels.append(object_classes(content, path))
    return {"labels": labels, "digest": sha.hexdigest()}


def object_classes(content: bytes, path: Path) -> list[int]:
    """The ids of the classes of the objects that are not marked difficult, in ascending order.

    Raises ValueError, naming the file, for damaged XML (with the line) and an unknown class.
    """
    try:
        annotation = ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two for unknown encodings
        line = getattr(error, "position", (1,))[0]
        raise file_error(path, line, f"damaged XML ({error})") from error
    names = {
        item.findtext("name", "").strip()
        for item in annotation.iterfind("object")
        if item.findtext("difficult", "0").strip() != "1"
    }
    if unknown := names - set(CLASSES):
        raise ValueError(f"{path}: the class of an object should be one of VOC. Found {shown(min(unknown))}.")
    return sorted(map(CLASSES.index, names))
