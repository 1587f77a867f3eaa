"""The metrics of the public code against a loop with scikit-learn."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import average_precision_score, f1_score

from mulsupcon_ld.published_metrics import published_metrics

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8)


@st.composite
def scored(draw, elements):
    """Scores and targets (n, C); few different scores, so that there are ties."""
    shape = draw(SHAPES)
    scores = draw(arrays.arrays(np.float32, shape, elements=elements))
    return scores, draw(arrays.arrays(bool, shape))


def micro_f1(predicted, targets):
    return f1_score(targets.ravel(), predicted.ravel(), zero_division=0)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])  # scikit-learn is
@given(scored(st.integers(0, 20).map(lambda twentieth: np.float32(twentieth / 20))))
def test_published_metrics_are_those_of_the_public_codes_loop(case):
    probabilities, targets = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes without positives
        aps = [
            average_precision_score(targets[:, j], probabilities[:, j])
            for j in range(targets.shape[1])
            if targets[:, j].any()
        ]
    if not aps:
        return
    found = published_metrics(probabilities, targets)
    best = dict.fromkeys(("hamming_accuracy", "f1_example", "f1_micro", "f1_macro"), 0.0)
    for threshold in np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]):
        predicted = probabilities >= threshold
        some = (predicted | targets).any(1)
        at = {
            "hamming_accuracy": np.mean([row == true for row, true in zip(predicted, targets, strict=True)]),
            "f1_example": np.mean(
                [f1_score(t, p) for p, t in zip(predicted[some], targets[some], strict=True)]
            )
            if some.any()
            else 0.0,
            "f1_micro": micro_f1(predicted, targets),
            "f1_macro": np.mean(
                [f1_score(targets[:, j], predicted[:, j], zero_division=0) for j in range(targets.shape[1])]
            ),
        }
        best = {name: max(best[name], at[name]) for name in best}
    top = probabilities.argmax(1)
    unique = (probabilities == probabilities.max(1, keepdims=True)).sum(1) == 1
    if unique.all():  # precision at 1 of ties is the matter of hmc_shared
        best["precision_at_1"] = targets[np.arange(len(top)), top].mean()
    assert {name: found[name] for name in best} == pytest.approx(best, abs=1e-7)
    assert found["map"] == pytest.approx(np.mean(aps), abs=1e-7)


def test_without_any_positive_map_is_undefined():
    found = published_metrics(np.full((3, 2), 0.05), np.zeros((3, 2), dtype=bool))
    assert math.isnan(found["map"])
    assert (found["hamming_accuracy"], found["f1_micro"]) == (1, 0)
