"""The threshold against every cut tried with scikit-learn's F1."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from hmc_shared.predict.threshold import best_threshold


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
