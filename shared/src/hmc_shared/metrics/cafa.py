"""The metrics of CAFA, the challenge on the functions of proteins: Fmax, weighted Fmax and Smin.

At a threshold t, P_i are the classes of sample i that score at least t, T_i its true ones, and w the sum of
the weights of classes, which are 1 or their information. Over the N samples that have a true class, m of
which have a predicted one (Radivojac et al. 2013; Jiang et al. 2016),

    precision = 1/m sum_i w(P_i & T_i) / w(P_i),       recall = 1/N sum_i w(P_i & T_i) / w(T_i),
    Fmax = max_t 2 precision recall / (precision + recall),
    ru = 1/N sum_i w(T_i - P_i),      mi = 1/N sum_i w(P_i - T_i),      Smin = min_t sqrt(ru^2 + mi^2).

From one score of a positive down to the next, a lower threshold adds negatives only: precision falls, mi
rises, recall and ru stay. So the best threshold is the score of a positive, or the highest score of all,
where a threshold has to predict something, and only these are visited.

Shapes: scores (n, C) float32 or float64, targets (n, C) bool or 0/1; numpy arrays or torch tensors on any
device. All functions raise ValueError for half precision or NaN scores, targets that are not binary, and
shapes that do not match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hmc_shared.hierarchy import Hierarchy

from ._inputs import Array, as_binary, as_pair, as_weights, check_width, row_blocks

MANY = 2**20
"""Thresholds that no cache holds: sorted scores are found among them twice as fast."""


@dataclass(frozen=True, eq=False)
class Curve:
    """What a predictor reaches at each of T thresholds: arrays (T,) float64, thresholds ascending."""

    thresholds: np.ndarray
    precision: np.ndarray
    """0 where nothing is predicted."""
    recall: np.ndarray
    coverage: np.ndarray
    """Share of the samples that have a predicted class."""
    remaining_uncertainty: np.ndarray
    misinformation: np.ndarray

    @property
    def f(self) -> np.ndarray:
        """Harmonic mean of precision and recall, 0 if both are 0."""
        total = self.precision + self.recall
        return np.divide(2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0)

    @property
    def s(self) -> np.ndarray:
        """Semantic distance of predictions and truth."""
        return np.hypot(self.remaining_uncertainty, self.misinformation)

    @property
    def fmax(self) -> float:
        """NaN without a sample that counts, and where no threshold predicts anything."""
        return float(self.f.max(initial=-np.inf)) if self else float("nan")

    @property
    def smin(self) -> float:
        """NaN as :attr:`fmax`."""
        return float(self.s.min(initial=np.inf)) if self else float("nan")

    def __bool__(self) -> bool:
        return len(self.thresholds) > 0


class Block(NamedTuple):
    """Some samples with k scored classes each, in any order, and the weight of what is true of each."""

    scores: np.ndarray
    """(b, k) float; padded with -inf."""
    true: np.ndarray
    """(b, k) bool; False where padded."""
    weights: np.ndarray
    """(b, k) or (k,): of the classes; 0 where padded."""
    totals: np.ndarray
    """(b,) weight of the true classes, scored or not."""


def fmax(
    scores: Array, targets: Array, weights: Array | None = None, thresholds: np.ndarray | None = None
) -> float:
    """The largest F of precision and recall by sample, over all thresholds or the given ones.

    ``weights`` (C,): of the classes, at least 0; default 1. Samples without a true class do not count; those
    that have only classes of weight 0 do, with a recall of 0, as in ``cafaeval``. NaN if none counts.

    >>> scores, targets = np.array([[0.9, 0.8, 0.1], [0.3, 0.6, 0.2]]), np.array([[1, 0, 0], [1, 1, 0]])
    >>> round(fmax(scores, targets), 4)  # at .3: precision (1/2 + 1) / 2, recall 1
    0.8571
    >>> round(fmax(scores, targets, thresholds=np.array([0.5])), 4)  # precision 3/4, recall 3/4
    0.75
    """
    return curve(scores, targets, weights, thresholds).fmax


def smin(scores: Array, targets: Array, information: Array, thresholds: np.ndarray | None = None) -> float:
    """The smallest semantic distance, in bits, over all thresholds or the given ones that predict something.

    ``information`` (C,): see :func:`information_accretion`. NaN if no sample counts.

    >>> scores, targets = np.array([[0.9, 0.8, 0.1]]), np.array([[1, 0, 1]])
    >>> smin(scores, targets, np.array([1.0, 4.0, 2.0]))  # at .9 the third is missing
    2.0
    """
    return curve(scores, targets, information, thresholds).smin


def curve(
    scores: Array, targets: Array, weights: Array | None = None, thresholds: np.ndarray | None = None
) -> Curve:
    """Precision, recall, coverage, ru and mi at every threshold that can be the best, or at the given ones.

    Arguments as of :func:`fmax`. Thresholds above all scores are left out: they predict nothing.
    """
    scores, targets = as_pair(scores, targets)
    of_classes = np.ones(scores.shape[1]) if weights is None else as_weights(weights, scores.shape[1])

    def blocks() -> Iterator[Block]:
        for rows in row_blocks(scores, copies=8):
            counted = targets[rows].any(axis=1)
            true = targets[rows][counted]
            yield Block(scores[rows][counted], true, of_classes, true @ of_classes)

    return curve_of(blocks, thresholds)


def curve_of(blocks: Callable[[], Iterable[Block]], thresholds: np.ndarray | None = None) -> Curve:
    """What :func:`curve` returns, of samples that come in blocks, which are asked for twice."""
    top, count, total, positives = -np.inf, 0, 0.0, [np.empty(0)]
    for block in blocks():
        top = max(top, block.scores.max(initial=-np.inf))
        count, total = count + len(block.totals), total + float(block.totals.sum())
        if thresholds is None:
            positives.append(np.unique(block.scores[block.true & (block.weights > 0)]))
    at = np.unique(np.concatenate([*positives, [top]]) if thresholds is None else thresholds)
    at = at[at <= top] if count and top > -np.inf else at[:0]
    sums = np.zeros((5, len(at) + 1))
    for block in blocks():
        for of_kind, (bins, values) in zip(sums, _changes(block, at), strict=True):
            of_kind += np.bincount(bins, values, len(at) + 1)
    precision, covered, recall, right, predicted = sums[:, ::-1].cumsum(axis=1)[:, -2::-1]  # from each one on
    mean = np.divide(precision, covered, out=np.zeros_like(covered), where=covered > 0)
    share = 1 / max(count, 1)
    return Curve(
        at, mean, recall * share, covered * share, (total - right) * share, (predicted - right) * share
    )


def _changes(block: Block, thresholds: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """By how much each scored class changes precision, coverage, recall, and the weights of what is right and
    of all that is predicted: where it is added to its sample, best first.

    Pairs of the number of thresholds (m,) that its score reaches, and the change (m,).
    """
    order = np.argsort(block.scores, axis=1)[:, ::-1]
    scores, true = (np.take_along_axis(of, order, axis=1) for of in (block.scores, block.true))
    weights = np.take_along_axis(np.broadcast_to(block.weights, scores.shape), order, axis=1)
    bins = _reached(thresholds, scores.ravel())
    right = weights * true
    predicted = weights.cumsum(axis=1)
    precision = np.divide(right.cumsum(axis=1), predicted, out=np.zeros(scores.shape), where=predicted > 0)
    yield bins, np.diff(precision, axis=1, prepend=0).ravel()
    is_first = (weights > 0) & (predicted == weights)
    yield bins[is_first.ravel()], np.ones(np.count_nonzero(is_first))
    at = np.flatnonzero(right)
    bins_of_right, right = bins[at], right.ravel()[at]
    yield bins_of_right, right / block.totals[at // scores.shape[1]]
    yield bins_of_right, right
    yield bins, weights.ravel()


def _reached(thresholds: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(m,) int64: how many of the ascending thresholds each score (m,) reaches."""
    if len(thresholds) < MANY:
        return np.searchsorted(thresholds, scores, side="right")
    ascending, result = np.argsort(scores), np.empty(scores.shape, dtype=np.int64)
    result[ascending] = np.searchsorted(thresholds, scores[ascending], side="right")
    return result


