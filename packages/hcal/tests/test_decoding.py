"""Decoding and calibration against brute force over all paths."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hcal.decoding import (
    best_nodes,
    best_paths,
    level_log_odds,
    level_nll,
    log_odds,
    path_log_odds,
    path_nll,
    path_scores,
)
from hmc_shared import Hierarchy
from hmc_shared.metrics import hvr, incoherent, level_predictions
from hmc_shared.predict.calibration import fit_temperatures

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


@given(scored() | scored(TIES) | scored(st.sampled_from([-3e3, 0.0, 3e3])))
@settings(deadline=None, max_examples=200)
def test_the_best_node_of_each_level_lies_on_the_best_path(case):
    hierarchy, logits = case
    scores = path_log_odds(logits, hierarchy)
    predicted = level_predictions(scores, hierarchy)
    assert hvr(predicted, hierarchy) == 0
    assert incoherent(scores, hierarchy) == 0
    assert scores.isfinite().all()
    paths = best_paths(scores, hierarchy).numpy()
    on_path = paths >= 0
    assert (predicted[on_path] == paths[on_path]).all()
    every = [[*path, *[-1] * (hierarchy.num_levels - len(path))] for path in paths_of(hierarchy)]
    assert all(row in every for row in paths.tolist())


@given(scored())
@settings(deadline=None)
def test_the_best_path_is_the_one_that_brute_force_finds(case):
    hierarchy, logits = case
    chosen = best_paths(path_log_odds(logits, hierarchy), hierarchy)
    for row, path in zip(logits.double(), chosen.tolist(), strict=True):
        expected = naive_path_scores(row.tolist(), hierarchy)
        found = path_scores(row[None], hierarchy)[0]
        assert found.tolist() == pytest.approx(expected, abs=1e-4)
        index = paths_of(hierarchy).index([node for node in path if node >= 0])
        assert expected[index] >= max(expected) - 1e-3  # float32 cannot tell closer ones apart


@given(scored())
@settings(deadline=None)
def test_scores_of_inner_nodes_are_log_odds_of_the_best_path_through_them(case):
    hierarchy, logits = case
    scores = path_log_odds(logits, hierarchy).sigmoid()
    for row, probabilities in zip(logits.double().tolist(), scores.tolist(), strict=True):
        value = np.exp(naive_path_scores(row, hierarchy))
        value /= value.sum()
        for node in range(len(hierarchy)):
            through = [v for v, path in zip(value, paths_of(hierarchy), strict=True) if node in path]
            assert probabilities[node] == pytest.approx(max(through), abs=1e-5)


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
    assert best_nodes(scores, hierarchy).tolist() == level_predictions(scores, hierarchy).tolist()
    for level in hierarchy.levels:
        of_level = logits[:, level.start : level.stop].double().softmax(1)
        torch.testing.assert_close(
            scores[:, level.start : level.stop].sigmoid().double(), of_level, atol=1e-5, rtol=1e-4
        )


def true_paths(hierarchy, nodes):
    return torch.tensor(
        [
            next(
                [*path[: path.index(node) + 1], *[-1] * (hierarchy.num_levels - path.index(node) - 1)]
                for path in paths_of(hierarchy)
                if node in path
            )
            for node in nodes
        ]
    )


@pytest.mark.parametrize("hierarchy", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
def test_path_nll_is_minus_the_log_of_the_share_of_the_true_path(hierarchy):
    logits = torch.randn(len(hierarchy), len(hierarchy), generator=torch.Generator().manual_seed(0))
    found = path_nll(logits.double(), true_paths(hierarchy, range(len(hierarchy))), hierarchy)
    expected = []
    for node, row in enumerate(logits.double().tolist()):
        value = np.exp(naive_path_scores(row, hierarchy))
        through = [node in path for path in paths_of(hierarchy)]
        expected.append(-np.log(value[through].sum() / value.sum()))
    assert found.item() == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("nll", [level_nll, path_nll])
@pytest.mark.parametrize("hierarchy", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
def test_calibration_lowers_the_negative_log_likelihood(nll, hierarchy):
    generator = torch.Generator().manual_seed(0)
    paths = true_paths(
        hierarchy,
        hierarchy.leaves[torch.randint(len(hierarchy.leaves), (300,), generator=generator)].tolist(),
    )
    logits = 5 * torch.randn(300, len(hierarchy), generator=generator)
    for depth in range(hierarchy.num_levels):
        rows = (paths[:, depth] >= 0).nonzero().squeeze(1)
        logits[rows, paths[rows, depth]] += 5.0
    temperature = fit_temperatures(nll, logits, paths, hierarchy)
    assert (temperature > 1.5).all()  # the logits were overconfident
    before = nll(logits, paths, hierarchy)
    best = nll(logits / temperature[hierarchy.depth], paths, hierarchy)
    assert best < before - 0.1
    for factors in itertools.product((0.9, 1.0, 1.1), repeat=hierarchy.num_levels):
        moved = temperature * torch.tensor(factors)
        # The prior is worth this much at most over 300 samples.
        assert nll(logits / moved[hierarchy.depth], paths, hierarchy) > best - 2e-3


def test_level_temperatures_are_those_that_were_put_in():
    """Labels drawn from the softmax of logits / T are calibrated at T."""
    generator = torch.Generator().manual_seed(0)
    logits = 6 * torch.randn(20_000, len(BALANCED), generator=generator)
    leaves = (logits[:, 2:] / 3).softmax(1).multinomial(1, generator=generator).squeeze(1) + 2
    paths = true_paths(BALANCED, leaves.tolist())
    assert fit_temperatures(level_nll, logits, paths, BALANCED)[1].item() == pytest.approx(3, rel=0.05)


def test_a_level_without_mistakes_keeps_a_finite_temperature():
    paths = true_paths(BALANCED, [2, 3, 4, 5])
    logits = torch.zeros(4, len(BALANCED)).scatter_(1, paths, 10.0)
    temperature = fit_temperatures(level_nll, logits, paths, BALANCED)
    assert (temperature > 0.1).all()
    assert (temperature < 10).all()
