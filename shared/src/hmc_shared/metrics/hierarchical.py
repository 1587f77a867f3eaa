"""Set-based precision, recall and F1 that give credit for shared ancestors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hmc_shared.hierarchy import Hierarchy

from ._inputs import Array, as_binary_pair, as_mask, check_width, ratio, row_blocks


def hierarchical_precision_recall_f1(
    predictions: Array, targets: Array, hierarchy: Hierarchy, *, evaluated: Array | None = None
) -> tuple[float, float, float]:
    """Hierarchical precision, recall and F1 of Kiritchenko et al. (2006), micro over samples.

    With P_i and T_i the predicted and true classes of sample i together with all their ancestors,

        hP = sum_i |P_i & T_i| / sum_i |P_i|,    hR = sum_i |P_i & T_i| / sum_i |T_i|,
        hF = 2 sum_i |P_i & T_i| / (sum_i |P_i| + sum_i |T_i|), the harmonic mean of the two.

    predictions, targets: (n, C) bool or 0/1, with ancestors or without: they are added first, over the whole
    hierarchy. ``evaluated``: bool (C,), the classes that count, all by default; leave out a root that every
    sample has. A measure whose denominator is 0 is NaN. ValueError for values that are not binary and for
    shapes that do not match.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog"])
    >>> cat, dog = np.array([[0, 1, 0]]), np.array([[0, 0, 1]])
    >>> hierarchical_precision_recall_f1(cat, dog, h)  # both are animals
    (0.5, 0.5, 0.5)
    """
    return pooled_and_by_sample(predictions, targets, hierarchy, evaluated)[0]


def hierarchical_f1_example(
    predictions: Array, targets: Array, hierarchy: Hierarchy, *, evaluated: Array | None = None
) -> float:
    """Mean over samples of each sample's hierarchical F1, as ``average="macro"`` of HiClass.

        hF_i = 2 |P_i & T_i| / (|P_i| + |T_i|)

    Arguments and errors as of :func:`hierarchical_precision_recall_f1`. A sample with no true and no
    predicted class is entirely right and counts 1. NaN without samples.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog"])
    >>> hierarchical_f1_example(np.array([[0, 1, 0], [0, 0, 1]]), np.array([[0, 0, 1], [0, 0, 1]]), h)
    0.75
    """
    return pooled_and_by_sample(predictions, targets, hierarchy, evaluated)[1]


def pooled_and_by_sample(
    predictions: Array,
    targets: Array,
    hierarchy: Hierarchy,
    evaluated: Array | None = None,
    unknown: np.ndarray | None = None,
) -> tuple[tuple[float, float, float], float]:
    """What both functions above return: the ancestors are added once.

    Entries that are ``unknown`` (n, C) bool do not count.
    """
    predicted, true = as_binary_pair(predictions, targets)
    check_width(predicted, len(hierarchy), "predictions")
    counted = np.ones(len(hierarchy), dtype=bool)
    if evaluated is not None:
        counted = as_mask(evaluated, len(hierarchy), "evaluated")

    def sizes() -> Iterator[np.ndarray]:
        """(3, b): |P_i & T_i|, |P_i| and |T_i|."""
        for rows in row_blocks(predicted):
            known = counted if unknown is None else counted & ~unknown[rows]
            p, t = (hierarchy.add_ancestors(sets[rows]) & known for sets in (predicted, true))
            yield np.stack([np.count_nonzero(of, axis=1) for of in (p & t, p, t)])

    shared, of_predicted, of_true = np.concatenate(list(sizes()), axis=1)
    both = of_predicted + of_true
    by_sample = np.divide(2 * shared, both, out=np.ones(len(both)), where=both > 0)
    shared, of_predicted, of_true = shared.sum(), of_predicted.sum(), of_true.sum()
    pooled = ratio(shared, of_predicted), ratio(shared, of_true), ratio(2 * shared, of_predicted + of_true)
    return pooled, ratio(by_sample.sum(), len(by_sample))
