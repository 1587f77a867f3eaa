"""`fgvc-aircraft`: 10,000 images of aircraft by manufacturer, family and variant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from hmc_shared.data.dataset import HierarchicalDataset, Split, targets_with_ancestors
from hmc_shared.data.image_table import ImageTable, needs_pillow
from hmc_shared.data.storage.cache import cached_images
from hmc_shared.data.storage.find import checksums, find_folder
from hmc_shared.data.storage.sources import file_error, file_lines, read_all
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import shown

READER_VERSION = 1
EDGE = re.compile("-?[0-9]{1,6}", re.ASCII)
PARTS = {"train": "train", "validation": "val", "test": "test"}
LEVELS = ("manufacturer", "family", "variant")
BANNER = 20  # rows at the bottom of each image that name its photographer


def load(name: str, data_dir: str | Path) -> HierarchicalDataset:
    """Read the official folder ``fgvc-aircraft-2013b/data``, in its three splits.

    The banner below each image is cut off, as its authors ask; a name with "-boxes" crops each image to its
    bounding box, one with "-families" has manufacturers and families alone. A class is named by its path,
    because a family and its variant may share a name: "Airbus/A310/A310". Source: Maji et al., "Fine-Grained
    Visual Classification of Aircraft", arXiv 1306.5151, 2013.

    Raises ValueError, naming file and line, for a damaged list; where a class has two parents; and for a
    missing or damaged image.
    """
    needs_pillow(name)
    folder = find_folder(name, data_dir)
    levels = LEVELS[:2] if "-families" in name else LEVELS
    paths = {part: read_split(folder, stem, levels) for part, stem in PARTS.items()}
    hierarchy = build_hierarchy([path for part in paths.values() for path in part.values()], folder)
    boxes = read_boxes(folder / "images_box.txt") if "-boxes" in name else None
    splits, sources = {}, checksums(name, folder)
    for part, stem in PARTS.items():
        ids = list(paths[part])
        files = [f"images/{image}.jpg" for image in ids]
        sources_of = [folder / file for file in files]
        images, sources[f"{stem} images"] = cached_images(
            f"fgvc-aircraft-{stem} {READER_VERSION}",
            folder,
            files,
            sources_of,
            lambda files=sources_of: read_all(files),
        )
        nodes = [hierarchy.index["/".join(path)] for path in paths[part].values()]
        splits[part] = Split(
            cut(images, ids, boxes, folder), targets_with_ancestors(nodes, hierarchy), tuple(ids)
        )
    return HierarchicalDataset(
        name=name,
        hierarchy=hierarchy,
        evaluated=torch.ones(len(hierarchy), dtype=torch.bool),
        kind="image",
        **splits,
        sources=sources,
        notes=(f"the banner of {BANNER} rows below each image is cut off",),
    )


def read_split(folder: Path, stem: str, levels: Sequence[str] = LEVELS) -> dict[str, tuple[str, ...]]:
    """Image name to its class of each level. Raises ValueError if the lists differ in images."""
    lists = [read_labels(folder / f"images_{level}_{stem}.txt") for level in levels]
    for level, labels in zip(levels, lists, strict=True):
        if different := labels.keys() ^ lists[-1].keys():
            raise ValueError(
                f"{folder}: images_{level}_{stem}.txt and images_{levels[-1]}_{stem}.txt should list the "
                f"same images. Only one has {min(different)}."
            )
    return {image: tuple(labels[image] for labels in lists) for image in lists[-1]}


def read_labels(path: Path) -> dict[str, str]:
    """Image name to label, from lines such as ``1025794 707-320``. Raises ValueError with file and line."""
    labels: dict[str, str] = {}
    for number, line in file_lines(path):
        image, _, label = line.partition(" ")
        if not label:
            raise file_error(path, number, f"a line should be image and label. Found {shown(line)}")
        if image in labels:
            raise file_error(path, number, f"the image {image} is listed twice")
        labels[image] = label.strip()
    return labels


def read_boxes(path: Path) -> dict[str, list[int]]:
    """Image name to left, top, right, bottom. Raises ValueError with file and line.

    The file counts pixels from 1 and includes the last; here they count from 0, and the last is excluded.
    """
    boxes = {}
    for number, line in file_lines(path):
        image, *edges = line.split()
        if len(edges) != 4 or not all(EDGE.fullmatch(edge) for edge in edges):
            raise file_error(path, number, f"the box of {image} should be four integers. Found {shown(line)}")
        left, top, right, bottom = map(int, edges)
        boxes[image] = [left - 1, top - 1, right, bottom]
    return boxes


def build_hierarchy(paths: Iterable[tuple[str, ...]], folder: Path) -> Hierarchy:
    """The tree of the paths, of ``LEVELS`` or the first two. Raises ValueError where a class has two parents.

    A class is named by its path, and each level is sorted by that.
    """
    different = sorted(set(paths))
    for child in reversed(range(1, len(different[0]) if different else 0)):
        parent = child - 1
        parent_of: dict[str, str] = {}
        for path in different:
            if parent_of.setdefault(path[child], path[parent]) != path[parent]:
                raise ValueError(
                    f"{folder}: the {LEVELS[child]} {shown(path[child])} should have one {LEVELS[parent]}. "
                    f"Found {shown(parent_of[path[child]])} and {shown(path[parent])}."
                )
    try:
        return Hierarchy.from_levels(different, qualify=True)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def cut(
    images: ImageTable, ids: Sequence[str], boxes: dict[str, list[int]] | None, folder: Path
) -> ImageTable:
    """The images without their banner, each cropped to its box if there are boxes.

    Raises ValueError if nothing is left of an image, or if one has no box.
    """
    frames = np.concatenate([np.zeros_like(images.sizes), images.sizes], axis=1)  # left, top, right, bottom
    frames[:, 3] -= BANNER
    if boxes is not None:
        if missing := [image for image in ids if image not in boxes]:
            raise ValueError(f"{folder / 'images_box.txt'} has no box for {missing[0]}.")
        wanted = np.array([boxes[image] for image in ids])
        frames[:, :2] = np.maximum(frames[:, :2], wanted[:, :2])
        frames[:, 2:] = np.minimum(frames[:, 2:], wanted[:, 2:])
    frames[~images.sizes.all(1)] = (0, 0, 1, 1)  # damaged: see hmc_shared.data.image_check
    empty = (frames[:, :2] >= frames[:, 2:]).any(1)
    if empty.any():
        image = ids[int(empty.argmax())]
        raise ValueError(
            f"{folder}: nothing is left of {image} without its banner and what is outside its box."
        )
    return images.crop(frames)
