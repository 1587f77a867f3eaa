"""Ranking metrics: scikit-learn and literal loops as oracles, invariances as properties."""

from __future__ import annotations

import warnings
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, label_ranking_loss, roc_auc_score
from sklearn.metrics import coverage_error as sklearn_coverage
from sklearn.metrics import precision_recall_curve as sklearn_curve

from hmc_shared.metrics import (
    ap_variance,
    au_prc,
    auroc,
    average_precision,
    coverage_error,
    fmax,
    head_medium_tail,
    mean_average_precision,
    precision_at_1,
    ranking_loss,
)
from hmc_shared.metrics.ranking import pooled
from hmc_shared.testing import DEVICE

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 5))
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def cases(draw: st.DrawFn, positives: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties or hardly any, float32 or float64, and targets, on demand with a positive."""
    shape = draw(SHAPES)
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    few = st.integers(-2, 2).map(float)
    many = st.floats(-1e6, 1e6, width=32)
    scores = draw(arrays(dtype, shape, elements=draw(st.sampled_from([few, many]))))
    targets = draw(arrays(np.bool_, shape))
    if positives:
        targets[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = True
    return scores, targets


def sklearn_micro(scores: np.ndarray, targets: np.ndarray) -> float:
    return float(average_precision_score(targets.ravel(), scores.ravel()))


def sklearn_per_class(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """scikit-learn's AP per class, which is 0 (with a warning) for a class without positives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return np.array([average_precision_score(t, s) for t, s in zip(targets.T, scores.T, strict=True)])


def clus_area(scores: np.ndarray, targets: np.ndarray) -> Fraction:
    """The curve of CLUS, point by point in exact fractions, then the trapezoids below it."""
    s, t = scores.ravel(), targets.ravel()
    total = int(t.sum())
    counts = [
        (int((t & (s >= x)).sum()), int((~t & (s >= x)).sum())) for x in sorted(set(s.tolist()), reverse=True)
    ]
    tp, fp = counts[0]
    curve = [(Fraction(0), Fraction(tp, tp + fp)), (Fraction(tp, total), Fraction(tp, tp + fp))]
    for next_tp, next_fp in counts[1:]:
        for k in range(tp + 1, next_tp):
            at_k = fp + Fraction(next_fp - fp, next_tp - tp) * (k - tp)
            curve.append((Fraction(k, total), k / (k + at_k)))
        curve.append((Fraction(next_tp, total), Fraction(next_tp, next_tp + next_fp)))
        tp, fp = next_tp, next_fp
    return sum(
        ((r1 - r0) * (p0 + p1) / 2 for (r0, p0), (r1, p1) in pairwise(curve)),
        start=Fraction(0),
    )


@pytest.mark.usefixtures("blocks")
@given(cases(positives=True))
def test_au_prc_equals_sklearn(case):
    assert au_prc(*case) == pytest.approx(sklearn_micro(*case), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_au_prc_equals_sklearn_micro_on_a_large_sparse_matrix_with_ties(dtype):
    rng = np.random.default_rng(0)
    targets = rng.random((300, 400)) < 0.01
    scores = (rng.normal(size=targets.shape) + targets).round(2).astype(dtype)
    expected = average_precision_score(targets, scores, average="micro")
    assert au_prc(scores, targets) == pytest.approx(expected, abs=1e-12)


@pytest.mark.usefixtures("blocks")
@given(cases(positives=True))
def test_clus_interpolation_equals_the_curve_point_by_point(case):
    assert au_prc(*case, interpolation="clus") == pytest.approx(float(clus_area(*case)), abs=1e-12)


@pytest.mark.parametrize(
    ("ranking", "area"),
    [
        ([(1, 0), (0, 1), (1, 0), (0, 1)], (1 + (1 / 2 + 2 / 3) / 2) / 2),  # + - + -
        ([(2, 2)], 1 / 2),  # one tie: the only point is extended to recall 0
        ([(0, 1), (1, 0)], (0 + 1 / 2) / 2),  # - +: the curve begins at precision 0
        (
            [(1, 0), (2, 2)],
            (1 + (1 + 2 / 3) / 2 + (2 / 3 + 3 / 5) / 2) / 3,
        ),  # a tie of two + and two -: FP(2) = 1
        ([(3, 0), (0, 5)], 1.0),
        ([(0, 1), (2, 2)], ((0 + 1 / 3) / 2 + (1 / 3 + 2 / 5) / 2) / 2),  # FP = 1, 2, 3 at t = 0, 1, 2
    ],
)
def test_clus_interpolation_by_hand(ranking, area):
    """``ranking``: (positives, negatives) at each score, best first."""
    labels = [(-rank, label) for rank, (p, n) in enumerate(ranking) for label in [True] * p + [False] * n]
    scores, targets = np.array([[float(s) for s, _ in labels]]), np.array([[label for _, label in labels]])
    assert au_prc(scores, targets, interpolation="clus") == pytest.approx(area, abs=1e-15)


@pytest.mark.usefixtures("blocks")
@given(cases())
def test_average_precision_equals_sklearn_and_is_nan_without_positives(case):
    scores, targets = case
    ap, present = average_precision(scores, targets), targets.any(axis=0)
    np.testing.assert_array_equal(np.isnan(ap), ~present)
    np.testing.assert_allclose(ap[present], sklearn_per_class(scores, targets)[present], atol=1e-12)


@pytest.mark.usefixtures("blocks")
@given(cases(), st.booleans())
def test_auroc_equals_sklearn_and_is_nan_without_positives_or_negatives(case, with_infinity):
    scores, targets = case
    if with_infinity:  # as of a class that a mask rules out; in its order scikit-learn refuses it
        scores = np.where(scores == scores.min(), -np.inf, scores)
    both = targets.any(axis=0) & ~targets.all(axis=0)
    areas, ranks = auroc(scores, targets), np.maximum(scores, -1e9)
    np.testing.assert_array_equal(np.isnan(areas), ~both)
    expected = [roc_auc_score(targets[:, c], ranks[:, c]) for c in np.flatnonzero(both)]
    np.testing.assert_allclose(areas[both], expected, atol=1e-12)


@given(cases(positives=True))
def test_map_and_variance_equal_sklearn(case):
    scores, targets = case
    ap = sklearn_per_class(scores, targets)
    assert mean_average_precision(scores, targets, absent="zero") == pytest.approx(ap.mean(), abs=1e-12)
    present = ap[targets.any(axis=0)]
    assert mean_average_precision(scores, targets) == pytest.approx(present.mean(), abs=1e-12)
    assert ap_variance(scores, targets) == pytest.approx(np.mean((present - present.mean()) ** 2), abs=1e-12)


@pytest.mark.usefixtures("blocks")
@given(cases())
def test_precision_at_1_equals_the_loop(case):
    scores, targets = case
    expected = np.mean([t[s == s.max()].mean() for s, t in zip(scores, targets, strict=True)])
    assert precision_at_1(scores, targets) == pytest.approx(expected, abs=1e-12)


@pytest.mark.usefixtures("blocks")
@given(cases())
def test_coverage_and_ranking_loss_equal_sklearn(case):
    scores, targets = case
    if scores.shape[1] == 1:  # which scikit-learn takes for a binary problem
        scores, targets = (np.hstack([x, np.zeros_like(x)]) for x in case)
    assert coverage_error(scores, targets) == pytest.approx(sklearn_coverage(targets, scores))
    assert ranking_loss(scores, targets) == pytest.approx(label_ranking_loss(targets, scores))


def all_metrics(scores, targets) -> np.ndarray:
    return np.array(
        [
            au_prc(scores, targets),
            au_prc(scores, targets, interpolation="clus"),
            mean_average_precision(scores, targets),
            mean_average_precision(scores, targets, absent="zero"),
            ap_variance(scores, targets),
            precision_at_1(scores, targets),
            coverage_error(scores, targets),
            ranking_loss(scores, targets),
            fmax(scores, targets),
        ]
    )


@given(cases(), SEEDS)
def test_the_order_of_samples_and_classes_is_irrelevant(case, seed):
    scores, targets = case
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(scores.shape[0]), rng.permutation(scores.shape[1])
    moved = all_metrics(scores[rows][:, columns], targets[rows][:, columns])
    np.testing.assert_allclose(moved, all_metrics(scores, targets), atol=1e-12)


@given(cases(), SEEDS)
def test_a_strictly_increasing_map_of_the_scores_changes_nothing(case, seed):
    scores, targets = case
    _, rank = np.unique(scores, return_inverse=True)
    increasing = np.cumsum(np.random.default_rng(seed).uniform(0.1, 9, size=rank.max() + 1))
    mapped = increasing[rank.reshape(scores.shape)]
    np.testing.assert_array_equal(all_metrics(mapped, targets), all_metrics(scores, targets))


@given(cases())
def test_torch_and_numpy_give_equal_results(case):
    scores, targets = case
    tensors = torch.from_numpy(scores).requires_grad_(), torch.from_numpy(targets)
    np.testing.assert_array_equal(all_metrics(*tensors), all_metrics(scores, targets))
    np.testing.assert_array_equal(average_precision(*tensors), average_precision(scores, targets))
    np.testing.assert_array_equal(all_metrics(scores, targets.astype(int)), all_metrics(scores, targets))


@given(arrays(np.bool_, SHAPES).filter(np.any))
def test_equal_scores_give_the_share_of_positives(targets):
    scores = np.full(targets.shape, 0.25, dtype=np.float32)
    for interpolation in ("step", "clus"):
        assert au_prc(scores, targets, interpolation=interpolation) == pytest.approx(targets.mean())
    share = targets.mean(axis=0)
    np.testing.assert_allclose(average_precision(scores, targets), np.where(share > 0, share, np.nan))
    assert precision_at_1(scores, targets) == pytest.approx(targets.mean())


@pytest.mark.parametrize("rank", [0, 1, 7])
def test_a_single_positive_has_the_reciprocal_of_its_rank(rank):
    scores, targets = -np.arange(8.0)[:, None], np.arange(8)[:, None] == rank
    assert au_prc(scores, targets) == pytest.approx(1 / (rank + 1))
    assert average_precision(scores, targets) == pytest.approx([1 / (rank + 1)])
    assert ap_variance(scores, targets) == 0.0


def test_without_positives_areas_are_nan_and_precision_at_1_is_0():
    scores, targets = np.ones((3, 2)), np.zeros((3, 2), dtype=bool)
    undefined = np.isnan(all_metrics(scores, targets)).tolist()
    assert undefined == [True, True, True, False, True, False, False, False, True]
    assert mean_average_precision(scores, targets, absent="zero") == 0.0
    assert precision_at_1(scores, targets) == 0.0
    assert np.isnan(pooled(scores, targets, [slice(None)])[0].precision_at(np.array([0.0, 1.0]))).all()


def test_without_samples_everything_is_undefined():
    values = all_metrics(np.ones((0, 3)), np.ones((0, 3)))
    assert np.isnan(values).tolist() == [True, True, True, False, *[True] * 5]


def test_infinite_scores_are_ranked():
    scores, targets = np.array([[np.inf, 1.0, -np.inf, -np.inf]]), np.array([[1, 0, 1, 0]])
    assert au_prc(scores, targets) == pytest.approx((1 + 2 / 4) / 2)


@pytest.mark.usefixtures("blocks")
@given(cases(positives=True))
def test_precision_at_recall_is_that_of_sklearns_highest_threshold_that_reaches_it(case):
    scores, targets = case
    precision, recall, _ = sklearn_curve(targets.ravel(), scores.ravel())  # by falling recall
    grid = np.concatenate([np.linspace(0, 1, 11), recall])
    expected = [precision[:-1][recall[:-1] >= max(r, 1e-3) - 1e-12][-1] for r in grid]
    curve, _ = pooled(*case, [slice(None)])
    np.testing.assert_allclose(curve.precision_at(grid), expected)
    fine = (np.arange(20_000) + 0.5) / 20_000
    assert curve.precision_at(fine).mean() == pytest.approx(au_prc(*case), abs=1e-3)


@pytest.mark.usefixtures("blocks")
@given(cases(), st.data())
def test_groups_together_and_each_by_itself_have_the_bits_of_their_own_ranking(case, data):
    scores, targets = case
    group_of = np.array(
        data.draw(st.lists(st.integers(0, 2), min_size=scores.shape[1], max_size=scores.shape[1]))
    )
    groups = [np.flatnonzero(group_of == group) for group in range(3)]
    whole, areas = pooled(scores, targets, groups)
    np.testing.assert_array_equal(whole.area(), au_prc(scores, targets))
    for group, area in zip(groups, areas, strict=True):
        np.testing.assert_array_equal(area, au_prc(scores[:, group], targets[:, group]))


def test_average_precision_leaves_its_arguments_alone():
    for scores in (np.array([[1.0], [2.0]]), np.asfortranarray(np.eye(3, dtype=np.float32))):
        before, targets = scores.copy(), np.ones(scores.shape, dtype=bool)
        average_precision(scores, targets)
        np.testing.assert_array_equal(scores, before)


def test_groups_cover_all_classes_once_with_100_in_head_and_20_in_medium():
    counts = np.array([0, 19, 20, 99, 100, 5000])
    groups = head_medium_tail(counts)
    assert {name: counts[mask].tolist() for name, mask in groups.items()} == {
        "head": [100, 5000],
        "medium": [20, 99],
        "tail": [0, 19],
    }
    for name, mask in head_medium_tail(torch.from_numpy(counts)).items():
        np.testing.assert_array_equal(mask, groups[name])


def test_groups_of_voc_lt_are_those_of_the_paper():
    counts = [
        6,
        34,
        8,
        14,
        154,
        17,
        249,
        29,
        479,
        4,
        240,
        48,
        11,
        20,
        775,
        100,
        5,
        82,
        7,
        64,
    ]  # training images
    sizes = {name: mask.sum() for name, mask in head_medium_tail(np.array(counts)).items()}
    assert sizes == {"head": 6, "medium": 6, "tail": 8}


HALVES = [
    torch.ones(2, 2, dtype=torch.bfloat16),
    torch.ones(2, 2, dtype=torch.float16),
    np.ones((2, 2), np.float16),
]


@pytest.mark.parametrize(
    "metric", [au_prc, average_precision, mean_average_precision, precision_at_1, ap_variance]
)
@pytest.mark.parametrize("scores", HALVES, ids=["torch bfloat16", "torch float16", "numpy float16"])
def test_half_precision_is_refused_with_the_reason(metric, scores):
    with pytest.raises(ValueError, match=r"float16: half precision turns different scores into ties"):
        metric(scores, np.eye(2))


def test_half_precision_would_change_the_result():
    rng = np.random.default_rng(0)
    targets = rng.random((200, 100)) < 0.05
    scores = (rng.normal(size=targets.shape) + targets).astype(np.float32)
    rounded = torch.from_numpy(scores).to(torch.bfloat16).float()
    assert abs(au_prc(rounded, targets) - au_prc(scores, targets)) > 1e-4


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (
            np.array([[0.1, np.nan]]),
            np.eye(2)[:1],
            r"`scores` should not hold NaN. Found 1, the first at \[0, 1\]",
        ),
        (
            np.ones((2, 3)),
            np.ones((3, 2)),
            r"`targets` should have the shape of `scores`, \(2, 3\). Found \(3, 2\)",
        ),
        (np.ones(3), np.ones(3), r"`scores` should have two dimensions.*Found shape \(3,\)"),
        (np.ones((1, 2)), np.array([[0, 2]]), r"`targets` should be bool or hold only 0 and 1. Found 2"),
        (np.ones((1, 2)), np.array([[0, np.nan]]), r"hold only 0 and 1. Found nan"),
        (np.ones((1, 2), dtype=int), np.ones((1, 2)), r"`scores` should be float32 or float64. Found int64"),
    ],
)
def test_bad_input_is_named(scores, targets, message):
    for metric in (au_prc, average_precision, precision_at_1):
        with pytest.raises(ValueError, match=message):
            metric(scores, targets)


def test_bad_options_are_named():
    scores, targets = np.ones((2, 2)), np.eye(2)
    with pytest.raises(ValueError, match=r'`interpolation` should be "step" or "clus". Found \'linear\''):
        au_prc(scores, targets, interpolation="linear")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r'`absent` should be "skip" or "zero". Found \'one\''):
        mean_average_precision(scores, targets, absent="one")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"`train_counts` should not be negative. Found -3"):
        head_medium_tail(np.array([4, -3]))
    with pytest.raises(ValueError, match=r"`train_counts` should be integers of shape \(C,\). Found float64"):
        head_medium_tail(np.array([4.0, 3.0]))


@pytest.mark.cuda
def test_cuda_tensors_give_the_same_result():
    rng = np.random.default_rng(2)
    scores, targets = rng.normal(size=(20, 5)), rng.random((20, 5)) < 0.3
    moved = all_metrics(torch.from_numpy(scores).to(DEVICE), torch.from_numpy(targets).to(DEVICE))
    np.testing.assert_array_equal(moved, all_metrics(scores, targets))
