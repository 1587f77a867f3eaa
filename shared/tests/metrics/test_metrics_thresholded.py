"""Metrics of binary decisions against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, f1_score, hamming_loss

from hmc_shared.metrics import exact_match, f1_example, f1_macro, f1_micro, hamming_accuracy

# scikit-learn takes a single column for a binary problem, not for a multi-label one: at least two classes.
SHAPES = st.tuples(st.integers(1, 10), st.integers(2, 5))
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape)))


@given(PAIRS)
def test_f1_and_hamming_equal_sklearn(pair):
    predictions, targets = pair
    micro = f1_score(targets, predictions, average="micro", zero_division=np.nan)
    assert f1_micro(predictions, targets) == pytest.approx(micro, nan_ok=True)
    macro = f1_score(targets, predictions, average="macro", zero_division=0.0)
    assert f1_macro(predictions, targets, absent="zero") == pytest.approx(macro)
    example = f1_score(targets, predictions, average="samples", zero_division=1.0)
    assert f1_example(predictions, targets) == pytest.approx(example)
    assert hamming_accuracy(predictions, targets) == pytest.approx(1 - hamming_loss(targets, predictions))
    assert exact_match(predictions, targets) == pytest.approx(accuracy_score(targets, predictions))


@given(PAIRS)
def test_f1_macro_skips_exactly_the_classes_without_positives(pair):
    predictions, targets = pair
    per_class = f1_score(targets, predictions, average=None, zero_division=0.0)
    present = per_class[targets.any(axis=0)]
    expected = present.mean() if len(present) else float("nan")
    assert f1_macro(predictions, targets) == pytest.approx(expected, nan_ok=True)


@given(PAIRS, st.integers(0, 2**32 - 1))
def test_order_and_kind_of_input_are_irrelevant(pair, seed):
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(pair[0].shape[0]), rng.permutation(pair[0].shape[1])
    moved = [array[rows][:, columns] for array in pair]
    for metric in (f1_micro, f1_macro, f1_example, hamming_accuracy, exact_match):
        value = metric(*pair)
        assert metric(*moved) == pytest.approx(value, nan_ok=True)
        for other in (map(torch.from_numpy, pair), (torch.from_numpy(x).bfloat16() for x in pair)):
            np.testing.assert_equal(metric(*other), value)
        np.testing.assert_equal(metric(*(x.astype(np.int64) for x in pair)), value)


@given(arrays(np.bool_, SHAPES).filter(np.any))
def test_perfect_and_inverted_predictions(targets):
    for metric in (f1_micro, f1_macro, f1_example, hamming_accuracy, exact_match):
        assert metric(targets, targets) == 1.0
        assert metric(~targets, targets) == 0.0


def test_what_is_undefined_is_nan():
    nothing, something = np.zeros((2, 2)), np.eye(2)
    assert np.isnan(f1_micro(nothing, nothing))
    assert f1_micro(something, nothing) == 0.0
    assert np.isnan(f1_macro(something, nothing))
    assert f1_example(nothing, nothing) == 1.0
    assert np.isnan(f1_example(np.ones((0, 2)), np.ones((0, 2))))
    assert np.isnan(hamming_accuracy(np.ones((0, 2)), np.ones((0, 2))))


@pytest.mark.parametrize("metric", [f1_micro, f1_macro, f1_example, hamming_accuracy])
def test_bad_input_is_named(metric):
    with pytest.raises(ValueError, match=r"`predictions` should be bool or hold only 0 and 1. Found 0.5"):
        metric(np.array([[0.5, 1.0]]), np.array([[0, 1]]))
    with pytest.raises(
        ValueError, match=r"`targets` should have the shape of `predictions`, \(1, 2\). Found \(1, 3\)"
    ):
        metric(np.ones((1, 2)), np.ones((1, 3)))
