"""Calibration against known temperatures, brute force, and cases small enough to do by hand."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hmc_shared.metrics import is_single_path
from hmc_shared.metrics.calibration import (
    accuracy_coverage,
    expected_calibration_error,
    reliability,
    top_labels,
)
from hmc_shared.predict.calibration import Calibration, fit_calibration, fit_temperatures

TREE = Hierarchy.from_paths(["a/b", "a/c", "d/e", "d/f", "d/g"])
ANSWERS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30)


def drawn(n, seed=0, deviation=2.0):
    """Logits (n, C) and labels drawn from their sigmoid: perfectly calibrated, not closed."""
    generator = torch.Generator().manual_seed(seed)
    logits = deviation * torch.randn(n, len(TREE), generator=generator)
    return logits, torch.bernoulli(logits.sigmoid(), generator=generator).bool()


@pytest.mark.parametrize(("temperature", "shift"), [(1.0, 0.0), (3.0, 0.0), (0.2, 1.5), (4.0, -6.0)])
def test_the_fit_finds_the_temperature_and_the_shift_that_were_put_in(temperature, shift):
    logits, targets = drawn(20_000)
    found = fit_calibration(temperature * (logits - shift), targets, TREE)
    np.testing.assert_allclose(found.temperature, [temperature] * 2, rtol=0.05)
    np.testing.assert_allclose(found.shift, [shift] * 2, atol=0.06)


def test_levels_have_temperatures_of_their_own():
    logits, targets = drawn(20_000)
    factors = torch.tensor([2.0, 0.5])[TREE.depth]
    found = fit_calibration(factors * logits, targets, TREE)
    np.testing.assert_allclose(found.temperature, [2, 0.5], rtol=0.05)


def test_only_evaluated_classes_count_and_a_level_without_any_is_left_alone():
    logits, targets = drawn(2000)
    evaluated = TREE.depth == 1
    evaluated[-1] = False
    untrained = logits * 3
    untrained[:, ~evaluated] = torch.randn(2000, int((~evaluated).sum()))  # say nothing of the labels
    found = fit_calibration(untrained, targets, TREE, evaluated)
    np.testing.assert_allclose(found.temperature, [1, 3], rtol=0.1)
    np.testing.assert_allclose(found.shift, [0, 0], atol=0.1)
    assert found.temperature[0] == 1
    assert found.shift[0] == 0


def test_no_neighbour_has_a_lower_cross_entropy():
    logits, targets = drawn(300)
    logits = logits * 2.5 + 1
    best = fit_calibration(logits, targets, TREE)

    def nll(found):
        moved = logits / found.temperature[TREE.depth] + found.shift[TREE.depth]
        return F.binary_cross_entropy_with_logits(moved, targets.float(), reduction="sum").item()

    assert nll(best) < nll(Calibration.none(TREE)) - 50
    for factors in product((0.95, 1.0, 1.05), (0.95, 1.0, 1.05), (-0.1, 0.0, 0.1), (-0.1, 0.0, 0.1)):
        moved = Calibration(
            best.temperature * torch.tensor(factors[:2]), best.shift + torch.tensor(factors[2:])
        )
        assert nll(moved) > nll(best) - 0.05  # what the priors are worth


@pytest.mark.parametrize("sign", [1, -1])
def test_without_mistakes_the_fit_stays_finite_and_keeps_the_order(sign):
    logits = torch.linspace(-3, 3, 70).reshape(10, 7) * 100
    for targets in (sign * logits > 0, torch.full((10, 7), sign > 0)):
        found = fit_calibration(logits, targets, TREE)
        assert found.temperature.isfinite().all()
        assert (found.temperature > 0).all()
        assert found.shift.isfinite().all()


def test_calibrated_probabilities_are_coherent_whatever_the_temperatures():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(500, len(TREE), generator=generator) * 5
    calibration = Calibration(torch.tensor([8.0, 0.3]), torch.tensor([-1.0, 0.5]))
    found = calibration.probabilities(logits, TREE)
    own = (logits / torch.tensor([8.0, 0.3])[TREE.depth] + torch.tensor([-1.0, 0.5])[TREE.depth]).sigmoid()
    parents, children = TREE.edges.unbind(1)
    assert (own[:, children] > own[:, parents]).any()  # so the constraint had something to do
    assert (found[:, children] <= found[:, parents]).all()
    torch.testing.assert_close(found[:, TREE.leaves], own[:, TREE.leaves])
    torch.testing.assert_close(found[:, 0], own[:, [0, 2, 3]].max(1).values)


def test_no_calibration_changes_no_coherent_logits():
    logits = torch.tensor([[2.0, 1.0, 1.5, -3.0, 0.5, 1.0, -1.0]])
    assert torch.equal(Calibration.none(TREE).logits(logits, TREE), logits)


def test_temperatures_of_any_likelihood_are_those_that_were_put_in():
    def nll(logits, labels, hierarchy):
        level = hierarchy.levels[1]
        return F.cross_entropy(logits[:, level.start : level.stop], labels)

    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(20_000, len(TREE), generator=generator)
    labels = (logits[:, 2:] / 2.5).softmax(1).multinomial(1, generator=generator).squeeze(1)
    found = fit_temperatures(nll, logits, labels, TREE)
    assert found[1].item() == pytest.approx(2.5, rel=0.05)
    assert found[0].item() == pytest.approx(1)  # the prior, where there is no evidence


@given(answers=ANSWERS, bins=st.integers(1, 20))
def test_the_error_is_the_sum_over_bins(answers, bins):
    confidence, correct = map(np.array, zip(*answers, strict=True))
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [(p, r) for p, r in answers if low < p <= high or (number == 0 and p == 0)]
        if inside:
            p, r = zip(*inside, strict=True)
            total += len(inside) / len(answers) * abs(sum(r) / len(r) - sum(p) / len(p))
    found = reliability(confidence, correct, bins)
    assert found.error == pytest.approx(total)
    assert found.count.sum() == len(answers)


def test_reliability_by_hand():
    found = reliability(np.array([0.1, 0.5, 0.9, 0.95]), np.array([False, True, True, False]), bins=2)
    np.testing.assert_allclose(found.confidence, [0.3, 0.925])  # 0.5 is in the first bin
    np.testing.assert_allclose(found.accuracy, [0.5, 0.5])
    assert found.error == pytest.approx((0.2 + 0.425) / 2)
    empty = reliability(np.array([]), np.array([], dtype=bool))
    assert math.isnan(empty.error)
    assert np.isnan(reliability(np.array([0.1]), np.array([True]), bins=2).accuracy[1])


@pytest.mark.parametrize("wrong", [([1.2], [True]), ([math.nan], [True]), ([0.2, 0.3], [True])])
def test_wrong_probabilities_are_refused(wrong):
    with pytest.raises(ValueError, match="`confidence`"):
        reliability(*map(np.array, wrong))


def test_a_calibrated_model_has_an_error_near_0_and_an_overconfident_one_has_not():
    logits, targets = drawn(50_000)
    targets = targets.numpy()
    assert expected_calibration_error(logits.sigmoid().numpy(), targets, TREE) < 0.01
    assert expected_calibration_error((5 * logits).sigmoid().numpy(), targets, TREE) > 0.05


def test_top_labels_and_the_error_of_paths_by_hand():
    p = np.zeros((3, 7))
    p[0, :4], p[1, :5], p[2, :4] = [0.9, 0.1, 0.8, 0.1], [0.6, 0.4, 0.3, 0.3, 0.4], [0.2, 0.7, 0.2, 0.1]
    targets = np.zeros((3, 7), dtype=bool)
    targets[0, [0, 2]] = targets[1, [1, 4]] = targets[2, 1] = True  # the last path is short
    assert is_single_path(targets, TREE)
    found = top_labels(p, targets, TREE)
    np.testing.assert_allclose(found[0][0], [0.9, 0.6, 0.7])
    assert found[0][1].tolist() == [True, False, True]
    np.testing.assert_allclose(found[1][0], [0.8, 0.4])
    assert found[1][1].tolist() == [True, True]
    level_0 = (0.1 + 0.6 + 0.3) / 3  # each in a bin of its own
    level_1 = (0.2 + 0.6) / 2
    assert expected_calibration_error(p, targets, TREE) == pytest.approx((level_0 + level_1) / 2)
    only_level_1 = np.array([False] * 2 + [True] * 5)
    assert expected_calibration_error(p, targets, TREE, only_level_1) == pytest.approx(level_1)


def test_the_error_of_several_paths_is_the_mean_over_classes():
    flat = Hierarchy.from_edges([], nodes=["x", "y", "z"])
    p = np.array([[0.9, 0.2, 0.5], [0.9, 0.2, 0.5]])
    targets = np.array([[1, 1, 0], [1, 0, 0]], dtype=bool)
    assert expected_calibration_error(p, targets, flat) == pytest.approx((0.1 + 0.3 + 0.5) / 3)
    assert expected_calibration_error(p, targets, flat, np.array([True, True, False])) == pytest.approx(0.2)
    assert math.isnan(expected_calibration_error(p[:, :0], targets[:, :0], flat, np.zeros(3, dtype=bool)))


@given(answers=ANSWERS)
def test_accuracy_and_coverage_of_every_bound(answers):
    coverage, accuracy = accuracy_coverage(*map(np.array, zip(*answers, strict=True)))
    bounds = sorted({p for p, _ in answers}, reverse=True)
    assert len(coverage) == len(bounds)
    for bound, share, right in zip(bounds, coverage, accuracy, strict=True):
        answered = [r for p, r in answers if p >= bound]
        assert share == pytest.approx(len(answered) / len(answers))
        assert right == pytest.approx(sum(answered) / len(answered))
    assert coverage[-1] == 1
