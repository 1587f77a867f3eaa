"""Distances, full paths and preferences against paths walked class by class, on random forests and DAGs."""

from __future__ import annotations

from collections import deque
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from hmc_shared import Hierarchy
from hmc_shared.metrics import (
    accuracy_balanced,
    accuracy_path,
    best_leaves,
    distance_at,
    hops_at,
    hvr,
    hvr_of_answers,
    mistake_severity,
    ranked_distances,
    severity,
    tree_error,
)

SEEDS = st.integers(0, 2**32 - 1)
H = Hierarchy.from_paths(["animal/cat/tabby", "animal/dog", "plant/tree"])
ANIMAL, PLANT, CAT, DOG, TREE, TABBY = range(6)


@st.composite
def hierarchies(draw: st.DrawFn, max_parents: int) -> Hierarchy:
    parents: dict[str, list[str]] = {}
    for i in range(draw(st.integers(1, 9))):
        earlier = st.sampled_from(sorted(parents)) if parents else st.nothing()
        parents[f"n{i}"] = draw(st.lists(earlier, unique=True, max_size=max_parents)) if parents else []
    return Hierarchy.from_parents(parents)


TREES, DAGS = hierarchies(1), hierarchies(3)


def sets(h: Hierarchy, *nodes: int) -> np.ndarray:
    return h.add_ancestors(np.eye(len(h), dtype=bool)[list(nodes)])


def single_truths(h: Hierarchy, rng: np.random.Generator, n: int) -> np.ndarray:
    """Nodes whose ancestors are one to a level."""
    fitting = [i for i in range(len(h)) if len({int(h.depth[j]) for j in h.path_to(i)}) == len(h.path_to(i))]
    return rng.choice(fitting, size=n)


def height(h: Hierarchy, node: int) -> int:
    return max((1 + height(h, child) for child in h.children(node)), default=0)


def distance(h: Hierarchy, a: int | None, t: int) -> int:
    """By the words of the definition."""
    top = 1 + max(height(h, int(root)) for root in h.roots)
    if a is None:
        return top
    if t in h.path_to(a):
        return 0
    return min((height(h, c) for c in set(h.path_to(a)) & set(h.path_to(t))), default=top)


def edges_between(h: Hierarchy, a: int, t: int) -> int:
    """Steps of the shortest walk in the undirected tree, whose roots hang below one more node."""
    near = {i: h.parents(i) + h.children(i) for i in range(len(h))}
    near[-1] = h.roots.tolist()
    for root in near[-1]:
        near[root] = [*near[root], -1]
    steps, waiting = {a: 0}, deque([a])
    while waiting:
        node = waiting.popleft()
        for other in near[node]:
            if other not in steps:
                steps[other] = steps[node] + 1
                waiting.append(other)
    return steps[t]


