"""The six metrics as MulSupCon's public code takes them, with thresholds that the test split chooses."""

from __future__ import annotations

import numpy as np

from hmc_shared.metrics import mean_average_precision, precision_at_1

GRID = np.arange(1, 10) / 10
"""The thresholds that the public code tries."""


def published_metrics(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """The six metrics as MulSupCon's public code takes them, each at its own best threshold on these targets.

    Thresholds are 0.1, 0.2 ... 0.9. Example-based F1 leaves out samples without true and predicted labels;
    macro-F1 counts a class without either as 0. Optimistic, because the targets choose: only for comparison
    with numbers that were taken in the same way. mAP skips classes without positives, which make it NaN or
    count 0 in the public code, by the version of scikit-learn; NaN if that leaves none.

    Args:
        probabilities: (n, C).
        targets: (n, C) bool.
    """
    at = [_at_threshold(probabilities >= threshold, targets.astype(bool)) for threshold in GRID]
    best = {name: max(metrics[name] for metrics in at) for name in at[0]}
    return {
        **best,
        "precision_at_1": precision_at_1(probabilities, targets),
        "map": mean_average_precision(probabilities, targets),
    }


def _at_threshold(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    both, either = predicted & true, predicted.astype(int) + true

    def f1(axis: int | None) -> np.ndarray:
        total = either.sum(axis)
        return np.divide(2.0 * both.sum(axis), total, out=np.zeros(total.shape), where=total > 0)

    has_labels = either.any(1)
    return {
        "hamming_accuracy": float((predicted == true).mean()),
        "f1_example": float(f1(1)[has_labels].mean()) if has_labels.any() else 0.0,
        "f1_micro": float(f1(None)),
        "f1_macro": float(f1(0).mean()),
    }
