"""Fmax, Smin and information against the words of their definitions, threshold by threshold."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmc_shared import Hierarchy
from hmc_shared.metrics import cafa, fmax, information_accretion, smin
from hmc_shared.metrics.cafa import curve

SEEDS = st.integers(0, 2**32 - 1)


def at(threshold: float, scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[float, ...]:
    """Precision, recall, coverage, ru and mi, sample by sample."""
    precisions, recalls, ru, mi = [], [], 0.0, 0.0
    for row, true in zip(scores, targets, strict=True):
        if not true.any():
            continue
        predicted = row >= threshold
        right, of_predicted, of_true = (weights[of].sum() for of in (predicted & true, predicted, true))
        if of_predicted > 0:
            precisions.append(right / of_predicted)
        recalls.append(right / of_true if of_true > 0 else 0.0)
        ru, mi = ru + of_true - right, mi + of_predicted - right
    n = len(recalls)
    precision = sum(precisions) / len(precisions) if precisions else 0.0
    return precision, sum(recalls) / n, len(precisions) / n, ru / n, mi / n


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with ties, sparse targets with a sample that has some, weights with zeros."""
    rng = np.random.default_rng(draw(SEEDS))
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 9))
    levels = draw(st.sampled_from([2, 5, 1000]))
    scores = rng.integers(-levels, levels, shape).astype(draw(st.sampled_from([np.float32, np.float64]))) / 8
    targets = rng.random(shape) < draw(st.sampled_from([0.1, 0.5, 0.9]))
    targets[0, 0] = True
    return scores, targets, rng.random(shape[1]) * (rng.random(shape[1]) < draw(st.sampled_from([0.7, 1.0])))


@pytest.mark.usefixtures("blocks")
@given(problems(), st.booleans())
def test_every_threshold_is_as_the_definition_says(problem, is_weighted):
    scores, targets, weights = problem
    if not is_weighted:
        weights = np.ones(len(weights))
    thresholds = np.unique(scores[targets.any(1)])
    found = curve(scores, targets, weights if is_weighted else None, thresholds)
    expected = np.array([at(t, scores, targets, weights) for t in thresholds]).T
    arrays = (
        found.precision,
        found.recall,
        found.coverage,
        found.remaining_uncertainty,
        found.misinformation,
    )
    np.testing.assert_allclose(arrays, expected, atol=1e-12)


@pytest.mark.usefixtures("blocks")
@given(problems())
def test_the_best_is_over_all_thresholds_that_predict_something(problem):
    scores, targets, weights = problem
    points = [at(t, scores, targets, weights) for t in np.unique(scores[targets.any(1)])]
    f = [2 * p * r / (p + r) if p + r else 0.0 for p, r, *_ in points]
    assert fmax(scores, targets, weights) == pytest.approx(max(f))
    assert smin(scores, targets, weights) == pytest.approx(min(np.hypot(*point[3:]) for point in points))


@given(problems(), st.integers(1, 20))
def test_a_grid_is_never_better(problem, parts):
    scores, targets, weights = problem
    grid = np.linspace(scores.min(), scores.max(), parts)
    assert fmax(scores, targets, weights, grid) <= fmax(scores, targets, weights) + 1e-12
    assert smin(scores, targets, weights, grid) >= smin(scores, targets, weights) - 1e-12


def test_what_predicts_nothing_or_has_no_truth_is_undefined():
    scores, targets = np.array([[0.5, 0.2]]), np.array([[1, 0]])
    assert np.isnan(fmax(scores, targets, thresholds=np.array([0.6, 0.7])))
    assert np.isnan(smin(scores, np.zeros((1, 2)), np.ones(2)))
    assert fmax(scores, targets, thresholds=np.array([0.5, 0.6])) == 1.0  # the second is left out


def test_samples_without_a_true_class_do_not_count():
    scores, targets = np.array([[0.9, 0.1], [0.9, 0.9]]), np.array([[1, 0], [0, 0]])
    assert (fmax(scores, targets), smin(scores, targets, np.ones(2))) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"`weights` should be numbers of shape \(2,\). Found float64 of shape \(3,\)"),
        (np.array([1, -1]), r"`weights` should be finite and at least 0. Found -1"),
        (np.array([1, np.nan]), r"`weights` should be finite and at least 0. Found nan"),
    ],
)
def test_other_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        fmax(np.zeros((1, 2)), np.ones((1, 2)), weights)


@st.composite
def annotated(draw: st.DrawFn) -> tuple[Hierarchy, np.ndarray]:
    rng = np.random.default_rng(draw(SEEDS))
    parents: dict[str, list[str]] = {}
    for node in range(draw(st.integers(1, 9))):
        chosen = [name for name in parents if rng.random() < draw(st.sampled_from([0.2, 0.6]))]
        parents[f"n{node}"] = chosen
    hierarchy = Hierarchy.from_parents(parents)
    return hierarchy, hierarchy.add_ancestors(rng.random((draw(st.integers(1, 30)), len(parents))) < 0.3)


@pytest.mark.usefixtures("blocks")
@given(annotated())
def test_information_is_by_the_samples_that_have_all_parents(problem):
    hierarchy, targets = problem
    found = information_accretion(targets, hierarchy)
    for node in range(len(hierarchy)):
        parents = hierarchy.parents(node)
        possible = targets[:, parents].all(1).sum()
        having = targets[:, node].sum()
        assert found[node] == (-np.log2(having / possible) if parents and having else 0)
    assert (found >= 0).all()


def test_docstring_examples():
    outcome = doctest.testmod(cafa)
    assert outcome.attempted > 0
    assert outcome.failed == 0