@given(st.one_of(TREES, DAGS), SEEDS, st.booleans())
def test_distances_equal_the_definition(h, seed, in_blocks):
    rng = np.random.default_rng(seed)
    truths, said = single_truths(h, rng, 7), rng.integers(len(h), size=7)
    expected = [distance(h, a, t) for a, t in zip(said, truths, strict=True)]
    assert severity.distances(truths, h)[said, np.arange(7)].tolist() == expected
    cut = []  # an answer counts down to the depth of the truth
    for a, t in zip(said, truths, strict=True):
        above = [c for c in h.path_to(int(a)) if h.depth[c] <= h.depth[t]]
        cut.append(distance(h, max(above, default=None), int(t)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(severity, "BLOCK", 3 if in_blocks else 2**24)
        found = mistake_severity(sets(h, *said), sets(h, *truths), h)
    wrong = [d for d in cut if d]
    assert np.isnan(found) if not wrong else found == pytest.approx(np.mean(wrong))


@given(TREES, SEEDS)
def test_the_tree_error_counts_edges(h, seed):
    rng = np.random.default_rng(seed)
    truths = rng.integers(len(h), size=7)
    said = [int(rng.choice([i for i in range(len(h)) if h.depth[i] <= h.depth[t]])) for t in truths]
    edges = [edges_between(h, a, int(t)) for a, t in zip(said, truths, strict=True)]
    assert tree_error(sets(h, *said), sets(h, *truths), h) == pytest.approx(np.mean(edges))


@given(st.one_of(TREES, DAGS), SEEDS)
def test_rankings_equal_the_definition(h, seed):
    rng = np.random.default_rng(seed)
    scores, truths = rng.normal(size=(6, len(h))), single_truths(h, rng, 6)
    leaves = h.leaves.tolist()
    k = int(rng.integers(1, len(leaves) + 1))
    ranked = ranked_distances(scores, sets(h, *truths), h, k)
    means, preferences = [], []
    for row, t in zip(scores, truths, strict=True):
        of = {leaf: distance(h, leaf, int(t)) for leaf in leaves}
        found = [of[leaf] for leaf in sorted(leaves, key=lambda leaf: -row[leaf])[:k]]
        best = sorted(of.values())[:k]
        losses = [
            sum(max(order[j] - best[j], 0) for j in range(k)) for order in set(permutations(of.values(), k))
        ]
        lost = sum(max(d - b, 0) for d, b in zip(found, best, strict=True))
        means.append(np.mean(found))
        preferences.append(1 - lost / max(losses) if max(losses) else 1.0)  # the worst of all orders
    assert distance_at(ranked, k) == pytest.approx(np.mean(means))
    assert hops_at(ranked, k) == pytest.approx(np.mean(preferences))


@given(TREES, SEEDS)
def test_balanced_accuracy_is_that_of_scikit_learn_and_a_path_counts_whole(h, seed):
    rng = np.random.default_rng(seed)
    leaves = h.leaves.numpy()
    truths, said = rng.choice(leaves, 9), rng.choice(leaves, 9)
    same = said == truths
    assert accuracy_path(sets(h, *said), sets(h, *truths), h) == pytest.approx(same.mean())
    per_class = [same[truths == t].mean() for t in np.unique(truths)]
    balanced = accuracy_balanced(sets(h, *said), sets(h, *truths), h)
    assert balanced == pytest.approx(np.mean(per_class))
    if set(said) <= set(truths) and len(set(truths)) > 1:
        assert balanced == pytest.approx(balanced_accuracy_score(truths, said))


def test_below_the_end_of_the_true_path_nothing_counts_and_an_early_end_does():
    cat, tabby, nothing = sets(H, CAT), sets(H, TABBY), np.zeros((1, len(H)), dtype=bool)
    assert accuracy_path(tabby, cat, H) == 1.0
    assert tree_error(tabby, cat, H) == 0.0
    assert np.isnan(mistake_severity(tabby, cat, H))
    assert accuracy_path(cat, tabby, H) == 0.0
    assert (tree_error(cat, tabby, H), mistake_severity(cat, tabby, H)) == (1.0, 1.0)
    assert (tree_error(nothing, tabby, H), mistake_severity(nothing, tabby, H)) == (3.0, 3.0)


def test_samples_without_a_class_are_left_out():
    answers, targets = sets(H, DOG, TREE), sets(H, DOG, TREE)
    targets[1] = False
    assert accuracy_path(answers, targets, H) == accuracy_balanced(answers, targets, H) == 1.0
    assert tree_error(answers, targets, H) == 0.0
    assert len(ranked_distances(np.zeros((2, len(H))), targets, H, 2)[0]) == 1


@given(st.one_of(TREES, DAGS), SEEDS)
def test_answers_of_leaves_violate_nothing_and_contradicting_levels_do(h, seed):
    scores = np.random.default_rng(seed).normal(size=(5, len(h)))
    answers = best_leaves(scores, h)
    assert hvr_of_answers(answers, h) == 0.0
    leaves = h.leaves.tolist()
    assert [max(np.flatnonzero(row)) for row in answers] == [
        max(leaves, key=lambda leaf: row[leaf]) for row in scores
    ]


@given(st.one_of(TREES, DAGS), SEEDS)
def test_answers_of_one_class_a_level_violate_as_level_wise_predictions_do(h, seed):
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.choice(level, size=6) for level in h.levels], axis=1)
    answers = np.zeros((6, len(h)), dtype=bool)
    np.put_along_axis(answers, ids, True, axis=1)
    assert hvr_of_answers(answers, h) == hvr(ids, h)


def test_violations_are_those_of_the_answer():
    contradiction = np.zeros((4, len(H)), dtype=bool)
    contradiction[0, [ANIMAL, TREE]] = True
    contradiction[1, [ANIMAL, CAT, TABBY]] = True
    contradiction[2, [ANIMAL, DOG, TABBY]] = True  # the dog ends the path
    contradiction[3, [PLANT]] = True
    assert hvr_of_answers(contradiction, H) == 0.25


def test_wrong_numbers_of_leaves_are_refused():
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"`k` should be from 1 to the 3 leaves. Found {k}"):
            ranked_distances(np.zeros((1, len(H))), sets(H, CAT), H, k)
