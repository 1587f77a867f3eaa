"""How far answers are from the truth, where every sample has one path: full paths, distances, preferences.

An answer is a set of classes, as ``predict`` gives it; a ranking is the order of the leaves by score. What an
answer says below the end of the true path is neither right nor wrong. Samples without a true class are left
out, and a metric is NaN if there is no other.

The distance of a class a from a true class t is the height of their lowest common ancestor, as in Bertinetto
et al. (2020): the least height, in edges down to the deepest leaf, of the common ancestors of a and t, both
included; one more than the highest root where there is none; and 0 for t and what is below it. In a DAG,
where "lowest" may mean several, the least height decides. All functions raise ValueError for shapes that do
not match the hierarchy, and for samples with two nodes in a level.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from hmc_shared.hierarchy import Hierarchy

from ._inputs import BLOCK, Array, as_binary_pair, as_pair, as_scores, check_width, ratio, row_blocks
from .levels import broken_edges, level_targets

KS = (1, 5, 20)
"""How many leaves :func:`hmc_shared.metrics.summarize` looks at, where the hierarchy has so many."""


def best_leaves(scores: Array, hierarchy: Hierarchy) -> np.ndarray:
    """The leaf with the highest score and its ancestors: (n, C) scores to answers (n, C) bool.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant"])
    >>> best_leaves(np.array([[0.9, 0.3, 0.1, 0.2]]), h)  # animal, plant, cat, dog
    array([[False,  True, False, False]])
    """
    scores = as_scores(scores)
    check_width(scores, len(hierarchy), "scores")
    leaves = hierarchy.leaves.cpu().numpy()
    best = [np.take(scores[rows], leaves, axis=1).argmax(1) for rows in row_blocks(scores)]
    return hierarchy.ancestors_of(torch.from_numpy(leaves[np.concatenate(best)])).numpy()


def right_paths(answers: Array, targets: Array, hierarchy: Hierarchy) -> np.ndarray:
    """(n,) bool: whether an answer has the true classes and no other, down to where the true path ends."""
    said, true, depths, _ = _checked(answers, targets, hierarchy)
    return np.concatenate(
        [(said[rows] & _above(depths[rows], hierarchy) == true[rows]).all(1) for rows in row_blocks(said)]
    )


def accuracy_path(answers: Array, targets: Array, hierarchy: Hierarchy) -> float:
    """Full-path accuracy: share of samples all of whose levels are right.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant/tree"])
    >>> cat, dog, plant_cat = [1, 0, 1, 0, 0], [1, 0, 0, 1, 0], [0, 1, 1, 0, 0]
    >>> accuracy_path(np.array([cat, dog, plant_cat]), np.array([cat, cat, cat]), h)  # the last is no path
    0.3333333333333333
    """
    counted = _checked(answers, targets, hierarchy)[2] >= 0
    right = right_paths(answers, targets, hierarchy)[counted]
    return ratio(np.count_nonzero(right), len(right))


def accuracy_balanced(answers: Array, targets: Array, hierarchy: Hierarchy) -> float:
    """Mean over the deepest true classes of the share of their samples with all levels right.

    Each class counts as much as any other, however many samples it has (scikit-learn's balanced accuracy).

    >>> h = Hierarchy.from_paths(["cat", "dog"])
    >>> accuracy_balanced(np.eye(2)[[0, 0, 0, 0]], np.eye(2)[[0, 0, 0, 1]], h)
    0.5
    """
    truths = _checked(answers, targets, hierarchy)[3]
    right = right_paths(answers, targets, hierarchy)
    size, hits = (
        np.bincount(truths[rows], minlength=len(hierarchy)) for rows in (truths >= 0, (truths >= 0) & right)
    )
    return ratio((hits[size > 0] / size[size > 0]).sum(), np.count_nonzero(size))


def tree_error(answers: Array, targets: Array, hierarchy: Hierarchy) -> float:
    """Tree-induced error (Dekel et al. 2004): mean number of edges between an answer and the truth.

    Counted as the classes that only one of the two paths has, which in a tree are as many as the edges; roots
    are joined by a node above them. In a DAG the two sets of ancestors are compared, whatever joins them.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant/tree"])
    >>> cat, dog, tree = [1, 0, 1, 0, 0], [1, 0, 0, 1, 0], [0, 1, 0, 0, 1]
    >>> tree_error(np.array([cat, dog, tree]), np.array([cat, cat, cat]), h)  # 0, 2 and 4 edges
    2.0
    """
    said, true, depths, _ = _checked(answers, targets, hierarchy)
    classes = _answered(said, depths, hierarchy)
    edges = 0
    for rows in row_blocks(said):
        own = hierarchy.ancestors_of(torch.from_numpy(classes[rows].clip(min=0))).numpy()
        own &= classes[rows, None] >= 0
        edges += np.count_nonzero((own ^ true[rows])[depths[rows] >= 0])
    return ratio(edges, np.count_nonzero(depths >= 0))


def mistake_severity(answers: Array, targets: Array, hierarchy: Hierarchy) -> float:
    """Mean distance of the wrong answers' classes from the true ones (Bertinetto et al. 2020).

    An answer is wrong here if its distance is above 0; one that stops above the truth is. NaN without any.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant/tree"])
    >>> cat, dog, tree = [1, 0, 1, 0, 0], [1, 0, 0, 1, 0], [0, 1, 0, 0, 1]
    >>> mistake_severity(np.array([cat, dog, tree]), np.array([cat, cat, cat]), h)  # 1 and 2
    1.5
    """
    said, _, depths, truths = _checked(answers, targets, hierarchy)
    classes = _answered(said, depths, hierarchy)
    total = wrong = 0
    for rows, at, near in _by_truth(truths, hierarchy):
        reached = classes[rows]
        found = np.where(reached >= 0, near[reached, at], 1 + heights(hierarchy).max())
        total, wrong = total + int(found.sum(dtype=np.int64)), wrong + np.count_nonzero(found)
    return ratio(total, wrong)


def ranked_distances(
    scores: Array, targets: Array, hierarchy: Hierarchy, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances (m, k) of the k best-scored leaves, in their order, of the m samples with a true class.

    And the least and the largest distances that k leaves can have: (m, k) ascending, (m, k) descending. Of
    leaves with equal scores the first is taken, but which of those that tie for the last place is open.
    """
    scores, true = as_pair(scores, targets)
    truths = _checked(true, true, hierarchy)[3]
    leaves = hierarchy.leaves.cpu().numpy()
    if not 1 <= k <= len(leaves):
        raise ValueError(f"`k` should be from 1 to the {len(leaves)} leaves. Found {k}.")
    found = np.zeros((3, len(truths), k), dtype=np.int16)
    for rows, at, near in _by_truth(truths, hierarchy):
        of_leaves = scores[np.ix_(rows, leaves)]
        best = np.sort(torch.from_numpy(of_leaves).topk(k, dim=1).indices.numpy(), axis=1)
        order = np.argsort(-np.take_along_axis(of_leaves, best, 1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, 1)
        found[0, rows] = near[leaves[best], at[:, None]]
        own, place = np.unique(at, return_inverse=True)
        ideal = np.sort(near[np.ix_(leaves, own)].T, axis=1)
        found[1, rows], found[2, rows] = ideal[place, :k], ideal[place, : -k - 1 : -1]
    return tuple(found[:, truths >= 0])  # type: ignore[return-value]


def distance_at(ranked: tuple[np.ndarray, np.ndarray, np.ndarray], k: int) -> float:
    """Average hierarchical distance at k (Bertinetto et al. 2020): the mean over the k best-scored leaves.

    ``ranked`` is what :func:`ranked_distances` gives for k or more.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant/tree"])
    >>> ranked = ranked_distances(np.array([[0, 0, 0.9, 0.5, 0.7]]), np.array([[1, 0, 1, 0, 0]]), h, 3)
    >>> distance_at(ranked, 1), distance_at(ranked, 2)  # the cat, then the tree
    (0.0, 1.0)
    """
    found = ranked[0][:, :k]
    return ratio(found.sum(dtype=np.int64), found.size)


def hops_at(ranked: tuple[np.ndarray, np.ndarray, np.ndarray], k: int) -> float:
    """Hierarchically ordered preference score at k: 1 if the k best-scored leaves come nearest first.

    With d_j the distance of the leaf in place j, d*_j that in a best and d-_j that in a worst order,

        HOPS = mean of 1 - sum_j max(d_j - d*_j, 0) / sum_j max(d-_j - d*_j, 0),    j = 1, ..., k,

    1 where no order is worse than another. It is 1 only for a best order, and 0 for a worst one: unlike the
    mean distance it sees the order. After the idea of Sani and Anand (2025), whose weights may differ.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant/tree"])
    >>> ranked = ranked_distances(np.array([[0, 0, 0.9, 0.5, 0.7]]), np.array([[1, 0, 1, 0, 0]]), h, 3)
    >>> hops_at(ranked, 1), round(hops_at(ranked, 3), 4)  # the tree should come after the dog
    (1.0, 0.5)
    """
    found, best, worst = (of[:, :k].astype(np.int64) for of in ranked)
    lost, most = (np.maximum(of - best, 0).sum(1) for of in (found, worst))
    kept = 1 - np.divide(lost, most, out=np.zeros(len(lost)), where=most > 0)
    return ratio(kept.sum(), len(kept))


def hvr_of_answers(answers: Array, hierarchy: Hierarchy) -> float:
    """Hierarchical violation rate of decided answers (n, C): share of those that are no path.

    Such an answer lacks a parent of one of its classes, and its node of some depth is no parent of the one
    below, as :func:`hmc_shared.metrics.levels.hvr` says of level-wise predictions; below a leaf nothing
    counts. NaN without samples.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant/tree"])
    >>> cat, plant_and_cat, animal = [1, 0, 1, 0, 0], [0, 1, 1, 0, 0], [1, 0, 0, 0, 0]
    >>> hvr_of_answers(np.array([cat, plant_and_cat, animal]), h)
    0.3333333333333333
    """
    said, _ = as_binary_pair(answers, answers)
    check_width(said, len(hierarchy), "answers")
    violated = 0
    for rows in row_blocks(said):
        block = said[rows]
        nodes = [block[:, level.start : level.stop] for level in hierarchy.levels]
        ids = [
            np.where(of.any(1), of.argmax(1) + level.start, -1)
            for of, level in zip(nodes, hierarchy.levels, strict=True)
        ]
        is_open = (hierarchy.add_ancestors(block) != block).any(1)
        violated += np.count_nonzero(is_open & broken_edges(np.stack(ids, 1), hierarchy).any(1))
    return ratio(violated, len(said))


def heights(hierarchy: Hierarchy) -> np.ndarray:
    """(C,) int16: edges on the longest path from each class down to a leaf."""
    height = np.zeros(len(hierarchy), dtype=np.int16)
    for parents, children in hierarchy.edges_bottom_up:
        np.maximum.at(height, parents.cpu().numpy(), height[children.cpu().numpy()] + 1)
    return height


def distances(classes: np.ndarray, hierarchy: Hierarchy) -> np.ndarray:
    """(C, m) int16: distances of all classes from m true ones (m,)."""
    height = heights(hierarchy)
    own = hierarchy.ancestors_of(torch.from_numpy(classes)).numpy().T
    near = np.where(own, height[:, None], 1 + height.max()).astype(np.int16)
    near[classes, np.arange(len(classes))] = 0
    for parents, children in reversed(hierarchy.edges_bottom_up):  # parents are final, edges sorted by child
        parents, children = parents.cpu().numpy(), children.cpu().numpy()
        first = np.flatnonzero(np.append(True, children[1:] != children[:-1]))
        least = np.minimum.reduceat(near[parents], first, axis=0)
        near[children[first]] = np.minimum(near[children[first]], least)
    return near


def _by_truth(
    truths: np.ndarray, hierarchy: Hierarchy
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows of samples, the places of their truths, and the distances (C, places) from these, in blocks."""
    classes = np.unique(truths[truths >= 0])
    size = max(1, BLOCK // len(hierarchy))
    for start in range(0, len(classes), size):
        some = classes[start : start + size]
        near = distances(some, hierarchy)
        of_some = np.flatnonzero(np.isin(truths, some))
        for first in range(0, len(of_some), size):
            rows = of_some[first : first + size]
            yield rows, np.searchsorted(some, truths[rows]), near


def _checked(
    answers: Array, targets: Array, hierarchy: Hierarchy
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Answers and targets (n, C) bool; depth and id (n,) of the deepest true class, -1 without."""
    said, true = as_binary_pair(answers, targets)
    paths = level_targets(true, hierarchy)
    depths = (paths >= 0).sum(1) - 1
    truths = np.where(depths >= 0, np.take_along_axis(paths, depths[:, None].clip(min=0), 1)[:, 0], -1)
    return said, true, depths, truths


def _above(depths: np.ndarray, hierarchy: Hierarchy) -> np.ndarray:
    """(n, C) bool: the classes that are no deeper than ``depths`` (n,)."""
    return hierarchy.depth.cpu().numpy() <= depths[:, None]


def _answered(said: np.ndarray, depths: np.ndarray, hierarchy: Hierarchy) -> np.ndarray:
    """(n,) int64: the deepest class of each answer that is no deeper than the truth, -1 for none."""
    found = np.full(len(said), -1)
    for rows in row_blocks(said):
        counted = said[rows] & _above(depths[rows], hierarchy)
        last = counted.shape[1] - 1 - counted[:, ::-1].argmax(1)  # ids ascend with depth
        found[rows] = np.where(counted.any(1), last, -1)
    return found
