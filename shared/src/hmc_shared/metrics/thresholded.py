"""Metrics of binary decisions: F1 in three averages, exact match and Hamming accuracy.

Shapes: predictions and targets (n, C) bool or 0/1; numpy arrays or torch tensors on any device. With
TP, FP and FN counted over a set of entries, F1 = 2 TP / (2 TP + FP + FN), which is the harmonic mean of
precision TP / (TP + FP) and recall TP / (TP + FN). All functions raise ValueError for values that are
not binary and for shapes that do not match.

The threshold belongs to the caller, who records it. Published F1 values of MulSupCon are maxima over
thresholds on the test set and are not comparable.
"""

from __future__ import annotations

import numpy as np

from ._inputs import Absent, Array, as_binary_pair, check_absent, mean_of_classes, ratio


def f1_micro(predictions: Array, targets: Array) -> float:
    """F1 of all n * C entries counted together; NaN if there is neither a positive nor a prediction.

    >>> f1_micro(np.array([[1, 1], [0, 0]]), np.array([[1, 0], [0, 1]]))
    0.5
    """
    predicted, true = as_binary_pair(predictions, targets)
    return ratio(2 * np.count_nonzero(predicted & true), predicted.sum() + true.sum())


def f1_macro(predictions: Array, targets: Array, absent: Absent = "skip") -> float:
    """Mean over classes of each class's F1.

    ``absent`` says what a class without positives counts: ``"skip"`` leaves it out (NaN if that leaves no
    class), ``"zero"`` counts it as 0, as scikit-learn does. False positives of a skipped class do not count
    here; they do in :func:`f1_micro`.

    >>> predictions, targets = np.array([[1, 1], [0, 0]]), np.array([[1, 0], [0, 0]])
    >>> f1_macro(predictions, targets), f1_macro(predictions, targets, absent="zero")
    (1.0, 0.5)
    """
    check_absent(absent)
    predicted, true = as_binary_pair(predictions, targets)
    # 2 TP + FP + FN = number of predictions + number of positives of the class.
    total, positives = predicted.sum(axis=0) + true.sum(axis=0), true.sum(axis=0)  # (C,)
    f1 = np.divide(
        2.0 * (predicted & true).sum(axis=0), total, out=np.full(len(total), np.nan), where=positives > 0
    )
    return mean_of_classes(f1, absent)


def f1_example(predictions: Array, targets: Array) -> float:
    """Mean over samples of each sample's F1 (example-based F1).

    A sample with no true and no predicted class is entirely right and counts 1. NaN without samples.

    >>> f1_example(np.array([[1, 1], [0, 0]]), np.array([[1, 0], [0, 0]]))  # (2/3 + 1) / 2
    0.8333333333333333
    """
    predicted, true = as_binary_pair(predictions, targets)
    total = predicted.sum(axis=1) + true.sum(axis=1)  # (n,)
    f1 = np.divide(2.0 * (predicted & true).sum(axis=1), total, out=np.ones(len(total)), where=total > 0)
    return ratio(f1.sum(), len(f1))


def exact_match(predictions: Array, targets: Array) -> float:
    """Share of samples whose C entries are all decided right (subset accuracy); NaN without samples.

    >>> exact_match(np.array([[1, 1], [0, 0]]), np.array([[1, 0], [0, 0]]))
    0.5
    """
    predicted, true = as_binary_pair(predictions, targets)
    return ratio(np.count_nonzero((predicted == true).all(axis=1)), len(true))


def hamming_accuracy(predictions: Array, targets: Array) -> float:
    """Share of the n * C entries that are decided right, 1 - Hamming loss; NaN without entries.

    >>> hamming_accuracy(np.array([[1, 1], [0, 0]]), np.array([[1, 0], [0, 0]]))
    0.75
    """
    predicted, true = as_binary_pair(predictions, targets)
    return ratio(np.count_nonzero(predicted == true), predicted.size)
