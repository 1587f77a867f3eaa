"""Checks and conversions that all metrics share: numpy arrays or torch tensors in, numpy arrays out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
import torch

Array = np.ndarray | torch.Tensor
Threshold = float | Sequence[float] | np.ndarray
"""Of all classes, or (C,), one for each."""
Absent = Literal["skip", "zero"]
Number = int | float | np.integer | np.floating
BLOCK = 2**24
"""Scores that are copied at a time at most."""


def row_blocks(values: np.ndarray, copies: int = 1) -> Iterator[slice]:
    """Rows of values (n, ...), so few that ``copies`` of them hold ``BLOCK`` values: at least one."""
    size = max(1, BLOCK * len(values) // (max(values.size, 1) * copies))
    return (slice(start, start + size) for start in range(0, max(len(values), 1), size))


def as_scores(scores: Array) -> np.ndarray:
    """Scores (n, C) as a numpy array in their own precision, float32 or float64.

    They are not widened: float32 scores and their float64 copy have the same order, and float32 sorts
    faster. Infinite scores are ranked like any others.
    """
    if not isinstance(scores, torch.Tensor):
        scores = np.asarray(scores)
    dtype = str(scores.dtype).removeprefix("torch.")
    if dtype in ("float16", "bfloat16"):
        raise ValueError(
            f"`scores` should be float32 or float64. Found {dtype}: half precision turns different scores "
            "into ties and falsifies average precision. Convert the logits to float32 before gathering them."
        )
    if dtype not in ("float32", "float64"):
        raise ValueError(f"`scores` should be float32 or float64. Found {dtype}.")
    array = _matrix(scores, "scores")
    if any(np.isnan(array[rows]).any() for rows in row_blocks(array)):
        missing = np.isnan(array)
        row, column = np.argwhere(missing)[0].tolist()
        raise ValueError(
            f"`scores` should not hold NaN. Found {missing.sum()}, the first at [{row}, {column}]."
        )
    return array


def as_binary(values: Array, name: str) -> np.ndarray:
    """Targets or predictions (n, C) of bool or 0/1 values as a bool numpy array."""
    array = _matrix(values, name)
    if array.dtype == bool:
        return array
    wrong = (array != 0) & (array != 1)  # True for NaN as well
    if wrong.any():
        raise ValueError(f"`{name}` should be bool or hold only 0 and 1. Found {array[wrong][0]}.")
    return array == 1


def as_pair(scores: Array, targets: Array) -> tuple[np.ndarray, np.ndarray]:
    """Scores and targets (n, C), checked to belong together."""
    return _same_shape(as_scores(scores), as_binary(targets, "targets"), "scores")


def as_binary_pair(predictions: Array, targets: Array) -> tuple[np.ndarray, np.ndarray]:
    """Binary predictions and targets (n, C), checked to belong together."""
    return _same_shape(as_binary(predictions, "predictions"), as_binary(targets, "targets"), "predictions")


def as_ids(ids: Array, name: str, levels: int | None = None) -> np.ndarray:
    """Node ids (n, L), one column a level, -1 where the path has ended."""
    array = _matrix(ids, name)
    if array.dtype.kind not in "iu":
        raise ValueError(f"`{name}` should hold integers, the ids of nodes. Found {array.dtype}.")
    if levels is not None:
        check_width(array, levels, name, "one per level")
    return array


def as_id_pair(predicted: Array, true: Array) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true node ids (n, L), checked to belong together."""
    first, second = as_ids(predicted, "level_predictions"), as_ids(true, "level_targets")
    return _same_shape(first, second, "level_predictions", "level_targets")


def as_mask(mask: Array, length: int, name: str) -> np.ndarray:
    """A bool mask (C,) over the classes."""
    array = _numpy(mask)
    if array.dtype != bool or array.shape != (length,):
        raise ValueError(
            f"`{name}` should be bool of shape ({length},). Found {array.dtype} of shape {array.shape}."
        )
    return array


def as_unknown(unknown: Array, targets: np.ndarray) -> np.ndarray:
    """A bool mask (n, C) over the entries, False where ``targets`` (n, C) bool are True."""
    array = _numpy(unknown)
    if array.dtype != bool or array.shape != targets.shape:
        raise ValueError(
            f"`unknown` should be bool of shape {targets.shape}. Found {array.dtype} of shape {array.shape}."
        )
    if (array & targets).any():
        raise ValueError("`unknown` should be False where `targets` are True.")
    return array


def as_counts(counts: Array, name: str) -> np.ndarray:
    """Counts (C,), non-negative integers."""
    array = _numpy(counts)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"`{name}` should be integers of shape (C,). Found {array.dtype} of shape {array.shape}."
        )
    if (array < 0).any():
        raise ValueError(f"`{name}` should not be negative. Found {array.min()}.")
    return array


def as_weights(weights: Array, length: int, name: str = "weights") -> np.ndarray:
    """Weights (C,) of the classes as float64, finite and at least 0."""
    array = _numpy(weights)
    if array.shape != (length,) or array.dtype.kind not in "biuf":
        raise ValueError(
            f"`{name}` should be numbers of shape ({length},). Found {array.dtype} of shape {array.shape}."
        )
    wrong = ~((array >= 0) & (array < np.inf))
    if wrong.any():
        raise ValueError(f"`{name}` should be finite and at least 0. Found {array[wrong][0]}.")
    return array.astype(np.float64)


def check_width(array: np.ndarray, width: int, name: str, meaning: str = "one per node") -> None:
    if array.shape[1] != width:
        raise ValueError(f"`{name}` should have {width} columns, {meaning}. Found shape {array.shape}.")


def check_absent(absent: str) -> None:
    if absent not in get_args(Absent):
        raise ValueError(f'`absent` should be "skip" or "zero". Found {absent!r}.')


def ratio(part: Number, whole: Number) -> float:
    """A share as python float; NaN if there is nothing to take a share of."""
    return float(part / whole) if whole else float("nan")


def mean_of_classes(values: np.ndarray, absent: Absent) -> float:
    """Mean of per-class values (C,) in which NaN marks a class without positives."""
    if absent == "zero":
        return ratio(np.nansum(values), len(values))
    present = values[~np.isnan(values)]
    return ratio(present.sum(), len(present))


def _numpy(values: Array) -> np.ndarray:
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    if values.dtype == torch.bfloat16:  # numpy has no such type; float32 holds its 0 and 1 as well
        values = values.float()
    return values.detach().cpu().numpy()


def _matrix(values: Array, name: str) -> np.ndarray:
    array = _numpy(values)
    if array.ndim != 2:
        raise ValueError(
            f"`{name}` should have two dimensions, a row for each sample. Found shape {array.shape}."
        )
    return array


def _same_shape(
    first: np.ndarray, second: np.ndarray, first_name: str, second_name: str = "targets"
) -> tuple[np.ndarray, np.ndarray]:
    if first.shape != second.shape:
        raise ValueError(
            f"`{second_name}` should have the shape of `{first_name}`, {first.shape}. Found {second.shape}."
        )
    return first, second
