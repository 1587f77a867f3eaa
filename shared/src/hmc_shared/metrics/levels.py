"""Metrics of one predicted node per level: accuracy by level and violations of the hierarchy.

Levels are depths from the root: column 0 of the (n, L) id matrices is the root level. The HCAL paper
counts the other way: its level 1 is the finest. All functions raise ValueError for shapes that do not
match the hierarchy, and for half precision or NaN scores.
"""

from __future__ import annotations

import numpy as np

from hmc_shared.hierarchy import Hierarchy

from ._inputs import BLOCK, Array, as_binary, as_id_pair, as_ids, as_scores, check_width, ratio


def level_predictions(scores: Array, hierarchy: Hierarchy) -> np.ndarray:
    """The highest-scored node of each level: (n, C) scores to (n, L) node ids.

    Of nodes with equal scores the one with the lowest id is taken.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant/tree"])
    >>> h.names
    ('animal', 'plant', 'animal/cat', 'animal/dog', 'plant/tree')
    >>> level_predictions(np.array([[0.9, 0.3, 0.1, 0.2, 0.5]]), h)
    array([[0, 4]])
    """
    scores = as_scores(scores)
    check_width(scores, len(hierarchy), "scores")
    best = [level.start + scores[:, level.start : level.stop].argmax(axis=1) for level in hierarchy.levels]
    return np.stack(best, axis=1)


def level_targets(targets: Array, hierarchy: Hierarchy) -> np.ndarray:
    """The true node of each level: (n, C) targets to (n, L) node ids, -1 where the path has ended.

    Targets have ancestors added. ValueError if a sample has two nodes in one level: it has no single path.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant"])
    >>> level_targets(np.array([[1, 0, 0, 1], [0, 1, 0, 0]]), h)
    array([[ 0,  3],
           [ 1, -1]])
    """
    true = as_binary(targets, "targets")
    check_width(true, len(hierarchy), "targets")
    ids = np.full((len(true), hierarchy.num_levels), -1)
    for depth, level in enumerate(hierarchy.levels):
        members = true[:, level.start : level.stop]
        count = members.sum(axis=1)
        if (count > 1).any():
            row = int((count > 1).argmax())
            raise ValueError(
                f"`targets` should have at most one node per level. Found {count[row]} at depth {depth} "
                f"in row {row}."
            )
        ids[:, depth] = np.where(count == 1, level.start + members.argmax(axis=1), -1)
    return ids


def is_single_path(targets: Array, hierarchy: Hierarchy) -> bool:
    """Whether every sample of targets (n, C) bool, ancestors added, has at most one node in each level."""
    return all(bool((targets[:, level.start : level.stop].sum(1) <= 1).all()) for level in hierarchy.levels)


def accuracy_per_level(level_predictions: Array, level_targets: Array) -> np.ndarray:
    """Share of right nodes at each depth, (L,) float64; HCAL Eq. (13).

    At each depth over the samples whose path reaches it; NaN if none does.

    >>> accuracy_per_level(np.array([[0, 2], [0, 2]]), np.array([[0, 2], [0, -1]]))
    array([1., 1.])
    """
    predicted, true = as_id_pair(level_predictions, level_targets)
    reached = true >= 0
    right = (predicted == true) & reached
    return np.array([ratio(r, n) for r, n in zip(right.sum(axis=0), reached.sum(axis=0), strict=True)])


def accuracy_leaf(level_predictions: Array, level_targets: Array) -> float:
    """Share of samples whose deepest true node is the one predicted at its depth.

    Samples without any true node are left out; NaN if there is no other.

    >>> accuracy_leaf(np.array([[0, 2], [1, 2]]), np.array([[0, 2], [0, -1]]))
    0.5
    """
    predicted, true = as_id_pair(level_predictions, level_targets)
    rows = np.flatnonzero((true >= 0).any(axis=1))
    deepest = true.shape[1] - 1 - (true[rows, ::-1] >= 0).argmax(axis=1)
    return ratio(np.count_nonzero(predicted[rows, deepest] == true[rows, deepest]), len(rows))


