"""Level metrics, violations and set-based measures against walks and sets on random trees and DAGs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hiclass.metrics import f1 as f1_of_hiclass
from hypothesis import given
from hypothesis import strategies as st

from hmc_shared import Hierarchy
from hmc_shared.metrics import (
    accuracy_leaf,
    accuracy_per_level,
    hierarchical_f1_example,
    hierarchical_precision_recall_f1,
    hvr,
    hvr_relations,
    incoherent,
    level_predictions,
    level_targets,
)

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def hierarchies(draw: st.DrawFn, max_parents: int) -> Hierarchy:
    """A random DAG in which each node has up to ``max_parents`` earlier nodes as parents; 1 gives forests."""
    parents: dict[str, list[str]] = {}
    for i in range(draw(st.integers(1, 9))):
        earlier = st.sampled_from(sorted(parents)) if parents else st.nothing()
        parents[f"n{i}"] = draw(st.lists(earlier, unique=True, max_size=max_parents)) if parents else []
    return Hierarchy.from_parents(parents)


TREES, DAGS = hierarchies(max_parents=1), hierarchies(max_parents=3)


def random_paths(rng: np.random.Generator, tree: Hierarchy, n: int) -> np.ndarray:
    """Closed targets of n random nodes of a tree."""
    return tree.add_ancestors(np.eye(len(tree), dtype=bool)[rng.integers(len(tree), size=n)])


def walk(path: np.ndarray, h: Hierarchy) -> int:
    """Broken edges of one predicted path, by the words of the definition: stop where the path ends."""
    broken = 0
    for depth in range(h.num_levels - 1):
        node, below = int(path[depth]), int(path[depth + 1])
        if node == -1 or not any(child in h.levels[depth + 1] for child in h.children(node)):
            break
        broken += below != -1 and node not in h.parents(below)
    return broken


@given(st.one_of(TREES, DAGS), SEEDS)
def test_hvr_and_relations_equal_the_walk(h, seed):
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.choice(level, size=6) for level in h.levels], axis=1)
    ends = rng.integers(1, h.num_levels + 2, size=6)
    ids[np.arange(h.num_levels) >= ends[:, None]] = -1
    broken = [walk(path, h) for path in ids]
    assert hvr(ids, h) == pytest.approx(np.mean([b > 0 for b in broken]))
    below_top = sum(len(level) for level in h.levels[1:])
    if below_top:
        assert hvr_relations(ids, h) == pytest.approx(sum(broken) / (6 * below_top))
    else:
        assert np.isnan(hvr_relations(ids, h))
    assert hvr(torch.from_numpy(ids), h) == hvr(ids, h)


@given(TREES, SEEDS)
def test_true_paths_break_no_edge_whatever_stands_below_a_leaf(tree, seed):
    rng = np.random.default_rng(seed)
    targets = random_paths(rng, tree, 8)
    true = level_targets(targets, tree)
    assert hvr(true, tree) == 0.0
    ends_in_leaf = np.isin(true.max(axis=1), tree.leaves.numpy())
    filled = np.where(true == -1, [level.stop - 1 for level in tree.levels], true)[ends_in_leaf]
    if len(filled):
        assert hvr(filled, tree) == 0.0


def test_hvr_of_an_unbalanced_tree_by_hand():
    #  animal            plant        depth 0: 0 animal, 1 plant
    #  ├── cat                        depth 1: 2 cat, 3 dog
    #  │   └── tabby                  depth 2: 4 tabby, 5 husky
    #  └── dog
    #      └── husky
    h = Hierarchy.from_paths(["animal/cat/tabby", "animal/dog/husky", "plant"])
    predicted = np.array(
        [
            [0, 2, 4],  # a path of the tree
            [1, 3, 4],  # ends at the leaf plant: tabby below dog is not looked at
            [0, 3, 4],  # one broken edge: dog - tabby
            [0, 2, -1],  # chooses to end at cat
        ]
    )
    assert hvr(predicted, h) == 1 / 4
    assert hvr_relations(predicted, h) == 1 / (4 * 4)  # R = 4 nodes below the top level


def test_hvr_counts_samples_and_relations_counts_edges():
    h = Hierarchy.from_paths(["a/b/c", "d/e/f"])  # ids: a 0, d 1, b 2, e 3, c 4, f 5
    zigzag = np.array([[0, 3, 4], [0, 2, 4]])  # two broken edges in the first sample
    assert hvr(zigzag, h) == 1 / 2
    assert hvr_relations(zigzag, h) == 2 / (2 * 4)


def test_a_balanced_tree_agrees_with_the_parent_lookup_of_hcal():
    """n * hvr = samples whose child prediction has another parent than the parent prediction."""
    rng = np.random.default_rng(3)
    parent_of = np.repeat(np.arange(20), 5)  # as in CIFAR-100
    h = Hierarchy.from_paths([f"{p}/{c}" for c, p in enumerate(parent_of)])
    coarse, fine = rng.integers(20, size=500), rng.integers(100, size=500)
    coarse[:300] = parent_of[fine[:300]]
    broken = parent_of[fine] != coarse
    ids = np.stack([coarse, fine + 20], axis=1)
    assert hvr(ids, h) == pytest.approx(broken.mean())
    assert hvr_relations(ids, h) == pytest.approx(broken.mean() / 100)  # Eq. (15): R = 100


def test_a_flat_hierarchy_cannot_be_violated():
    h = Hierarchy.from_edges([], nodes=["a", "b"])
    assert hvr(np.array([[0], [1]]), h) == 0.0
    assert incoherent(np.array([[1.0, 2.0]]), h) == 0.0
    assert np.isnan(hvr_relations(np.array([[0]]), h))


def test_no_samples_are_nan():
    h = Hierarchy.from_paths(["a/b"])
    nothing = np.zeros((0, 2))
    ids = level_predictions(nothing, h)
    assert ids.shape == (0, 2)
    values = hvr(ids, h), hvr_relations(ids, h), accuracy_leaf(ids, ids), incoherent(nothing, h)
    assert np.isnan(values).all()
    assert np.isnan(accuracy_per_level(ids, ids)).all()
    assert np.isnan(hierarchical_precision_recall_f1(nothing, nothing, h)).all()


@given(DAGS, SEEDS)
def test_level_predictions_are_the_best_node_of_each_level(h, seed):
    scores = np.random.default_rng(seed).integers(3, size=(5, len(h))).astype(np.float32)
    ids = level_predictions(scores, h)
    for row, predicted in zip(scores, ids.tolist(), strict=True):
        for level, node in zip(h.levels, predicted, strict=True):
            assert node == max(level, key=lambda i: (row[i], -i))
    np.testing.assert_array_equal(level_predictions(torch.from_numpy(scores), h), ids)


@given(TREES, SEEDS)
def test_level_targets_hold_the_path_and_then_minus_one(tree, seed):
    targets = random_paths(np.random.default_rng(seed), tree, 5)
    ids = level_targets(targets, tree)
    depth = tree.depth.tolist()
    for row, path in zip(targets, ids.tolist(), strict=True):
        nodes = np.flatnonzero(row).tolist()
        assert path == sorted(nodes, key=depth.__getitem__) + [-1] * (tree.num_levels - len(nodes))
    np.testing.assert_array_equal(level_targets(torch.from_numpy(targets), tree), ids)


@given(TREES, SEEDS)
def test_accuracies_equal_the_loop(tree, seed):
    rng = np.random.default_rng(seed)
    true = level_targets(random_paths(rng, tree, 6), tree)
    predicted = level_predictions(rng.integers(2, size=(6, len(tree))).astype(float), tree)
    by_level = [
        [p == t for p, t in zip(predicted[:, d], true[:, d], strict=True) if t >= 0]
        for d in range(len(true[0]))
    ]
    expected = [np.mean(right) if right else np.nan for right in by_level]
    np.testing.assert_allclose(accuracy_per_level(predicted, true), expected)
    leaf = [
        p[list(t).index(t.max())] == t.max() for p, t in zip(predicted, true, strict=True)
    ]  # deepest: largest id
    assert accuracy_leaf(predicted, true) == pytest.approx(np.mean(leaf))


def test_accuracies_leave_out_what_has_no_target():
    predicted, true = np.array([[0, 2], [1, 3]]), np.array([[0, -1], [-1, -1]])
    np.testing.assert_array_equal(accuracy_per_level(predicted, true), [1.0, np.nan])
    assert accuracy_leaf(predicted, true) == 1.0


@pytest.mark.usefixtures("blocks")
@given(DAGS, SEEDS)
def test_incoherent_equals_the_loop_over_samples_and_edges(h, seed):
    scores = np.random.default_rng(seed).integers(3, size=(4, len(h))).astype(np.float32)
    pairs = [row[child] > row[parent] for row in scores for parent, child in h.edges.tolist()]
    assert incoherent(scores, h) == pytest.approx(np.mean(pairs) if pairs else 0.0)
    assert incoherent(torch.from_numpy(scores), h) == incoherent(scores, h)
    with_ancestors = h.add_ancestors(scores > 1).astype(np.float32)
    assert incoherent(with_ancestors, h) == 0.0


@given(TREES, SEEDS)
def test_hierarchical_f1_is_that_of_hiclass(tree, seed):
    predictions, targets = (random_paths(np.random.default_rng(seed + i), tree, 5) for i in range(2))
    paths = [
        np.array([[str(node) if node >= 0 else "" for node in row] for row in level_targets(x, tree)])
        for x in (targets, predictions)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of samples that share nothing
        expected = [f1_of_hiclass(*paths, average=average) for average in ("micro", "macro")]
    assert hierarchical_precision_recall_f1(predictions, targets, tree)[2] == pytest.approx(expected[0])
    assert hierarchical_f1_example(predictions, targets, tree) == pytest.approx(expected[1])


def ancestors_of(h: Hierarchy, nodes: list[int]) -> set[int]:
    ancestors, waiting = set(), list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in ancestors:
            ancestors.add(node)
            waiting += h.parents(node)
    return ancestors


@pytest.mark.usefixtures("blocks")
@given(DAGS, SEEDS, st.booleans())
def test_hierarchical_measures_equal_sets(h, seed, without_roots):
    rng = np.random.default_rng(seed)
    predictions, targets = rng.random((2, 5, len(h))) < 0.3
    evaluated = np.ones(len(h), dtype=bool)
    if without_roots:
        evaluated[h.roots.numpy()] = False
    counted = set(np.flatnonzero(evaluated).tolist())
    pairs = [
        tuple(ancestors_of(h, np.flatnonzero(x).tolist()) & counted for x in row)
        for row in zip(predictions, targets, strict=True)
    ]
    both = sum(len(p & t) for p, t in pairs)
    predicted, true = sum(len(p) for p, _ in pairs), sum(len(t) for _, t in pairs)
    precision, recall = both / predicted if predicted else np.nan, both / true if true else np.nan
    f1 = 2 * both / (predicted + true) if predicted + true else np.nan
    ours = hierarchical_precision_recall_f1(predictions, targets, h, evaluated=evaluated)
    assert ours == pytest.approx((precision, recall, f1), nan_ok=True)
    by_sample = np.mean([2 * len(p & t) / (len(p) + len(t)) if p | t else 1.0 for p, t in pairs])
    assert hierarchical_f1_example(predictions, targets, h, evaluated=evaluated) == pytest.approx(by_sample)
    if both:
        assert f1 == pytest.approx(2 / (1 / precision + 1 / recall))
    tensors = map(torch.from_numpy, (predictions, targets))
    np.testing.assert_equal(
        hierarchical_precision_recall_f1(*tensors, h, evaluated=torch.from_numpy(evaluated)), ours
    )


def test_read_only_arrays_are_taken():
    h = Hierarchy.from_paths(["a/b", "a/c"])
    predictions = np.array([[False, True, False]])
    predictions.setflags(write=False)
    assert hierarchical_precision_recall_f1(predictions, predictions, h) == (1.0, 1.0, 1.0)


def test_bad_input_is_named():
    h = Hierarchy.from_paths(["a/b", "a/c"])
    with pytest.raises(
        ValueError, match=r"`scores` should have 3 columns, one per node. Found shape \(1, 2\)"
    ):
        level_predictions(np.ones((1, 2)), h)
    with pytest.raises(ValueError, match=r"`scores` should have 3 columns"):
        incoherent(np.ones((1, 2)), h)
    with pytest.raises(ValueError, match=r"float16: half precision"):
        incoherent(torch.ones(1, 3, dtype=torch.bfloat16), h)
    with pytest.raises(ValueError, match=r"at most one node per level. Found 2 at depth 1 in row 1"):
        level_targets(np.array([[1, 1, 0], [1, 1, 1]]), h)
    with pytest.raises(ValueError, match=r"`level_predictions` should have 2 columns, one per level"):
        hvr(np.array([[0]]), h)
    with pytest.raises(
        ValueError, match=r"at depth 1 should be -1 or a node of that level, 1 to 2. Found 0 in row 1"
    ):
        hvr(np.array([[0, 1], [0, 0]]), h)
    with pytest.raises(
        ValueError, match=r"`level_predictions` should hold integers, the ids of nodes. Found float64"
    ):
        hvr(np.ones((1, 2)), h)
    with pytest.raises(ValueError, match=r"`level_targets` should have the shape of `level_predictions`"):
        accuracy_leaf(np.array([[0, 1]]), np.array([[0]]))
    with pytest.raises(
        ValueError, match=r"`evaluated` should be bool of shape \(3,\). Found int64 of shape \(3,\)"
    ):
        hierarchical_precision_recall_f1(np.ones((1, 3)), np.ones((1, 3)), h, evaluated=np.array([1, 1, 1]))
