"""`cifar-scenes`: one to four photographs of CIFAR-100 in a 64x64 picture, with a long tail of classes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from hmc_shared.data.benchmarks import scenes
from hmc_shared.data.benchmarks.cifar100 import build_hierarchy, read_pickles
from hmc_shared.data.benchmarks.digits import digest
from hmc_shared.data.dataset import HierarchicalDataset, Split
from hmc_shared.data.long_tail import pareto_counts
from hmc_shared.data.preprocessing import shuffled
from hmc_shared.data.storage.find import find_folder
from hmc_shared.hierarchy import Hierarchy

SIZES = {"train": 5000, "validation": 2000, "test": 4000}
SEED = 0
MOST, LEAST = 1000, 1  # sampling weights of classes in training scenes, on a Pareto curve
GREY = 128  # between the photographs


class Photographs(NamedTuple):
    hierarchy: Hierarchy
    """Of 20 coarse classes above 100 fine ones, as `cifar100`."""
    names: tuple[str, ...]
    """Of the fine classes, in words."""
    parts: dict[str, list[np.ndarray]]
    """Part to the photographs of each fine class, (m, 32, 32, 3) uint8."""
    sources: dict[str, str]
    """File to SHA-256."""


def load(data_dir: str | Path) -> HierarchicalDataset:
    """Compose the scenes of the three splits, each from its own photographs.

    A scene holds one to four photographs of different fine classes, each in its own quarter, small (16x16) or
    large (32x32), on grey. Its targets are these classes and the coarse ones above them; its caption says
    what is where. Inputs are (n, 3, 64, 64) uint8. Training scenes have a Pareto tail over the fine classes,
    in a fixed random order; validation and test scenes are balanced. :func:`read_photographs` says which
    photographs make a split. Only random integers are used: the same bytes on every platform.

    Raises ValueError as the reader of `cifar100` does.
    """
    photographs = read_photographs(data_dir)
    hierarchy, classes = photographs.hierarchy, len(photographs.names)
    tickets = {name: np.ones(classes, dtype=np.int64) for name in SIZES}
    tickets["train"][shuffled(classes, SEED)] = pareto_counts(classes, MOST, LEAST)
    splits, images = {}, []
    for number, (name, size) in enumerate(SIZES.items()):
        rng = np.random.default_rng([SEED, number])
        pixels, present, captions = compose(
            size, photographs.parts[name], photographs.names, tickets[name], rng
        )
        images.append(pixels)
        targets = np.zeros((size, len(hierarchy)), dtype=bool)
        targets[:, -classes:] = present
        splits[name] = Split(
            torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
            torch.from_numpy(hierarchy.add_ancestors(targets)),
            tuple(f"{name}-{i:04d}" for i in range(size)),
            captions,
        )
    return HierarchicalDataset(
        name="cifar-scenes",
        hierarchy=hierarchy,
        evaluated=torch.ones(len(hierarchy), dtype=torch.bool),
        kind="image",
        **splits,
        sources={**photographs.sources, "scenes": digest(*images)},
        notes=("training scenes are long-tailed, validation and test scenes are balanced",),
    )


def read_photographs(data_dir: str | Path) -> Photographs:
    """The images of CIFAR-100 in four disjoint parts.

    "captions" is the first half of the official training images of each class, for a model of images and
    texts that is trained on captions; "train" and "validation" are four fifths and one fifth of the second
    half; "test" is the official test images. Source and errors: as the reader of `cifar100`.
    """
    folder = find_folder("cifar-scenes", data_dir)
    contents, sources = read_pickles(folder)
    names = contents["meta"]["fine_label_names"]
    parts: dict[str, list[np.ndarray]] = {"captions": [], "train": [], "validation": [], "test": []}
    pixels, labels = {}, {}
    for part in ("train", "test"):
        pixels[part] = contents[part]["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels[part] = np.asarray(contents[part]["fine_labels"])
    for label in range(len(names)):
        rows = np.flatnonzero(labels["train"] == label)
        half, last = len(rows) // 2, len(rows) - len(rows) // 10
        for part, rows_of_part in zip(parts, np.split(rows, [half, last]), strict=False):
            parts[part].append(pixels["train"][rows_of_part])
        parts["test"].append(pixels["test"][labels["test"] == label])
    words = tuple(name.replace("_", " ") for name in names)
    return Photographs(build_hierarchy(contents, folder), words, parts, sources)


def compose(
    size: int,
    photographs: list[np.ndarray],
    names: tuple[str, ...],
    tickets: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Compose ``size`` random scenes: (n, 64, 64, 3) uint8 images, (n, 100) bool classes present, n captions.

    ``photographs`` and ``names`` are those of :class:`Photographs`, one entry for each fine class;
    ``tickets`` (100,) int64 are the sampling weights of the classes.
    """
    pictures = {"small": [halve(images) for images in photographs], "large": photographs}
    return scenes.compose(size, pictures, names, tickets, rng, background=GREY)


def halve(images: np.ndarray) -> np.ndarray:
    """(m, 2h, 2w, 3) uint8 to (m, h, w, 3): the rounded means of 2x2 pixels."""
    m, height, width, channels = images.shape
    blocks = images.reshape(m, height // 2, 2, width // 2, 2, channels).astype(np.uint16)
    return ((blocks.sum((2, 4)) + 2) // 4).astype(np.uint8)
