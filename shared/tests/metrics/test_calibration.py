"""Calibration errors against brute force, and cases small enough to do by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hmc_shared import Hierarchy
from hmc_shared.metrics import is_single_path
from hmc_shared.metrics.calibration import (
    NEGLIGIBLE,
    accuracy_coverage,
    adaptive_edges,
    expected_calibration_error,
    reliability,
    top_labels,
)

TREE = Hierarchy.from_paths(["a/b", "a/c", "d/e", "d/f", "d/g"])
ANSWERS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30)


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
    result = reliability(confidence, correct, bins)
    assert result.error == pytest.approx(total)
    assert result.count.sum() == len(answers)


@given(p=st.lists(st.floats(0, 1), max_size=60, unique=True).map(np.array), bins=st.integers(2, 20))
def test_bins_of_equal_count_differ_by_one_answer(p, bins):
    edges = adaptive_edges(p, bins)
    assert len(edges) == bins + 1
    assert (np.diff(edges) >= 0).all()
    result = reliability(p, p > 0.5, edges=edges)
    assert result.count[0] == (p <= NEGLIGIBLE).sum()
    assert result.count.sum() == len(p)
    if len(p) - result.count[0] >= bins:
        assert result.count[1:].max() - result.count[1:].min() <= 1


def test_equal_probabilities_share_a_bin():
    p = np.array([0.2] + [1.0] * 9)
    result = reliability(p, np.arange(10) % 2 == 0, edges=adaptive_edges(p, 4))
    assert sorted(result.count) == [0, 0, 1, 9]


def test_reliability_by_hand():
    result = reliability(np.array([0.1, 0.5, 0.9, 0.95]), np.array([False, True, True, False]), bins=2)
    np.testing.assert_allclose(result.confidence, [0.3, 0.925])  # 0.5 is in the first bin
    np.testing.assert_allclose(result.accuracy, [0.5, 0.5])
    assert result.error == pytest.approx((0.2 + 0.425) / 2)
    empty = reliability(np.array([]), np.array([], dtype=bool))
    assert math.isnan(empty.error)
    assert np.isnan(reliability(np.array([0.1]), np.array([True]), bins=2).accuracy[1])


@pytest.mark.parametrize("wrong", [([1.2], [True]), ([math.nan], [True]), ([0.2, 0.3], [True])])
def test_wrong_probabilities_are_refused(wrong):
    with pytest.raises(ValueError, match="`confidence`"):
        reliability(*map(np.array, wrong))


def test_a_calibrated_model_has_an_error_near_0_and_an_overconfident_one_has_not():
    generator = torch.Generator().manual_seed(0)
    logits = 2.0 * torch.randn(50_000, len(TREE), generator=generator)
    targets = torch.bernoulli(logits.sigmoid(), generator=generator).bool().numpy()
    assert expected_calibration_error(logits.sigmoid().numpy(), targets, TREE) < 0.01
    assert expected_calibration_error((5 * logits).sigmoid().numpy(), targets, TREE) > 0.05


def test_top_labels_and_the_error_of_paths_by_hand():
    p = np.zeros((3, 7))
    p[0, :4], p[1, :5], p[2, :4] = [0.9, 0.1, 0.8, 0.1], [0.6, 0.4, 0.3, 0.3, 0.4], [0.2, 0.7, 0.2, 0.1]
    targets = np.zeros((3, 7), dtype=bool)
    targets[0, [0, 2]] = targets[1, [1, 4]] = targets[2, 1] = True  # the last path is short
    assert is_single_path(targets, TREE)
    levels = top_labels(p, targets, TREE)
    np.testing.assert_allclose(levels[0][0], [0.9, 0.6, 0.7])
    assert levels[0][1].tolist() == [True, False, True]
    np.testing.assert_allclose(levels[1][0], [0.8, 0.4])
    assert levels[1][1].tolist() == [True, True]
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
