"""What a table of means hides: the classes, siblings and samples on which its runs fail.

All of it comes from the predictions of the runs, one run in memory at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hmc_shared.compare.comparison import ComparisonTable, Row
from hmc_shared.compare.plots import SEEDS
from hmc_shared.compare.scoring import ScoredRun, in_threads
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.metrics import level_predictions, level_targets
from hmc_shared.metrics.ranking import rankings_of_classes
from hmc_shared.metrics.summary import decided
from hmc_shared.runs.read import Run, load_run

LARGEST_FAMILY = 1000
"""Confusions are counted among up to this many siblings: all pairs of them are kept in memory."""
_CHUNK = 2**22  # scores compared at a time


@dataclass(frozen=True)
class Confusion:
    """A class and a sibling that scores above it where it should not."""

    true: int
    other: int
    samples: int
    """Test samples that have the class and not the sibling."""
    counts: tuple[float, ...]
    """How many of them score the sibling higher, for each row of the table: mean over seeds."""


@dataclass(frozen=True)
class Answer:
    """What the runs of one row predict for a sample."""

    label: str
    predicted: tuple[str, ...]
    """One for each run, of :data:`hmc_shared.compare.plots.SEEDS` at most."""
    right: tuple[bool, ...]
    probability: tuple[float, ...]
    """Of the predicted class; of several the lowest, of none NaN."""
    of_truth: tuple[float, ...]
    """The same of the most specific true classes."""


@dataclass(frozen=True)
class Sample:
    """A test sample whose classes the runs rank badly."""

    id: str
    loss: float
    """Mean over rows of :func:`ranking_loss`."""
    truth: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Inspection:
    """The details of one table."""

    hierarchy: Hierarchy
    ap: np.ndarray
    """(rows, C) average precision of every class, mean over seeds; NaN if not evaluated or absent."""
    auroc: np.ndarray
    """(rows, C) area under the ROC curve of every class, mean over seeds; NaN also without negatives."""
    threshold: np.ndarray
    """(rows, C) of the scores of every class, mean over seeds; NaN in rows with one for all classes."""
    positives: np.ndarray
    """(C,) test samples that have the class."""
    confusions: tuple[Confusion, ...]
    """The most frequent ones, by the mean over rows."""
    largest_family: int
    """Siblings in the largest family; above :data:`LARGEST_FAMILY`, confusions are not counted."""
    samples: tuple[Sample, ...]
    """The worst ones, the worst first."""


def inspect(table: ComparisonTable, confusions: int = 20, samples: int = 12) -> Inspection:
    """Read the predictions of all runs of a table twice: for the numbers, then for the answers.

    Raises ValueError for a run that is no longer readable.
    """
    first = load_run(table.rows[0].runs[0].path)
    families = sibling_families(first.hierarchy, first.evaluated)
    largest = max(map(len, families), default=0)
    families = [family for family in families if len(family) <= LARGEST_FAMILY]
    means = [_means(row, families) for row in table.rows]
    ap, auroc, counts, losses = zip(*means, strict=True)
    loss = np.mean(losses, axis=0)
    worst = np.argsort(-loss, kind="stable")[:samples]
    worst = worst[loss[worst] > 0]
    answers = [_answers(row, worst) for row in table.rows]
    truths = truth_names(first, worst)
    return Inspection(
        hierarchy=first.hierarchy,
        ap=np.stack(ap),
        auroc=np.stack(auroc),
        threshold=np.stack([_thresholds(row, len(first.hierarchy)) for row in table.rows]),
        positives=first.targets.astype(bool).sum(0),
        confusions=_most_frequent(first.targets.astype(bool), families, counts, confusions),
        largest_family=largest,
        samples=tuple(
            Sample(str(first.ids[i]), float(loss[i]), truths[k], tuple(of_row[k] for of_row in answers))
            for k, i in enumerate(worst)
        ),
    )


def sibling_families(hierarchy: Hierarchy, evaluated: np.ndarray) -> list[np.ndarray]:
    """Ids of the evaluated roots, then of the evaluated children of each parent, if they are two or more."""
    families = [hierarchy.roots.numpy(), *(np.array(hierarchy.children(i)) for i in range(len(hierarchy)))]
    families = [family[evaluated[family]] for family in families if len(family)]
    # Different parents may have the same children.
    return list({tuple(family): family for family in families if len(family) > 1}.values())


def sibling_confusions(scores: np.ndarray, targets: np.ndarray, family: np.ndarray) -> np.ndarray:
    """(k, k) counts: samples that have class a and not b, and score b above a, for the k ids of ``family``.

    On single-path data these are the errors of choosing between the siblings; the definition also holds
    where samples have several classes, and needs no threshold.

    >>> sibling_confusions(np.array([[2.0, 3.0], [1.0, 0.0]]), np.array([[True, False]] * 2), np.arange(2))
    array([[0, 1],
           [0, 0]])
    """
    scores, targets = scores[:, family], targets[:, family]
    counts = np.zeros((len(family), len(family)), dtype=np.int64)
    for a in range(len(family)):
        rows = targets[:, a]
        counts[a] = (~targets[rows] & (scores[rows] > scores[rows, a, None])).sum(0)
    return counts


def ranking_loss(scores: np.ndarray, targets: np.ndarray, unknown: np.ndarray | None = None) -> np.ndarray:
    """(n,) share of the pairs of a true and a false class in which the false one scores higher.

    Entries that are ``unknown`` (n, C) bool have the score -inf, and are not false. 0 for samples without
    such a pair. Ties are not errors: a class and its parent often tie.

    >>> ranking_loss(np.array([[3.0, 1.0, 2.0]]), np.array([[True, True, False]]))
    array([0.5])
    """
    wrong = np.zeros(len(scores))
    rows, classes = targets.nonzero()
    step = max(_CHUNK // max(scores.shape[1], 1), 1)
    for start in range(0, len(rows), step):
        row, true = rows[start : start + step], classes[start : start + step]
        above = (scores[row] > scores[row, true][:, None]) & ~targets[row]
        wrong += np.bincount(row, weights=above.sum(1), minlength=len(scores))
    is_false = ~targets if unknown is None else ~targets & ~unknown
    pairs = targets.sum(1) * is_false.sum(1)
    return wrong / np.maximum(pairs, 1)


def truth_names(run: Run, rows: np.ndarray) -> list[str]:
    """The most specific true classes of some samples."""
    return _names(run.hierarchy, run.hierarchy.most_specific(run.targets[rows].astype(bool)))


def predicted_classes(run: Run, rows: np.ndarray) -> np.ndarray:
    """(m, C) bool: what a run predicts for some samples, without ancestors.

    On single-path data: the highest-scored class at the depth of the deepest true one. Otherwise: the most
    specific classes at or above the run's threshold.
    """
    hierarchy, targets = run.hierarchy, run.targets.astype(bool)
    if not run.is_single_path:
        unknown = None if run.unknown is None else run.unknown[rows]
        return hierarchy.most_specific(decided(run.scores[rows], run.threshold, hierarchy, unknown))
    true = level_targets(targets, hierarchy)[rows]
    depth = np.maximum((true >= 0).sum(1) - 1, 0)
    at = np.arange(len(rows))
    predicted = np.zeros((len(rows), len(hierarchy)), dtype=bool)
    predicted[at, level_predictions(run.scores[rows], hierarchy)[at, depth]] = True
    return predicted


def _means(
    row: Row, families: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], np.ndarray]:
    """AP and AUROC of every class, confusions of families and losses of samples: means over the runs."""

    def numbers(scored: ScoredRun) -> list[np.ndarray]:
        run = load_run(scored.path)
        return [_rankings(run), _loss(run), *_pairs(run, families)]

    of_runs = in_threads(numbers, row.runs)
    sums = next(of_runs)
    for of_run in of_runs:
        sums = [total + value for total, value in zip(sums, of_run, strict=True)]
    (ap, auroc), loss, *pairs = (total / len(row.runs) for total in sums)
    return ap, auroc, pairs, loss


def _thresholds(row: Row, classes: int) -> np.ndarray:
    of_runs = [run.evaluation.threshold for run in row.runs]
    by_class = [list(one.values()) for one in of_runs if isinstance(one, Mapping)]
    return np.mean(by_class, axis=0) if len(by_class) == len(of_runs) else np.full(classes, np.nan)


def _evaluated(run: Run) -> tuple[np.ndarray, np.ndarray]:
    return run.ranked[:, run.evaluated], run.targets[:, run.evaluated].astype(bool)


def _loss(run: Run) -> np.ndarray:
    return ranking_loss(*_evaluated(run), _unknown(run))


def _unknown(run: Run) -> np.ndarray | None:
    return None if run.unknown is None else run.unknown[:, run.evaluated]


def _rankings(run: Run) -> np.ndarray:
    """(2, C): AP and AUROC of the classes."""
    values = np.full((2, len(run.evaluated)), np.nan)
    values[:, run.evaluated] = rankings_of_classes(*_evaluated(run), _unknown(run))
    return values


def _pairs(run: Run, families: list[np.ndarray]) -> list[np.ndarray]:
    targets = run.targets.astype(bool)
    return [sibling_confusions(run.ranked, targets, family) for family in families]


def _most_frequent(
    targets: np.ndarray, families: list[np.ndarray], counts: Sequence[list[np.ndarray]], limit: int
) -> tuple[Confusion, ...]:
    """The pairs with the highest mean count over the rows; siblings by two parents count once."""
    confusions: dict[tuple[int, int], Confusion] = {}
    for number, family in enumerate(families):
        of_rows = np.stack([row[number] for row in counts])  # (rows, k, k)
        mean = of_rows.mean(0)
        order = np.argsort(-mean, axis=None, kind="stable")[:limit]
        for a, b in zip(*np.unravel_index(order, mean.shape), strict=True):
            true, other = int(family[a]), int(family[b])
            if mean[a, b] > 0:
                samples = int((targets[:, true] & ~targets[:, other]).sum())
                confusions[true, other] = Confusion(true, other, samples, tuple(of_rows[:, a, b].tolist()))
    return tuple(sorted(confusions.values(), key=lambda pair: -sum(pair.counts))[:limit])


def _answers(row: Row, rows: np.ndarray) -> list[Answer]:
    of_runs = [_answers_of_run(load_run(run.path), rows) for run in row.runs[:SEEDS]]
    return [Answer(row.label, *zip(*of_sample, strict=True)) for of_sample in zip(*of_runs, strict=True)]


def _answers_of_run(run: Run, rows: np.ndarray) -> list[tuple[str, bool, float, float]]:
    """For each of some samples: predicted names, whether right, probabilities of them and of the truth."""
    true = run.hierarchy.most_specific(run.targets[rows].astype(bool))
    predicted = predicted_classes(run, rows)
    sure, of_truth = (
        np.where(classes, run.probabilities[rows], np.inf).min(1) for classes in (predicted, true)
    )
    return list(
        zip(
            _names(run.hierarchy, predicted),
            (predicted == true).all(1).tolist(),
            np.where(predicted.any(1), sure, np.nan).tolist(),
            np.where(true.any(1), of_truth, np.nan).tolist(),
            strict=True,
        )
    )


def _names(hierarchy: Hierarchy, classes: np.ndarray, limit: int = 4) -> list[str]:
    """The names of each label set (m, C), the first few of many."""
    texts = []
    for row in classes:
        ids = row.nonzero()[0]
        more = f" and {len(ids) - limit} more" if len(ids) > limit else ""
        texts.append((", ".join(hierarchy.names[i] for i in ids[:limit]) or "nothing") + more)
    return texts
