"""Which class is taken for which, level by level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmc_shared.compare.comparison import Row
from hmc_shared.compare.scoring import ScoredRun, in_threads
from hmc_shared.metrics import level_predictions, level_targets
from hmc_shared.runs.read import load_run

LARGEST_MATRIX = 16
"""Classes of a level that are shown, those with the most mistakes."""


@dataclass(frozen=True, eq=False)
class LevelConfusion:
    """The confusion matrix of one level."""

    depth: int
    classes: np.ndarray
    """(k,) ids of the shown classes, ascending."""
    total: int
    """Classes of the level that are true or predicted for some sample."""
    counts: np.ndarray
    """(k, k) samples by true class and best class of the level, mean over seeds."""


def confusion_by_level(row: Row, limit: int = LARGEST_MATRIX) -> list[LevelConfusion]:
    """Of the runs of one row: a matrix for each level with two classes or more to confuse.

    The best class of a level is the one with the highest score, as for ``accuracy_level_<depth>``. Empty
    where samples have several classes in a level. Raises ValueError for a run that is no longer readable.
    """
    of_runs = list(in_threads(_predicted, row.runs))
    if any(answers is None for answers in of_runs):
        return []
    predicted, true = (np.concatenate(part) for part in zip(*filter(None, of_runs), strict=True))  # (n, L)
    levels = []
    for depth in range(true.shape[1]):
        rows = true[:, depth] >= 0
        found, ids = np.unique(np.stack([true[rows, depth], predicted[rows, depth]]), return_inverse=True)
        if len(found) < 2:
            continue
        a, b = ids.reshape(2, -1)  # places in found
        wrong = a != b
        mistakes = np.bincount(np.concatenate([a[wrong], b[wrong]]), minlength=len(found))
        shown = np.sort(np.argsort(-mistakes, kind="stable")[:limit])
        place = np.full(len(found), -1)
        place[shown] = np.arange(len(shown))
        inside = (place[a] >= 0) & (place[b] >= 0)
        pairs = place[a[inside]] * len(shown) + place[b[inside]]
        counts = np.bincount(pairs, minlength=len(shown) ** 2).reshape(len(shown), -1) / len(row.runs)
        levels.append(LevelConfusion(depth, found[shown], len(found), counts))
    return levels


def _predicted(scored: ScoredRun) -> tuple[np.ndarray, np.ndarray] | None:
    """Predicted and true classes (n, L) of a run; None where samples have several in a level."""
    run = load_run(scored.path)
    if not run.is_single_path:
        return None
    true = level_targets(run.targets.astype(bool), run.hierarchy)
    return level_predictions(run.scores, run.hierarchy), true
