"""Decoding and calibration against brute force over all paths."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hcal.decoding import (
    PathCalibration,
    best_through,
    leaf_scores,
    leaves_below,
    level_labels,
    level_log_odds,
    log_odds,
    path_labels,
    path_nll,
    path_probabilities,
    path_scores,
)
from hmc_shared import Hierarchy
from hmc_shared.metrics import hvr, incoherent, level_predictions

BALANCED = Hierarchy.from_paths(["a/x", "a/y", "b/z", "b/w"])
UNBALANCED = Hierarchy.from_paths(["p", "b/c/x", "b/c/y", "b/d", "e/f/z"])
CHAIN = Hierarchy.from_paths(["only/one/path"])
# The second leaf's parent comes first: in ties, the lowest ids of two levels lie on different paths.
CROSSED = Hierarchy.from_parents({"a": None, "b": None, "y": "b", "x": "a"})
TREES = [BALANCED, UNBALANCED, CHAIN, CROSSED]


def paths_of(hierarchy):
    """All paths from a root to a leaf, by walking down."""
    paths = [[int(root)] for root in hierarchy.roots]
    while any(hierarchy.children(path[-1]) for path in paths):
        paths = [[*p, c] for p in paths for c in hierarchy.children(p[-1])] + [
            p for p in paths if not hierarchy.children(p[-1])
        ]
    return sorted(paths, key=lambda path: path[-1])


def naive_path_scores(logits, hierarchy):
    """For each path the mean of its nodes' log-probabilities times the number of levels."""
    log_p = {}
    for level in hierarchy.levels:
        total = math.log(sum(math.exp(logits[node]) for node in level))
        log_p |= {node: logits[node] - total for node in level}
    return [
        hierarchy.num_levels * sum(log_p[node] for node in path) / len(path) for path in paths_of(hierarchy)
    ]


REALS = st.floats(-30, 30, width=32)


@st.composite
def scored(draw, elements=REALS, rows=4):
    hierarchy = draw(st.sampled_from(TREES))
    size = rows * len(hierarchy)
    values = draw(st.lists(elements, min_size=size, max_size=size))
    return hierarchy, torch.tensor(values, dtype=torch.float32).reshape(rows, -1)


# Few values, so that paths and nodes tie in every way; and large ones, where probabilities round to 0 and 1.
TIES = st.sampled_from([0.0, 1.0, 2.0])


@pytest.mark.parametrize("scores_of", [path_scores, leaf_scores])
@given(case=scored() | scored(TIES) | scored(st.sampled_from([-3e3, 0.0, 3e3])))
@settings(deadline=None, max_examples=200)
def test_the_best_node_of_each_level_lies_on_the_best_path(scores_of, case):
    hierarchy, logits = case
    scores = best_through(scores_of(logits, hierarchy), hierarchy)
    predicted = level_predictions(scores, hierarchy)
    assert hvr(predicted, hierarchy) == 0
    assert incoherent(scores, hierarchy) == 0
    assert scores.isfinite().all()
    leaves = hierarchy.leaves[scores[:, hierarchy.leaves].argmax(1)]
    for nodes, leaf in zip(predicted.tolist(), leaves.tolist(), strict=True):
        path = next(path for path in paths_of(hierarchy) if path[-1] == leaf)
        assert nodes[: len(path)] == path


@given(scored())
@settings(deadline=None)
def test_the_best_path_is_the_one_that_brute_force_finds(case):
    hierarchy, logits = case
    labels = path_labels(path_scores(logits, hierarchy), hierarchy)
    for row, classes in zip(logits.double(), labels, strict=True):
        expected = naive_path_scores(row.tolist(), hierarchy)
        assert path_scores(row[None], hierarchy)[0].tolist() == pytest.approx(expected, abs=1e-4)
        index = paths_of(hierarchy).index(classes.nonzero().flatten().tolist())
        assert expected[index] >= max(expected) - 1e-3  # float32 cannot tell closer ones apart


@given(scored())
@settings(deadline=None)
def test_scores_of_inner_nodes_are_log_odds_of_the_best_path_through_them(case):
    hierarchy, logits = case
    scores = best_through(path_scores(logits, hierarchy), hierarchy).sigmoid()
    for row, probabilities in zip(logits.double().tolist(), scores.tolist(), strict=True):
        value = np.exp(naive_path_scores(row, hierarchy))
        value /= value.sum()
        for node in range(len(hierarchy)):
            through = [v for v, path in zip(value, paths_of(hierarchy), strict=True) if node in path]
            assert probabilities[node] == pytest.approx(max(through), abs=1e-5)


