"""`digit-scenes`: one to four handwritten digits in a 32x32 picture, many labels each, with a long tail."""

from __future__ import annotations

import numpy as np
import torch

from hmc_shared.data.benchmarks import scenes
from hmc_shared.data.benchmarks.digits import (
    DIGITS,
    SHAPES,
    View,
    digest,
    digit_targets,
    prepare_view,
    read_scans,
    split_rows,
)
from hmc_shared.data.dataset import HierarchicalDataset, Split
from hmc_shared.hierarchy import Hierarchy

SIZES = {"train": 1500, "validation": 500, "test": 1000}
SEED = 0
# Tickets of each digit in the draw. Training: each digit half as many as the one before it in this order,
# which gives every shape a frequent and a rare digit. Validation and test: all the same.
TAIL_ORDER = ("one", "zero", "six", "three", "seven", "eight", "two", "nine", "four", "five")
TRAIN_TICKETS = (512, 256, 128, 64, 32, 16, 8, 4, 2, 1)
SCALES = {"small": 1, "large": 2}


def load(view: View = "vector") -> HierarchicalDataset:
    """Compose the scenes of the three splits, each from the scans of the same split of `digits`.

    A scene holds one to four different digits, each in its own quarter, small (8x8) or large (16x16). Its
    targets are these digits with their ancestors in the tree of `digits`; its caption says what is where.
    View "image" is (n, 1, 32, 32) uint8, "vector" the 1,024 pixels as float32. Only random integers are
    drawn, so the pictures are the same bytes on every platform.
    """
    scans, labels = read_scans()
    hierarchy = Hierarchy.from_parents(SHAPES)
    rows = split_rows(labels)
    images, targets, captions = {}, {}, {}
    for number, (name, size) in enumerate(SIZES.items()):
        tickets = np.ones(10, dtype=np.int64)
        if name == "train":
            tickets[[DIGITS.index(digit) for digit in TAIL_ORDER]] = TRAIN_TICKETS
        scans_of = [scans[rows[name]][labels[rows[name]] == digit] for digit in range(10)]
        rng = np.random.default_rng([SEED, number])
        images[name], present, captions[name] = compose(size, scans_of, tickets, rng)
        targets[name] = digit_targets(present, hierarchy)
    inputs, scaling = prepare_view(images, view)
    splits = {
        name: Split(
            inputs[name], targets[name], tuple(f"{name}-{i:04d}" for i in range(size)), captions[name]
        )
        for name, size in SIZES.items()
    }
    return HierarchicalDataset(
        name="digit-scenes",
        hierarchy=hierarchy,
        evaluated=torch.ones(len(hierarchy), dtype=torch.bool),
        kind=view,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        sources={"sklearn.datasets.load_digits": digest(scans, labels), "scenes": digest(*images.values())},
        notes=("training scenes are long-tailed, validation and test scenes are balanced",),
        feature_mean=scaling.get("feature_mean"),
        feature_scale=scaling.get("feature_scale"),
    )


def compose(
    size: int, scans_of: list[np.ndarray], tickets: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Draw ``size`` scenes.

    Args:
        size: number of scenes n.
        scans_of: for each digit its (m, 8, 8) uint8 scans.
        tickets: (10,) int64, the weights of the digits in the draw.
        rng: only its ``integers`` are used.

    Returns:
        (n, 32, 32) uint8 images, (n, 10) bool digits present, n captions.
    """
    pictures = {
        scale: [scans.repeat(times, axis=1).repeat(times, axis=2) for scans in scans_of]
        for scale, times in SCALES.items()
    }
    return scenes.compose(size, pictures, DIGITS, tickets, rng)
