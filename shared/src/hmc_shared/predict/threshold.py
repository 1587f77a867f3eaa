"""Where a score becomes a decision: one threshold, chosen on validation and stored with the run."""

from __future__ import annotations

import numpy as np


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
