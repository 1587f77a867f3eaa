"""Metrics that depend only on the order of the scores: average precision in all its forms.

Everything here rests on two counts. For a positive entry with score s,

    TP(s) = number of positives scored >= s,    FP(s) = number of negatives scored >= s,

and TP / (TP + FP) is the precision at the threshold s. Thresholds at scores that no positive has change
no recall and add nothing to the area, so only the positives' scores are visited. Entries with equal
scores share one threshold, hence the result does not depend on the order of the samples.

Shapes: scores (n, C) float32 or float64, targets (n, C) bool or 0/1; numpy arrays or torch tensors on any
device. All functions raise ValueError for half precision or NaN scores, targets that are not binary, and
shapes that do not match.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from ._inputs import (
    BLOCK,
    Absent,
    Array,
    as_counts,
    as_pair,
    check_absent,
    mean_of_classes,
    ratio,
    row_blocks,
)

Interpolation = Literal["step", "clus"]
Columns: TypeAlias = slice | np.ndarray


def au_prc(scores: Array, targets: Array, interpolation: Interpolation = "step") -> float:
    """AU(PRC): area under the micro precision-recall curve of all n * C entries in one ranking.

    With P positives s_1 >= ... >= s_P among all entries, HLSTM Eq. (12) and (13) give the points

        precision(s) = TP(s) / (TP(s) + FP(s)),    recall(s) = TP(s) / P.

    The papers do not say how the area between them is taken. Two readings:

    ``"step"`` (default): micro average precision, 1/P * sum_i precision(s_i). It is scikit-learn's
    ``average_precision_score(average="micro")``, which the public C-HMCNN code reports.

    ``"clus"``: the interpolation of CLUS, after Davis and Goadrich (ICML 2006). Between two neighbouring
    thresholds with counts (TP_a, FP_a) and (TP_b, FP_b), FP is linear in TP,

        FP(t) = FP_a + (FP_b - FP_a) / (TP_b - TP_a) * (t - TP_a),    precision(t) = t / (t + FP(t)),

    taken at every integer t from TP_a to TP_b and joined by straight lines, so

        area = 1/P * sum_{t=0}^{P-1} (precision(t) + precision(t + 1)) / 2.

    The first point is extended to recall 0 at its own precision. Where t ends one segment and begins the
    next, each segment uses its own FP (the curve falls vertically there). Source: ``ROCAndPRCurve`` in CLUS.

    The caller selects the evaluated columns. Without a single positive the area is undefined: NaN.

    >>> scores = np.array([[0.9, 0.7], [0.8, 0.1]])
    >>> targets = np.array([[True, True], [False, False]])
    >>> round(au_prc(scores, targets), 6)  # (1/1 + 2/3) / 2
    0.833333
    >>> round(au_prc(scores, targets, interpolation="clus"), 6)  # (1 + (1/2 + 2/3) / 2) / 2
    0.791667
    """
    if interpolation not in get_args(Interpolation):
        raise ValueError(f'`interpolation` should be "step" or "clus". Found {interpolation!r}.')
    scores, targets = as_pair(scores, targets)
    if interpolation == "step":
        positives = _positives(scores, targets)
        return Pooled(positives, _count_negatives(scores, targets, positives)).area()
    return _clus_area(scores, targets)


def average_precision(scores: Array, targets: Array) -> np.ndarray:
    """Average precision of every class, (C,) float64; NaN for classes without positives.

    The step sum of :func:`au_prc`, each column ranked by itself. HP-DVAL, MulSupCon.

    >>> average_precision(np.array([[0.9, 0.2], [0.8, 0.1], [0.7, 0.3]]), np.array([[1, 0], [0, 0], [1, 0]]))
    array([0.83333333,        nan])
    """
    return rankings_of_classes(scores, targets)[0]


def auroc(scores: Array, targets: Array) -> np.ndarray:
    """Area under the ROC curve of every class, (C,) float64; NaN without positives, or without negatives.

    The share of a class's pairs of a positive and a negative sample in which the positive scores higher;
    equal scores count half (Mann and Whitney's U over P * N), as in scikit-learn's ``roc_auc_score``.

    >>> auroc(np.array([[0.9, 0.2], [0.8, 0.1], [0.7, 0.3]]), np.array([[1, 0], [0, 0], [1, 0]]))
    array([0.5, nan])
    """
    return rankings_of_classes(scores, targets)[1]


def rankings_of_classes(
    scores: Array, targets: Array, unknown: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What both functions above return: the scores of every class are sorted once.

    Entries that are ``unknown`` (n, C) bool have the score -inf, and are no negatives.
    """
    scores, targets = as_pair(scores, targets)
    left_out = np.zeros(scores.shape[1], dtype=np.int64) if unknown is None else unknown.sum(0)
    ap, roc = np.full((2, scores.shape[1]), np.nan)
    width = max(1, BLOCK // max(len(scores), 1))  # classes that are copied at a time, a class in a row
    for start in range(0, len(ap), width):
        block = slice(start, start + width)
        rows, labels = (np.array(values[:, block].T, order="C") for values in (scores, targets))  # copies
        positives = [np.sort(row[of_row]) for row, of_row in zip(rows, labels, strict=True)]
        rows[labels] = -np.inf  # below all negatives, which are counted in sorted rows: quick to make at once
        rows.sort(axis=1)
        for label, (own, row) in enumerate(zip(positives, rows, strict=True), start):
            fp = _count_from(row, own) - np.where(own == -np.inf, len(own) + left_out[label], 0)
            ap[label] = Pooled(own, fp).area()
            pairs = len(own) * (len(row) - len(own) - left_out[label])
            roc[label] = 1 - ratio((fp + _count_above(row, own)).sum(), 2 * pairs)
    return ap, roc


def mean_average_precision(scores: Array, targets: Array, absent: Absent = "skip") -> float:
    """mAP: mean of :func:`average_precision` over the classes.

    ``absent`` says what a class without positives counts: ``"skip"`` leaves it out (NaN if that leaves no
    class), ``"zero"`` counts it as 0, as scikit-learn does.

    >>> scores, targets = np.array([[0.9, 0.2], [0.8, 0.1]]), np.array([[1, 0], [0, 0]])
    >>> mean_average_precision(scores, targets), mean_average_precision(scores, targets, absent="zero")
    (1.0, 0.5)
    """
    check_absent(absent)
    return mean_of_classes(average_precision(scores, targets), absent)


def ap_variance(scores: Array, targets: Array) -> float:
    """Population variance (divisor: number of classes) of the AP of the classes that have positives.

    For AP in percent it is 10,000 times as large. NaN without positives. HP-DVAL, Sec. IV-B. Not every
    "var." of its Table I can be this: those of CoOp and LMPT, for example, equal to the last digit the
    variance of the three group mAPs weighted by group size, which leaves out the spread inside a group.

    >>> ap_variance(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([[1, 1], [0, 0]]))  # AP 1 and 1/2
    0.0625
    """
    return variance_of_classes(average_precision(scores, targets))


def coverage_error(scores: Array, targets: Array) -> float:
    """How far down a sample's ranking its last true class stands, in the mean over samples.

    The number of classes that score at least the lowest true one, as scikit-learn counts it: at best the
    number of true classes, and 0 for a sample without any. NaN without samples.

    >>> coverage_error(np.array([[0.9, 0.7, 0.2]]), np.array([[1, 0, 1]]))
    3.0
    """
    return coverage_and_loss(scores, targets)[0]


def ranking_loss(scores: Array, targets: Array) -> float:
    """Share of a sample's pairs of a true and another class that are in the wrong order, in the mean.

    Equal scores are in the wrong order, and a sample whose classes are all true, or none, has no loss, as in
    scikit-learn. NaN without samples.

    >>> ranking_loss(np.array([[0.9, 0.7, 0.2]]), np.array([[1, 0, 1]]))
    0.5
    """
    return coverage_and_loss(scores, targets)[1]


def coverage_and_loss(
    scores: Array, targets: Array, unknown: np.ndarray | None = None
) -> tuple[float, float]:
    """What both functions above return: every row is ranked once. ``unknown`` as above."""
    scores, targets = as_pair(scores, targets)
    width = scores.shape[1]
    coverage = loss = 0.0
    for rows in row_blocks(scores, copies=4):
        order = np.argsort(scores[rows], axis=1)[:, ::-1]
        ranked, labels = (np.take_along_axis(of[rows], order, axis=1) for of in (scores, targets))
        is_end = np.ones(ranked.shape, dtype=bool)  # the last entry with its score
        is_end[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
        ends = np.flatnonzero(is_end)
        true = np.flatnonzero(labels)  # flat places of the positives, row by row
        last = ends[np.searchsorted(ends, true)]  # of those with an equal score
        row, count = true // max(width, 1), labels.sum(axis=1)
        reached = last - row * width + 1
        right = np.searchsorted(true, last, side="right") - (count.cumsum() - count)[row]
        deepest = np.zeros(len(count))
        np.maximum.at(deepest, row, reached)
        coverage += deepest.sum()
        pairs = count * (width - count - (0 if unknown is None else unknown[rows].sum(axis=1)))
        wrong = np.bincount(row, reached - right, len(count))
        loss += np.divide(wrong, pairs, out=np.zeros(len(count)), where=pairs > 0).sum()
    return ratio(coverage, len(scores)), ratio(loss, len(scores))


def head_medium_tail(train_counts: Array) -> dict[str, np.ndarray]:
    """Bool masks (C,) of the classes by their number of training positives (HP-DVAL, Sec. IV-B).

    head: at least 100, medium: 20 to 99, tail: below 20. The paper prints "more than 100" for head, but its
    group sizes (6:6:8 on VOC-LT, 22:33:25 on COCO-LT) need 100 to be head.

    >>> head_medium_tail(np.array([100, 99, 20, 19]))["medium"]
    array([False,  True,  True, False])
    """
    counts = as_counts(train_counts, "train_counts")
    return {"head": counts >= 100, "medium": (counts >= 20) & (counts < 100), "tail": counts < 20}


def precision_at_1(scores: Array, targets: Array) -> float:
    """Share of samples whose highest-scored class is a true one (MulSupCon).

    If several classes share the highest score, as a parent and its child do after the max constraint, the
    sample counts the share of true ones among them: the expectation over a random choice, independent of
    the order of classes. A sample without positives counts as 0. NaN without samples or classes.

    >>> precision_at_1(np.array([[0.9, 0.9, 0.1], [0.1, 0.2, 0.3]]), np.array([[1, 0, 0], [0, 0, 1]]))
    0.75
    """
    scores, targets = as_pair(scores, targets)
    if not scores.size:
        return float("nan")
    shares = np.empty(len(scores))
    for rows in row_blocks(scores):
        top = scores[rows] == scores[rows].max(axis=1, keepdims=True)  # (b, C)
        shares[rows] = (top & targets[rows]).sum(axis=1) / top.sum(axis=1)
    return float(np.mean(shares))


def variance_of_classes(values: np.ndarray) -> float:
    """Population variance of per-class values (C,), classes without positives (NaN) left out."""
    present = values[~np.isnan(values)]
    return float(present.var()) if len(present) else float("nan")


@dataclass(frozen=True, eq=False)
class Pooled:
    """The entries of some classes in one ranking: what their precision-recall curve needs of it."""

    positives: np.ndarray
    """(P,) their scores, ascending."""
    fp: np.ndarray
    """(P,) int64: the negatives at or above each of them."""

    def area(self) -> float:
        """The step sum of :func:`au_prc`."""
        if not len(self.positives):
            return float("nan")
        total = 0.0
        for part in row_blocks(self.positives):
            tp = _count_from(self.positives, self.positives[part])
            total += np.sum(tp / (tp + self.fp[part]))
        return float(total / len(self.positives))

    def precision_at(self, recall: np.ndarray) -> np.ndarray:
        """(m,) precision at the highest threshold that reaches each recall (m,); NaN without positives.

        The step function whose area is :func:`au_prc`.
        """
        count = len(self.positives)
        if not count:
            return np.full(len(recall), np.nan)
        # Rounding must not push a recall past the positive that reaches it.
        at = -np.maximum(np.ceil(recall * count * (1 - 1e-12)).astype(np.int64), 1)
        tp = _count_from(self.positives, self.positives[at])
        return tp / (tp + self.fp[at])


def pooled(scores: np.ndarray, targets: np.ndarray, groups: Iterable[Columns]) -> tuple[Pooled, list[float]]:
    """All groups of columns in one ranking, and the area of each by itself. Every score is sorted once.

    ``scores`` (n, C) float and ``targets`` (n, C) bool are checked already; no column is in two groups.
    """
    groups = list(groups)
    of_groups = [_positives(scores, targets, columns) for columns in groups]
    positives = np.sort(np.concatenate([np.empty(0, scores.dtype), *of_groups]))
    fp, areas = np.zeros(len(positives), dtype=np.int64), []
    for columns, own in zip(groups, of_groups, strict=True):
        counts = _count_negatives(scores, targets, positives, columns)
        areas.append(Pooled(own, counts[np.searchsorted(positives, own)]).area())
        fp += counts
    return Pooled(positives, fp), areas


def _positives(scores: np.ndarray, targets: np.ndarray, columns: Columns = slice(None)) -> np.ndarray:
    """The scores of the positives of some columns, ascending."""
    parts = [scores[rows, columns][targets[rows, columns]] for rows in row_blocks(scores)]
    return np.sort(np.concatenate(parts))


def _clus_area(scores: np.ndarray, targets: np.ndarray) -> float:
    positives = _positives(scores, targets)
    if not len(positives):
        return float("nan")
    tp, fp = _count_from(positives, positives), _count_negatives(scores, targets, positives)
    # Each of the P positives is one unit of TP, from t to t + 1, in the segment that ends with (tp, fp) at
    # its own score and begins with (tp_above, fp_above) at the next higher score of the ranking.
    tp_above = _count_above(positives, positives)
    fp_above = _count_negatives(scores, targets, positives, above=True)
    slope = (fp - fp_above) / (tp - tp_above)
    t = np.arange(len(positives))[::-1].astype(np.float64)  # the positives are in ascending order
    fp_left, fp_right = fp_above + slope * (t - tp_above), fp_above + slope * (t + 1 - tp_above)
    right = (t + 1) / (t + 1 + fp_right)
    # Only at t = 0 can t + FP be 0: no negative is above the best positive, the first point is extended.
    left = np.divide(t, t + fp_left, out=right.copy(), where=t + fp_left > 0)
    return float(np.mean((left + right) / 2))


def _count_negatives(
    scores: np.ndarray,
    targets: np.ndarray,
    thresholds: np.ndarray,
    columns: Columns = slice(None),
    *,
    above: bool = False,
) -> np.ndarray:
    """Number of negatives at or above each of the ascending thresholds, or ``above`` only, (T,) int64.

    Block by block, so that no more than a block of scores is copied. Plain values sort several times faster
    than an argsort that carries the labels along (numpy sorts them with vector instructions). The fewer are
    searched among the more: a few thresholds among the negatives, or else the negatives among the thresholds.
    """
    counts = np.zeros(len(thresholds) + 1, dtype=np.int64)
    are_few = len(thresholds) <= BLOCK
    for rows in row_blocks(scores):
        negatives = scores[rows, columns][~targets[rows, columns]]
        negatives.sort()
        if are_few:
            counts[:-1] += (_count_above if above else _count_from)(negatives, thresholds)
        else:  # a negative counts for the thresholds before its place
            places = np.searchsorted(thresholds, negatives, side="left" if above else "right")
            place, number = np.unique(places, return_counts=True)
            counts[place] += number
    return counts[:-1] if are_few else counts[::-1].cumsum()[::-1][1:]


def _count_from(ascending: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Number of values >= each threshold."""
    return len(ascending) - np.searchsorted(ascending, thresholds, side="left")


def _count_above(ascending: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Number of values > each threshold."""
    return len(ascending) - np.searchsorted(ascending, thresholds, side="right")