def information_accretion(targets: Array, hierarchy: Hierarchy) -> np.ndarray:
    """Bits that a class adds to its parents, (C,) float64: -log2 P(class | all its parents).

    Estimated from the targets (n, C) of training samples, ancestors added (Clark and Radivojac 2013). 0, so
    that nothing counts, for roots, which every sample of an ontology has, and for classes without a sample.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog", "animal/dog/husky"])
    >>> information_accretion(np.array([[1, 1, 0, 0], [1, 0, 1, 1], [1, 0, 1, 1], [1, 0, 0, 0]]), h)
    array([0., 2., 1., 0.])
    """
    targets = as_binary(targets, "targets")
    check_width(targets, len(hierarchy), "targets")
    counts = np.zeros((2, len(hierarchy)), dtype=np.int64)
    for rows in row_blocks(targets):
        counts += with_and_possible(targets[rows], hierarchy)
    return information(*counts)


def with_and_possible(targets: np.ndarray, hierarchy: Hierarchy) -> np.ndarray:
    """Samples that have each class, and that have all its parents, (2, C) int64; of roots, 0.

    Targets are (n, C) bool, ancestors added. Sets of samples are rows of bits.
    """
    bits = np.packbits(targets.T, axis=1)  # (C, n / 8)
    result = np.zeros((2, len(hierarchy)), dtype=np.int64)
    result[0] = np.bitwise_count(bits).sum(axis=1)
    pointers, parents = hierarchy.parent_ptr.cpu().numpy(), hierarchy.parent_ids.cpu().numpy()
    number = np.diff(pointers)
    common = bits[parents[pointers[:-1][number > 0]]]  # those of the first parent
    for more in range(1, int(number.max(initial=0))):
        common[(number > more)[number > 0]] &= bits[parents[pointers[:-1][number > more] + more]]
    result[1, number > 0] = np.bitwise_count(common).sum(axis=1)
    return result


def information(having: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """-log2(having / possible), (C,) float64, of counts (C,); 0 where either is 0."""
    seen = (having > 0) & (possible > 0)
    share = np.divide(having, possible, out=np.ones(len(having)), where=seen)
    return -np.log2(share) + 0.0  # no negative zeros