@given(scored())
@settings(deadline=None, max_examples=50)
def test_the_best_leaf_is_that_of_its_own_level_whatever_is_above(case):
    hierarchy, logits = case
    labels = path_labels(leaf_scores(logits, hierarchy), hierarchy)
    for row, classes in zip(logits.double().tolist(), labels, strict=True):
        log_p = {}
        for level in hierarchy.levels:
            total = math.log(sum(math.exp(row[node]) for node in level))
            log_p |= {node: row[node] - total for node in level}
        leaf = classes.nonzero().max().item()  # ids rise with depth
        assert log_p[leaf] >= max(log_p[node] for node in hierarchy.leaves.tolist()) - 1e-3
        assert torch.equal(classes, hierarchy.ancestors[leaf])


def test_log_odds_are_exact_where_probabilities_round_to_one():
    logits = torch.tensor([[0.0, 40.0, 20.0], [1.0, 1.0, 1.0]])
    expected = [[-40 - math.log1p(math.exp(-20)), 20 - math.log1p(math.exp(-20)), -20.0]]
    expected.append([math.log(1 / 2)] * 3)
    torch.testing.assert_close(log_odds(logits), torch.tensor(expected))
    assert log_odds(torch.tensor([[3.0]])).isfinite().all()


@given(scored())
@settings(deadline=None)
def test_independent_scores_keep_the_order_in_a_level_and_are_its_softmax(case):
    hierarchy, logits = case
    scores = level_log_odds(logits, hierarchy)
    labels = level_labels(scores, hierarchy)
    assert (labels.sum(1) == hierarchy.num_levels).all()
    nodes = labels.nonzero()[:, 1].view(len(labels), -1)
    assert nodes.tolist() == level_predictions(scores, hierarchy).tolist()
    for level in hierarchy.levels:
        of_level = logits[:, level.start : level.stop].double().softmax(1)
        torch.testing.assert_close(
            scores[:, level.start : level.stop].sigmoid().double(), of_level, atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("hierarchy", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
def test_path_nll_is_minus_the_log_of_the_share_of_the_true_path(hierarchy):
    logits = torch.randn(len(hierarchy), len(hierarchy), generator=torch.Generator().manual_seed(0))
    through = leaves_below(torch.arange(len(hierarchy)), hierarchy)
    found = path_nll(path_scores(logits.double(), hierarchy), through).mean()
    expected = []
    for node, row in enumerate(logits.double().tolist()):
        value = np.exp(naive_path_scores(row, hierarchy))
        through = [node in path for path in paths_of(hierarchy)]
        expected.append(-np.log(value[through].sum() / value.sum()))
    assert found.item() == pytest.approx(np.mean(expected), rel=1e-5)


@st.composite
def random_trees(draw):
    """Trees with leaves at any depth: each node hangs below one before it, or is a root."""
    size = draw(st.integers(2, 14))
    parents = {"0": None}
    for node in range(1, size):
        parent = draw(st.integers(-1, node - 1))
        parents[str(node)] = None if parent < 0 else str(parent)
    return Hierarchy.from_parents(parents)


@given(random_trees(), st.integers(0, 2**16), st.sampled_from([torch.float32, torch.float64]))
@settings(deadline=None, max_examples=200)
def test_sums_down_the_tree_are_a_product_with_the_matrix_of_paths(hierarchy, seed, dtype):
    on_path = hierarchy.ancestors[hierarchy.leaves]  # (leaves, C)
    logits = 10 * torch.randn(5, len(hierarchy), generator=torch.Generator().manual_seed(seed)).to(dtype)
    levels = [logits[:, level.start : level.stop].log_softmax(1) for level in hierarchy.levels]
    matrix = on_path.T * (hierarchy.num_levels / on_path.sum(1).to(dtype))
    torch.testing.assert_close(path_scores(logits, hierarchy), torch.cat(levels, 1) @ matrix)
    nodes = torch.arange(-1, len(hierarchy))
    through = torch.cat([torch.zeros(1, len(on_path), dtype=torch.bool), on_path.T])
    assert torch.equal(leaves_below(nodes, hierarchy), through)


def test_tens_of_thousands_of_classes_take_no_matrix():
    """Classes x leaves would be 10 GB of float32."""
    roots = 50
    parents = {str(node): None if node < roots else str((node - roots) // 1000) for node in range(50_000)}
    hierarchy = Hierarchy.from_parents(parents)
    p = PathCalibration()(torch.zeros(2, len(hierarchy)), hierarchy)
    torch.testing.assert_close(p[:, hierarchy.roots].sum(1), torch.ones(2))


@given(random_trees(), st.integers(0, 2**16), st.sampled_from([0.1, 1.0, 30.0, 1e3]))
@settings(deadline=None, max_examples=200)
def test_probabilities_are_one_distribution_over_complete_paths(hierarchy, seed, size):
    logits = size * torch.randn(5, len(hierarchy), generator=torch.Generator().manual_seed(seed))
    p = path_probabilities(path_scores(logits, hierarchy), hierarchy)
    assert p.isfinite().all()
    assert ((p >= 0) & (p <= 1)).all()
    assert incoherent(p, hierarchy) == 0
    torch.testing.assert_close(p[:, hierarchy.roots].sum(1), torch.ones(5))
    for node in range(len(hierarchy)):
        if children := hierarchy.children(node):
            torch.testing.assert_close(p[:, children].sum(1), p[:, node])
    for row, probabilities in zip(logits.double().tolist(), p.tolist(), strict=True):
        if size > 30:
            continue  # the naive sums overflow
        value = np.exp(naive_path_scores(row, hierarchy))
        value /= value.sum()
        for node in range(len(hierarchy)):
            through = [v for v, path in zip(value, paths_of(hierarchy), strict=True) if node in path]
            assert probabilities[node] == pytest.approx(sum(through), abs=1e-4)


@given(random_trees(), st.integers(0, 2**16))
@settings(deadline=None, max_examples=100)
def test_the_most_probable_path_is_that_of_path_decoding(hierarchy, seed):
    logits = 3 * torch.randn(5, len(hierarchy), generator=torch.Generator().manual_seed(seed))
    labels = path_labels(path_scores(logits, hierarchy), hierarchy)
    assert hierarchy.has_ancestors(labels)
    calibration = PathCalibration()
    for temperature in (0.3, 1.0, 4.0):  # a temperature changes no decision
        calibration.temperature.fill_(temperature)
        p = calibration(logits, hierarchy)
        best = hierarchy.leaves[p[:, hierarchy.leaves].argmax(1)]
        assert torch.equal(hierarchy.ancestors[best], labels)
    scores = best_through(path_scores(logits, hierarchy), hierarchy)
    best = hierarchy.leaves[scores[:, hierarchy.leaves].argmax(1)]
    assert torch.equal(hierarchy.ancestors[best], labels)


def test_mass_of_a_deep_level_does_not_lift_the_wrong_parents():
    """The samples of a shallow leaf leave the levels below it untrained: these say nothing about them."""
    tree = Hierarchy.from_paths(["shallow", "deep/a", "deep/b"])
    index = tree.index
    logits = torch.zeros(1, len(tree))
    logits[0, index["shallow"]], logits[0, index["deep/a"]] = 4.0, 9.0
    p = PathCalibration()(logits, tree)[0]
    assert p[index["shallow"]] > 0.9
    assert p[index["deep"]] < 0.1


@pytest.mark.parametrize("hierarchy", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
def test_calibration_finds_the_temperature_that_was_put_in(hierarchy):
    """Leaves sampled from the distribution over paths at T are calibrated at T."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(20_000, len(hierarchy), generator=generator)
    shares = (path_scores(logits, hierarchy) / 2.5).softmax(1)
    leaves = hierarchy.leaves[shares.multinomial(1, generator=generator).squeeze(1)]
    calibration = PathCalibration()
    calibration.fit(logits, hierarchy.ancestors[leaves], hierarchy)
    assert calibration.temperature.item() == pytest.approx(2.5, rel=0.05)
    unlabelled = torch.cat([logits[:2000], logits]), torch.zeros(22_000, len(hierarchy), dtype=torch.bool)
    unlabelled[1][2000:] = hierarchy.ancestors[leaves]
    found = calibration.temperature.clone()
    calibration.fit(*unlabelled, hierarchy)  # what has no label has no say
    assert calibration.temperature == found
    calibration.reset()
    assert calibration.temperature == 1


def test_a_split_without_mistakes_keeps_a_finite_temperature():
    targets = BALANCED.ancestors[[2, 3, 4, 5]]
    logits = 10.0 * targets
    calibration = PathCalibration()
    calibration.fit(logits, targets, BALANCED)
    assert 0.05 < calibration.temperature < 10
    calibration.fit(logits, torch.zeros_like(targets), BALANCED)  # no labels: nothing to fit
    assert calibration.temperature.isfinite()
