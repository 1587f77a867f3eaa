"""The threshold against every cut tried with scikit-learn's F1."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from hmc_shared.predict.threshold import FEWEST_POSITIVES, best_threshold, thresholds_of_classes


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=12).filter(
        lambda cells: any(positive for _, positive in cells)
    )
)
def test_no_other_threshold_has_a_better_micro_f1(cells):
    scores = np.array([[score / 2] for score, _ in cells])
    targets = np.array([[positive] for _, positive in cells])
    best = max(f1_score(targets.ravel(), scores.ravel() >= cut) for cut in np.unique(scores))
    threshold = best_threshold(scores, targets)
    assert f1_score(targets.ravel(), scores.ravel() >= threshold) == best


def test_it_lies_halfway_to_the_next_lower_score():
    scores, targets = np.array([[3.0], [2.0], [-1.0]]), np.array([[True], [True], [False]])
    assert best_threshold(scores, targets) == 0.5
    assert best_threshold(scores[:2], targets[:2]) == 2.0  # there is none


def test_it_tells_neighbouring_float32_apart():
    above = np.nextafter(np.float32(1), np.float32(2))
    scores = np.array([[above, 1]], dtype=np.float32)
    assert ((scores >= best_threshold(scores, np.array([[1, 0]]))) == [[True, False]]).all()


def test_without_positives_it_is_0():
    assert best_threshold(np.ones((2, 2)), np.zeros((2, 2))) == 0.0


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_no_other_threshold_of_a_class_has_a_better_f1(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(-4, 5, (20, 4)).astype(np.float32)
    targets, known = rng.random((20, 4)) < 0.4, rng.random((20, 4)) < 0.8
    chosen = thresholds_of_classes(scores, targets, known)
    pooled = best_threshold(scores[known], targets[known])
    for node, threshold in enumerate(chosen):
        of_class, true = scores[known[:, node], node], targets[known[:, node], node]
        if true.sum() < FEWEST_POSITIVES:
            assert threshold == pooled
            continue
        best = max(f1_score(true, of_class >= cut) for cut in np.unique(of_class))
        assert f1_score(true, of_class >= threshold) == best


def test_a_class_of_few_positives_has_the_threshold_of_all():
    scores = np.stack([np.arange(10.0), np.arange(10.0)], axis=1)
    targets = np.stack([scores[:, 0] >= 5, scores[:, 1] >= 6], axis=1)  # 5 and 4 positives
    known = np.ones((10, 2), dtype=bool)
    assert thresholds_of_classes(scores, targets, known) == (4.5, 4.5)
    targets[:, 1] = scores[:, 1] >= 3
    assert thresholds_of_classes(scores, targets, known) == (4.5, 2.5)
