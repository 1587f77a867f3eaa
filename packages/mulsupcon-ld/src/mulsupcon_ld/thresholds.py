"""Where a score becomes a decision: one threshold from validation, or those of MulSupCon's public code."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmc_shared import Hierarchy
from hmc_shared.metrics import average_precision, precision_at_1
from hmc_shared.runs import load_predictions

GRID = np.arange(1, 10) / 10
"""The thresholds that the public code tries."""


def best_threshold(scores: np.ndarray, targets: np.ndarray) -> float:
    """The threshold for which predicting all scores (n, C) at or above it gives the best micro-F1.

    Exact: all different scores are tried. Halfway to the next lower score, so that it neither hangs on the
    rounding of one score nor leaves all of a gap to the negatives. 0 if there are no positives.
    """
    values, positive = scores.ravel(), targets.ravel().astype(bool)
    if not positive.any():
        return 0.0
    order = np.argsort(-values, kind="stable")
    values, true_positives = values[order], positive[order].cumsum()
    predicted = np.arange(1, len(values) + 1)
    last_of_its_score = np.append(values[1:] != values[:-1], True)
    f1 = np.where(last_of_its_score, 2 * true_positives / (predicted + positive.sum()), -1.0)
    best = int(f1.argmax())
    lowest, next_lower = values[best], values[min(best + 1, len(values) - 1)]
    halfway = (lowest + next_lower) / 2
    return float(halfway if halfway > next_lower else lowest)


def stored_threshold(run: str | Path, hierarchy: Hierarchy) -> float | None:
    """The threshold, of logits, in a finished run's ``predictions.npz``; None where there is no such file."""
    file = Path(run) / "predictions.npz"
    return load_predictions(file, hierarchy)["threshold"] if file.is_file() else None


def published_metrics(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """The six metrics as MulSupCon's public code takes them, each at its own best threshold on these targets.

    Thresholds are 0.1, 0.2 ... 0.9. Example-based F1 leaves out samples without true and predicted labels;
    macro-F1 counts a class without either as 0. Optimistic, because the targets choose: only for comparison
    with numbers that were taken in the same way. mAP skips classes without positives, for which the public
    code's is not defined.

    Args:
        probabilities: (n, C).
        targets: (n, C) bool.
    """
    at = [_at_threshold(probabilities >= threshold, targets.astype(bool)) for threshold in GRID]
    best = {name: max(metrics[name] for metrics in at) for name in at[0]}
    return {
        **best,
        "precision_at_1": precision_at_1(probabilities, targets),
        "map": float(np.nanmean(average_precision(probabilities, targets))),
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
