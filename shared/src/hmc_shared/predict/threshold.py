"""Where a score becomes a decision: one threshold, or one for each class, chosen on validation."""

from __future__ import annotations

import numpy as np

FEWEST_POSITIVES = 5
"""A class with fewer positives on validation has the threshold of all classes together, not its own."""


def best_threshold(scores: np.ndarray, targets: np.ndarray, known: np.ndarray | None = None) -> float:
    """The threshold for which predicting all scores (n, C) at or above it gives the best micro-F1.

    Exact: all different scores are tried, of the entries that are ``known`` (n, C) bool; None: of all.
    Halfway to the next lower score, so that it neither hangs on the rounding of one score nor leaves all of a
    gap to the negatives. 0 if there are no positives.
    """
    counted = np.ones(scores.shape, dtype=bool) if known is None else known
    values, positive = scores[counted], targets[counted].astype(bool)
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


def thresholds_of_classes(scores: np.ndarray, targets: np.ndarray, known: np.ndarray) -> tuple[float, ...]:
    """For each of C classes the threshold for which its own F1 is best.

    Each is the :func:`best_threshold` of one column of ``scores`` and ``targets`` (n, C), over its ``known``
    entries (n, C) bool. A class with fewer than :data:`FEWEST_POSITIVES` (5) known positives has that of all
    columns together: on so few rows the best one is that of chance, mostly too low (SCutFBR, Yang, "A study
    of thresholding strategies for text categorization", 2001, has another rule for the same).
    """
    pooled = best_threshold(scores, targets, known)
    has_enough = (targets.astype(bool) & known).sum(0) >= FEWEST_POSITIVES
    columns = zip(scores.T, targets.T, known.T, has_enough, strict=True)
    return tuple(best_threshold(*of_class) if enough else pooled for *of_class, enough in columns)
