"""`digits`: the 1,797 scans of handwritten digits that scikit-learn ships, below a tree of stroke shapes."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import torch

from hmc_shared.data.dataset import HierarchicalDataset, Split
from hmc_shared.data.preprocessing import prepare, sample_splits
from hmc_shared.hierarchy import Hierarchy

View = Literal["vector", "image"]

# Three levels of 2, 4 and 10 classes. "closed" digits hold a loop; every digit is a leaf of the third level.
SHAPES = {
    "closed": None,
    "open": None,
    "loops": "closed",
    "loop-and-tail": "closed",
    "curves": "open",
    "strokes": "open",
    "zero": "loops",
    "one": "strokes",
    "two": "curves",
    "three": "curves",
    "four": "strokes",
    "five": "curves",
    "six": "loop-and-tail",
    "seven": "strokes",
    "eight": "loops",
    "nine": "loop-and-tail",
}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPLIT_SEED = 0


def load(view: View = "vector") -> HierarchicalDataset:
    """Read the scans: 60 % training, 20 % validation and 20 % test, stratified, always the same.

    View "vector" is (n, 64) float32, "image" (n, 1, 8, 8) uint8; both have the 17 grey levels of the source,
    spread over 0..255. Source: Alpaydin and Kaynak,
    "Optical Recognition of Handwritten Digits", UCI, through ``sklearn.datasets.load_digits``.
    """
    scans, labels = read_scans()
    hierarchy = Hierarchy.from_parents(SHAPES)
    targets = digit_targets(np.eye(10, dtype=bool)[labels], hierarchy)
    rows = split_rows(labels)
    inputs, scaling = prepare_view({name: scans[index] for name, index in rows.items()}, view)
    splits = {
        name: Split(inputs[name], targets[index], tuple(f"scan-{row:04d}" for row in index))
        for name, index in rows.items()
    }
    return HierarchicalDataset(
        name="digits",
        hierarchy=hierarchy,
        evaluated=torch.ones(len(hierarchy), dtype=torch.bool),
        kind=view,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        sources={"sklearn.datasets.load_digits": digest(scans, labels)},
        notes=(f"validation and test: 20 % each, stratified by digit, seed {SPLIT_SEED}",),
        feature_mean=scaling.get("feature_mean"),
        feature_scale=scaling.get("feature_scale"),
    )


def read_scans() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 8, 8) uint8 scans with values 0..255, and the (1797,) digits they show."""
    from sklearn.datasets import load_digits  # takes seconds to import

    scans, labels = load_digits(return_X_y=True)
    # 0..16 in the source. Integers only: the same bytes on every platform.
    scans = np.asarray(scans).astype(np.int64) * 255 // 16
    return scans.astype(np.uint8).reshape(-1, 8, 8), np.asarray(labels).astype(np.int64)


def split_rows(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Row numbers of the three splits, each in ascending order."""
    return sample_splits(np.eye(10, dtype=bool)[labels], SPLIT_SEED)


def digit_targets(present: np.ndarray, hierarchy: Hierarchy) -> torch.Tensor:
    """From (n, 10) bool, one column a digit, to closed (n, C) targets."""
    targets = torch.zeros(len(present), len(hierarchy), dtype=torch.bool)
    targets[:, [hierarchy.index[name] for name in DIGITS]] = torch.from_numpy(present)
    return hierarchy.add_ancestors(targets)


def prepare_view(
    images: dict[str, np.ndarray], view: View
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """(n, H, W) uint8 images of each split to (n, 1, H, W) images or (n, H * W) float32 vectors.

    With the vectors go their ``feature_mean`` and ``feature_scale``; images have none.
    """
    if view == "image":
        return {name: torch.from_numpy(x)[:, None] for name, x in images.items()}, {}
    vectors, mean, scale = prepare(
        {name: x.reshape(len(x), -1).astype(np.float64) for name, x in images.items()}, "default"
    )
    scaling = {"feature_mean": torch.from_numpy(mean), "feature_scale": torch.from_numpy(scale)}
    return {name: torch.from_numpy(x) for name, x in vectors.items()}, scaling


def digest(*arrays: np.ndarray) -> str:
    """SHA-256 over shapes, types and bytes."""
    sha = hashlib.sha256()
    for array in arrays:
        little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        sha.update(f"{array.shape} {little_endian.dtype.str}".encode() + little_endian.tobytes())
    return sha.hexdigest()
