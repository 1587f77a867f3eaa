"""Expected calibration error, reliability, accuracy over coverage.

A model is calibrated if, of the answers given with probability p, a share p is right (Guo et al. 2017). What
an answer is depends on the data: where every sample has at most one class in each level, it is the best class
of a level (top-label calibration, level by level); otherwise every class is a yes or no answer by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmc_shared.hierarchy import Hierarchy
from hmc_shared.metrics.levels import is_single_path

BINS = 15
"""Equal parts of [0, 1] in which probabilities are compared with outcomes, as in Guo et al. (2017)."""
NEGLIGIBLE = 0.01
"""Probabilities up to this one share a bin of their own among bins of equal count."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """Probabilities and outcomes, bin by bin; NaN in empty bins."""

    edges: np.ndarray
    """(B + 1,) the bins: (edge 0, edge 1], (edge 1, edge 2] ...; edge 0 is in the first."""
    count: np.ndarray
    """(B,) int64."""
    confidence: np.ndarray
    """(B,) mean probability."""
    accuracy: np.ndarray
    """(B,) share of right answers."""

    @property
    def error(self) -> float:
        """Expected calibration error: mean of |accuracy - confidence|, weighted by count; NaN if empty."""
        filled = self.count > 0
        if not filled.any():
            return float("nan")
        gaps = np.abs(self.accuracy - self.confidence)[filled]
        return float(np.average(gaps, weights=self.count[filled]))


def adaptive_edges(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """(B + 1,) edges in [0, 1] of bins that hold equally many of the probabilities (m,).

    As in the adaptive calibration error of Nixon et al. (2019), so that no point of a diagram rests on a few
    answers. What is at most :data:`NEGLIGIBLE`, most answers where each class is one, has the first bin alone
    (they leave it out). Equal probabilities share a bin, so that others may be empty.

    >>> adaptive_edges(np.array([0.0, 0.2, 0.4, 0.6, 0.8, 0.8]), bins=3)
    array([0.  , 0.01, 0.4 , 1.  ])
    """
    rest = np.sort(confidence[confidence > NEGLIGIBLE])
    if not len(rest):
        return np.concatenate([[0.0], np.full(bins - 1, NEGLIGIBLE), [1.0]])
    rank = np.arange(1, bins - 1) * len(rest) // (bins - 1)  # where a bin should end
    value = rest[np.maximum(rank - 1, 0)]
    start, end = (np.searchsorted(rest, value, side=side) for side in ("left", "right"))  # of equal ones
    before = np.where(start > 0, rest[start - 1], NEGLIGIBLE)
    inner = np.where(end - rank <= rank - start, value, before)
    return np.concatenate([[0.0, NEGLIGIBLE], inner, [1.0]])


def reliability(
    confidence: np.ndarray, correct: np.ndarray, bins: int = BINS, edges: np.ndarray | None = None
) -> Reliability:
    """Compare probabilities (m,) with outcomes (m,) bool in bins of equal width, or of ``edges`` (B + 1,).

    Raises ValueError for probabilities outside [0, 1] and for other lengths.
    """
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if confidence.shape != correct.shape or confidence.ndim != 1:
        shapes = f"{confidence.shape} and {correct.shape}"
        raise ValueError(f"`confidence` and `correct` should have the same shape (m,). Found {shapes}.")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("`confidence` should lie in [0, 1].")
    edges = np.linspace(0, 1, bins + 1) if edges is None else edges
    bins = len(edges) - 1
    bin_of = np.maximum(np.searchsorted(edges, confidence, side="left") - 1, 0)
    count = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(bin_of, weights=w, minlength=bins) / count for w in (confidence, correct)]
    return Reliability(edges, count, *means)


def top_labels(
    probabilities: np.ndarray, targets: np.ndarray, hierarchy: Hierarchy, evaluated: np.ndarray | None = None
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Depth to the probability of the level's best class, and whether that is true: (m,) and (m,) bool.

    Counted over the samples that have a class in the level, and the ``evaluated`` classes (C,) bool.
    Probabilities and targets are (n, C). Levels without such samples are left out.
    """
    answers = {}
    for depth, level in enumerate(hierarchy.levels):
        nodes = np.arange(level.start, level.stop)
        nodes = nodes if evaluated is None else nodes[evaluated[nodes]]
        p, true = probabilities[:, nodes], targets[:, nodes].astype(bool)
        rows = true.any(1)
        if rows.any():
            best = p[rows].argmax(1)[:, None]
            answers[depth] = (
                np.take_along_axis(p[rows], best, 1)[:, 0],
                np.take_along_axis(true[rows], best, 1)[:, 0],
            )
    return answers


def expected_calibration_error(
    probabilities: np.ndarray,
    targets: np.ndarray,
    hierarchy: Hierarchy,
    evaluated: np.ndarray | None = None,
    bins: int = BINS,
    unknown: np.ndarray | None = None,
) -> float:
    """Expected calibration error of probabilities (n, C) for targets (n, C) with ancestors added.

    Where every sample has at most one class in each level: the mean over levels of the top-label error
    (:func:`top_labels`). Otherwise the mean over classes of the binary error, probability of the class
    against its presence. Only ``evaluated`` classes (C,) bool count, and no entries that are ``unknown``
    (n, C) bool, with which the second is taken. NaN if there is nothing to count.
    """
    targets = targets.astype(bool)
    if unknown is None and is_single_path(targets, hierarchy):
        answers = list(top_labels(probabilities, targets, hierarchy, evaluated).values())
    else:
        nodes = range(len(hierarchy)) if evaluated is None else np.flatnonzero(evaluated)
        known = np.ones(targets.shape, dtype=bool) if unknown is None else ~unknown
        columns = ((node, known[:, node]) for node in nodes if known[:, node].any())
        answers = [(probabilities[rows, node], targets[rows, node]) for node, rows in columns]
    errors = [reliability(p, right, bins).error for p, right in answers]
    return float(np.mean(errors)) if errors else float("nan")


def accuracy_coverage(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and accuracy if answers below a bound are withheld, for each bound that matters.

    ``confidence`` (m,) and ``correct`` (m,) bool. Returns two arrays by rising coverage, a point for each
    distinct confidence, from the largest: the share of samples answered, and the share of right answers among
    them (one minus the selective risk of Geifman and El-Yaniv 2017).
    """
    confidence, correct = np.asarray(confidence), np.asarray(correct, dtype=np.float64)
    order = np.argsort(-confidence, kind="stable")
    confidence, right = confidence[order], correct[order].cumsum()
    last = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True)[: len(confidence)])
    answered = last + 1
    return answered / max(len(confidence), 1), right[last] / answered