def hvr(level_predictions: Array, hierarchy: Hierarchy) -> float:
    """Hierarchical violation rate: share of samples with a broken edge in the predicted path.

    The edge between depths k and k + 1 is broken if the node predicted at k is no parent of the one
    predicted at k + 1. This is what HCAL's published tables contain; its Eq. (14) is :func:`hvr_relations`.

    Unbalanced trees: a level-wise argmax names a node at every depth, even below a leaf that lies above the
    last level. That leaf ends the predicted path, and deeper predictions are ignored: they cannot be right,
    and they are not wrong either. (In a DAG a node without a child in the next level ends the path.) An id of
    -1 ends the path, too. The truth plays no part: if a true path ends at an inner node, the nodes predicted
    below it still have to fit together. NaN without samples.

    The tree below has the leaf ``plant`` at depth 0:

    >>> h = Hierarchy.from_paths(["animal/cat/tabby", "animal/dog/husky", "plant"])
    >>> animal, plant, cat, dog, tabby, husky = range(6)
    >>> hvr(np.array([[animal, cat, tabby]]), h)  # a path of the tree
    0.0
    >>> hvr(np.array([[plant, cat, husky]]), h)  # the path is (plant), complete and unbroken
    0.0
    >>> hvr(np.array([[animal, cat, husky]]), h)  # a husky is no cat
    1.0
    >>> hvr(np.array([[animal, cat, tabby], [plant, dog, tabby], [animal, dog, tabby]]), h)  # the last
    0.3333333333333333
    """
    broken = broken_edges(level_predictions, hierarchy)
    return ratio(np.count_nonzero(broken.any(axis=1)), len(broken))


def hvr_relations(level_predictions: Array, hierarchy: Hierarchy) -> float:
    """HVR as HCAL Eq. (14) prints it: broken edges over n * R, with R of Eq. (15).

    HVR = 1/(n R) sum_i sum_{k=2}^m sum_c 1(y_i^{k-1} = c and y_i^k != p(c)), R = sum_{k=1}^{m-1} |C^k|,
    where level 1 is the finest, so R is the number of nodes below the root level. (The inner sum is printed
    over C^k and must run over C^{k-1}, the level of c.) A sample has at most m - 1 broken edges, so the value
    is at most (m - 1) / R, one percent on CIFAR-100: the published numbers follow :func:`hvr`. Which edges
    of an unbalanced tree count is explained there. NaN without samples or without a second level.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant/tree"])  # R = 3
    >>> hvr_relations(np.array([[0, 2], [0, 4]]), h)  # one broken edge in two samples
    0.16666666666666666
    """
    broken = broken_edges(level_predictions, hierarchy)
    relations = len(hierarchy) - len(hierarchy.levels[0])
    return ratio(np.count_nonzero(broken), len(broken) * relations)


def incoherent(scores: Array, hierarchy: Hierarchy) -> float:
    """Share of (sample, edge) pairs in which the child's score exceeds its parent's.

    Exactly 0 if every sample's scores respect the hierarchy at every threshold, and if the hierarchy has no
    edges. NaN without samples.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog"])
    >>> incoherent(np.array([[0.5, 0.5, 0.6]]), h)  # dog above animal, one of two edges
    0.5
    """
    scores = as_scores(scores)
    check_width(scores, len(hierarchy), "scores")
    parent, child = hierarchy.edges.cpu().numpy().T
    if not len(parent):
        return 0.0
    broken = 0
    size = max(1, BLOCK // len(parent))
    for start in range(0, len(scores), size):
        nodes_first = np.ascontiguousarray(scores[start : start + size].T)  # (C, b): rows are quick to gather
        broken += np.count_nonzero(nodes_first[child] > nodes_first[parent])
    return ratio(broken, len(scores) * len(parent))


def broken_edges(level_predictions: Array, hierarchy: Hierarchy) -> np.ndarray:
    """(n, L - 1) bool: whether the predicted path is broken between each depth and the next."""
    ids = as_ids(level_predictions, "level_predictions", hierarchy.num_levels)
    for depth, level in enumerate(hierarchy.levels):
        outside = (ids[:, depth] != -1) & ((ids[:, depth] < level.start) | (ids[:, depth] >= level.stop))
        if outside.any():
            raise ValueError(
                f"`level_predictions` at depth {depth} should be -1 or a node of that level, {level.start} "
                f"to {level.stop - 1}. Found {ids[outside, depth][0]} in row {outside.argmax()}."
            )
    edges, depths = hierarchy.edges.cpu().numpy(), hierarchy.depth.cpu().numpy()
    next_level = depths[edges[:, 1]] == depths[edges[:, 0]] + 1
    # Whether a node has a child in the next level. One more entry than nodes: id -1 finds False.
    goes_on = np.zeros(len(hierarchy) + 1, dtype=bool)
    goes_on[edges[next_level, 0]] = True
    known = edges[:, 0] * len(hierarchy) + edges[:, 1]
    path_goes_on = np.ones(len(ids), dtype=bool)
    broken = np.zeros((len(ids), hierarchy.num_levels - 1), dtype=bool)
    for depth in range(hierarchy.num_levels - 1):
        above, below = ids[:, depth].astype(np.int64), ids[:, depth + 1].astype(np.int64)
        path_goes_on &= goes_on[above]
        broken[:, depth] = path_goes_on & (below >= 0) & ~np.isin(above * len(hierarchy) + below, known)
    return broken
