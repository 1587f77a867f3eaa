"""As deep as is certain: thresholds that keep a promise, chosen on rows that nothing else was fitted on.

The answer to a row is a path that ends at the deepest class whose probability reaches a threshold. What
matters of a row are two numbers: the largest threshold at which it has an answer, and the largest one at
which its answer is wrong, that is, names a class that is not true (-inf where there is none). Both are fixed
before the threshold is chosen, and a higher threshold only ever cuts an answer: so the rows answered, and
those answered wrongly, are counted by comparing these two with the threshold, in trees and DAGs alike.

The promises hold for rows that are drawn as those were on which the threshold was chosen, whatever the model,
its calibration and the number of classes are. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, expit

GRID = np.append(expit(np.arange(10, -2.5, -0.5)), 0.0)
"""The thresholds that are tried, from the highest down: fixed, so that they depend on no row."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What comes of n rows with known classes at any threshold."""

    answered: np.ndarray
    """(n,) float64: the largest threshold at which a row has an answer."""
    wrong: np.ndarray
    """(n,) float64: the largest threshold at which its answer is wrong, -inf for none."""
    levels: np.ndarray
    """(n, L) float64: the largest threshold at which its answer reaches each depth, -inf for none."""
    missed: np.ndarray
    """(n,) float64: the largest threshold that all its true classes reach; inf without any."""

    def counts(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows answered, and of these the wrong ones, at each threshold (t,): (t,) and (t,) int64."""
        return tuple(  # type: ignore[return-value]
            len(of) - np.searchsorted(np.sort(of), thresholds, side="left")
            for of in (self.answered, self.wrong)
        )

    def depth(self, threshold: float) -> float:
        """Mean number of levels that are answered; 0 counts where there is no answer. NaN without rows."""
        reached = np.where(self.levels >= threshold, np.arange(1, self.levels.shape[1] + 1), 0)
        return float(reached.max(1).mean()) if len(reached) else float("nan")


def p_values(answered: np.ndarray, wrong: np.ndarray, target: float) -> np.ndarray:
    """(t,): probability of no more wrong answers than there are, if each were wrong with ``target``.

    The exact binomial tail, P(Bin(m, target) <= k). Given m, the k wrong ones of rows drawn independently are
    binomial; if an answer is wrong with a probability above the target, this is at most u with a probability
    of at most u.

    >>> p_values(np.array([0, 2]), np.array([0, 0]), 0.1)
    array([1.  , 0.81])
    """
    return bdtr(wrong.astype(float), answered, target)


def certain_threshold(
    outcomes: Outcomes, target: float, confidence: float, grid: np.ndarray = GRID
) -> float | None:
    """The lowest threshold at which at most a share ``target`` of the answers given is wrong; None for none.

    With a probability of at least ``confidence`` over the rows that this is chosen on, an answer at this
    threshold is wrong with a probability of at most ``target``.

    Learn-then-Test (Angelopoulos et al. 2021): each threshold of the grid, from the highest down, is a
    hypothesis that its answers are wrong more often, tested by :func:`p_values`. The fallback procedure
    (Wiens 2003) keeps the probability of any false rejection at most 1 - confidence: every hypothesis has an
    equal part of it, and a rejected one hands its own on to the next. All rejected ones hold at once, so the
    lowest is taken.
    """
    tests = p_values(*outcomes.counts(grid), target)
    share = (1 - confidence) / len(grid)
    chosen, level = None, 0.0
    for threshold, p in zip(grid.tolist(), tests.tolist(), strict=True):
        level += share
        if p <= level:
            chosen = threshold
        else:
            level = 0.0
    return chosen


def set_threshold(outcomes: Outcomes, target: float) -> float:
    """The threshold q: the classes at least that probable lack a true one in a share ``target`` of rows only.

    Split conformal prediction (Vovk et al. 2005): q is the k-th smallest probability of the least probable
    true class, k = floor(target (n + 1)). A new row lacks one if its own is below q, which has a probability
    of at most k / (n + 1) <= target over all n + 1 rows. 0 where n is too small: then all classes are named.
    """
    k = int(np.floor(target * (len(outcomes.missed) + 1) + 1e-9))
    return float(np.sort(outcomes.missed)[k - 1].clip(max=1)) if k > 0 else 0.0


def curve(outcomes: Outcomes, thresholds: np.ndarray = GRID) -> dict[str, np.ndarray]:
    """Risk over coverage and depth, (t,) each: ``threshold``, ``answered``, ``error`` and ``levels``.

    The share of rows with an answer, the share of these that are wrong (NaN for none), and the mean number of
    levels that are answered.
    """
    answered, wrong = outcomes.counts(thresholds)
    n = len(outcomes.answered)
    return {
        "threshold": thresholds,
        "answered": answered / n if n else np.full(len(thresholds), np.nan),
        "error": np.divide(wrong, answered, out=np.full(len(thresholds), np.nan), where=answered > 0),
        "levels": np.array([outcomes.depth(threshold) for threshold in thresholds]),
    }
