"""Data sets of arrays in memory, for estimators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from hmc_shared.data.dataset import HierarchicalDataset, Split
from hmc_shared.data.preprocessing import prepare, shuffled, stratified_sample
from hmc_shared.hierarchy import Hierarchy


def from_arrays(
    X: np.ndarray,
    targets: np.ndarray,
    hierarchy: Hierarchy,
    *,
    seed: int,
    weights: np.ndarray | None = None,
    feature_names: Sequence[str] = (),
) -> HierarchicalDataset:
    """A data set of arrays in memory, for estimators. The validation split is sampled, and is the test split.

    Args:
        X: (n, F) raw features, NaN where missing, or (n, channels, height, width) uint8 images; n >= 2.
        targets: (n, C) bool, ancestors included.
        hierarchy: the C classes.
        seed: of the sample of a tenth of the rows, at least one, stratified.
        weights: (n,) of the rows in the loss, with the mean 1; default: all alike.
        feature_names: of the F columns, if they have such.
    """
    held_out = stratified_sample(targets, max(0.1, 1 / len(X)), seed)
    if not held_out.any():  # of few rows stratification may take none
        held_out[shuffled(len(X), seed)[0]] = True
    rows = {"train": ~held_out, "validation": held_out, "test": held_out}
    kind: Literal["vector", "image"] = "image"
    statistics: dict[str, Any] = {}
    inputs = {part: X[of_part] for part, of_part in rows.items()}
    if X.ndim == 2:
        kind = "vector"
        inputs, mean, scale = prepare({part: x.astype(np.float64) for part, x in inputs.items()}, "default")
        statistics |= {"feature_mean": torch.from_numpy(mean), "feature_scale": torch.from_numpy(scale)}
    splits: dict[str, Any] = {
        part: Split(
            torch.from_numpy(inputs[part]),
            torch.from_numpy(targets[of_part]),
            tuple(map(str, np.flatnonzero(of_part))),
            weights=None if weights is None else torch.from_numpy(weights[of_part].astype(np.float32)),
        )
        for part, of_part in rows.items()
    }
    return HierarchicalDataset(
        "array",
        hierarchy,
        torch.ones(len(hierarchy), dtype=torch.bool),
        kind,
        **splits,
        **statistics,
        feature_names=tuple(feature_names),
    )
