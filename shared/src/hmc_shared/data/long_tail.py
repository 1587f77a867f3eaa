"""A long-tailed training split of any data set, sampled as VOC-LT and COCO-LT were."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import numpy as np

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.preprocessing import shuffled


def pareto_counts(classes: int, maximum: int, minimum: int = 1, alpha: float = 6.0) -> np.ndarray:
    """(C,) int64: how many samples the classes get, from the most frequent to the rarest.

    The density of the Pareto distribution p(x) = alpha / x^(alpha + 1) at C places from x = 1, where it is
    alpha, evenly spaced to its 99 % quantile, scaled to run from ``maximum`` down to nearly ``minimum``.
    Source: Wu et al., "Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed Datasets",
    ECCV 2020, and the code that made its sets.
    """
    x = np.linspace(1.0, 0.01 ** (-1 / alpha), classes)
    return (minimum + (maximum - minimum) * x ** -(alpha + 1)).round().astype(np.int64)


def make_long_tail(
    dataset: HierarchicalDataset,
    seed: int = 0,
    *,
    maximum: int | None = None,
    minimum: int = 1,
    alpha: float = 6.0,
) -> HierarchicalDataset:
    """The same data set with a long-tailed part of its training split; validation and test stay as they are.

    The classes that get a tail are the evaluated leaves, ranked by sum_i P(class | class i): the one that
    occurs with most others becomes the most frequent. In this order each gets as many samples as
    :func:`pareto_counts` says, or all it has: missing ones are sampled, surplus ones put back. Later classes
    add and remove samples of earlier ones, so where samples have several labels, counts follow the curve only
    roughly. No class loses its last sample. Source: as for ``pareto_counts``.

    Args:
        dataset: with inputs of any kind.
        seed: of the random order of the samples.
        maximum: samples of the first class; default: as many as the most frequent one has.
        minimum: samples of the last class.
        alpha: how steeply the curve falls; 6 in the source.

    Raises ValueError unless 1 <= ``minimum`` <= ``maximum`` and ``alpha`` > 0.
    """
    leaves = np.zeros(len(dataset.hierarchy), dtype=bool)
    leaves[dataset.hierarchy.leaves.numpy()] = True
    targets = dataset.train.targets.numpy()[:, leaves & dataset.evaluated.numpy()]
    maximum = int(targets.sum(0).max()) if maximum is None else maximum
    if not 1 <= minimum <= maximum:
        raise ValueError(f"`minimum` should be from 1 to `maximum`, {maximum}. Found {minimum}.")
    if not alpha > 0:
        raise ValueError(f"`alpha` should be above 0. Found {alpha}.")
    rows = sample_long_tail(targets, pareto_counts(targets.shape[1], maximum, minimum, alpha), seed)
    train = dataset.train.select(rows)
    how = f"Pareto with alpha {alpha:g}, {maximum} to {minimum} samples a class, seed {seed}"
    return replace(
        dataset,
        name=f"{dataset.name}-lt",
        train=train,
        sources={**dataset.sources, "long tail": sha256("\n".join(train.ids).encode()).hexdigest()},
        notes=(*dataset.notes, f"training: a long-tailed part of {len(rows)} samples, {how}"),
        published_counts=None,
    )


def sample_long_tail(targets: np.ndarray, counts: np.ndarray, seed: int) -> np.ndarray:
    """Row numbers, ascending, of a part of ``targets`` (n, C) bool with about these ``counts`` (C,)."""
    joint = targets.T.astype(np.int64) @ targets  # (C, C): samples with both classes
    conditional = joint / np.maximum(joint.diagonal(), 1)[:, None]  # P(column | row)
    order = shuffled(len(targets), seed)
    taken = np.zeros(len(targets), dtype=bool)
    have = np.zeros(targets.shape[1], dtype=np.int64)
    for label, wanted in zip(np.argsort(-conditional.sum(0), kind="stable"), counts, strict=True):
        for row in order[targets[order, label]]:
            if have[label] < wanted and not taken[row]:
                taken[row] = True
                have += targets[row]
            elif have[label] > wanted and taken[row] and have[targets[row]].min() > 1:
                taken[row] = False
                have -= targets[row]
    return np.flatnonzero(taken)
