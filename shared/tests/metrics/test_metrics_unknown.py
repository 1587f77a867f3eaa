"""Entries that nobody knows: every metric is that of the known ones."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from hmc_shared import Hierarchy
from hmc_shared.metrics import summarize
from hmc_shared.metrics.calibration import expected_calibration_error
from hmc_shared.metrics.summary import measure
from hmc_shared.predict.decision import Decision

FLAT = Hierarchy.from_edges([], nodes=["a", "b", "c", "d"])
DAG = Hierarchy.from_edges([("a", "c"), ("b", "c"), ("c", "d"), ("b", "e")])


def draw(hierarchy, seed, rows=30):
    """Scores with ties, targets with ancestors, and entries that are unknown with their ancestors."""
    rng = np.random.default_rng(seed)
    shape = (rows, len(hierarchy))
    scores = rng.integers(-4, 5, shape).astype(np.float32)
    targets = hierarchy.add_ancestors(rng.random(shape) < 0.25)
    unknown = hierarchy.add_ancestors(targets | (rng.random(shape) < 0.2)) & ~targets
    return scores, targets, unknown


@given(st.integers(0, 10_000))
def test_metrics_of_classes_are_those_of_the_known_rows(seed):
    scores, targets, unknown = draw(FLAT, seed)
    found = measure(scores, targets, FLAT, unknown=unknown, threshold=1.0)
    f1 = []
    for node in range(len(FLAT)):
        known = ~unknown[:, node]
        true, of_class = targets[known, node], scores[known, node]
        if true.any():
            assert found.ap[node] == pytest.approx(average_precision_score(true, of_class))
            f1.append(f1_score(true, of_class >= 1))
        if true.any() and not true.all():
            assert found.auroc[node] == pytest.approx(roc_auc_score(true, of_class))
    known = ~unknown
    predicted = scores[known] >= 1
    assert found.metrics["au_prc"] == pytest.approx(average_precision_score(targets[known], scores[known]))
    assert found.metrics["f1_macro"] == pytest.approx(np.mean(f1))
    assert found.metrics["f1_micro"] == pytest.approx(f1_score(targets[known], predicted))
    assert found.metrics["hierarchical_f1"] == pytest.approx(f1_score(targets[known], predicted))
    assert found.metrics["hamming_accuracy"] == pytest.approx(np.mean(targets[known] == predicted))


@given(st.integers(0, 10_000))
def test_thresholds_of_classes_decide_what_is_known(seed):
    scores, targets, unknown = draw(DAG, seed)
    thresholds = np.random.default_rng(seed).integers(-3, 4, len(DAG)).astype(float)
    found = summarize(scores, targets, DAG, threshold=thresholds, unknown=unknown)
    labels = Decision(tuple(thresholds.tolist())).labels(*2 * [torch.from_numpy(scores)], DAG)
    predicted, known = labels.numpy() & ~unknown, ~unknown
    assert found["f1_micro"] == pytest.approx(f1_score(targets[known], predicted[known]))
    assert found["hamming_accuracy"] == pytest.approx(np.mean(targets[known] == predicted[known]))
    with pytest.raises(ValueError, match=r"`threshold` should be one number or 5. Found shape \(4,\)"):
        summarize(scores, targets, DAG, threshold=thresholds[1:])


@given(st.integers(0, 10_000))
def test_no_metric_depends_on_the_score_of_what_is_unknown(seed):
    scores, targets, unknown = draw(DAG, seed)
    other = np.where(unknown, -scores - 7, scores)
    counts = {"information": np.arange(1.0, 6.0), "unknown": unknown}
    first, second = (summarize(of, targets, DAG, **counts) for of in (scores, other))
    del first["incoherent"], second["incoherent"]  # of scores alone
    assert first == pytest.approx(second, nan_ok=True)
    assert not any(name.startswith("accuracy_level") for name in first)


@given(st.integers(0, 10_000))
def test_the_share_of_wrong_pairs_is_that_of_the_known_ones(seed):
    scores, targets, unknown = draw(FLAT, seed, rows=5)
    expected = []
    for row in range(5):
        of_true = scores[row, targets[row]]
        of_false = scores[row, ~targets[row] & ~unknown[row]]
        wrong = [false >= true for true in of_true for false in of_false]
        expected.append(np.mean(wrong) if wrong else 0)
    found = summarize(scores, targets, FLAT, unknown=unknown)["ranking_loss"]
    assert found == pytest.approx(np.mean(expected))


def test_nothing_unknown_changes_nothing():
    scores, targets, unknown = draw(DAG, 0)
    with_mask = summarize(scores, targets, DAG, unknown=np.zeros_like(unknown))
    assert with_mask == pytest.approx(summarize(scores, targets, DAG), nan_ok=True)


def test_calibration_errors_leave_unknown_entries_out():
    _, targets, unknown = draw(FLAT, 1)
    p = np.random.default_rng(2).random(targets.shape)
    other = np.where(unknown, 1 - p, p)
    first, second = (expected_calibration_error(of, targets, FLAT, unknown=unknown) for of in (p, other))
    assert first == second != expected_calibration_error(p, targets, FLAT)


def test_a_mask_that_does_not_fit_is_refused():
    scores, targets, unknown = draw(FLAT, 3)
    with pytest.raises(ValueError, match="`unknown` should be False where `targets` are True"):
        summarize(scores, targets, FLAT, unknown=targets)
    with pytest.raises(ValueError, match="`unknown` should be bool of shape"):
        summarize(scores, targets, FLAT, unknown=unknown[:, :2])
