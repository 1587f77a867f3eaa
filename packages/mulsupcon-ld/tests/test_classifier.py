"""The scikit-learn estimator."""

from typing import ClassVar

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import f1_score
from sklearn.model_selection import cross_val_score

from hmc_shared import Hierarchy
from hmc_shared.testing_estimators import NOT_KEPT, EstimatorContract
from mulsupcon_ld import MulSupConClassifier

TREE = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant"])
QUICK = {"pretrain_epochs": 2, "epochs": 10, "batch_size": 32, "width": 32, "dim": 16, "queue_size": 64}
QUICK |= {"learning_rate": 5e-3, "finetune_mask": 0.1}


class TestContract(EstimatorContract):
    estimator = MulSupConClassifier
    parameters: ClassVar = {
        **QUICK,
        "pretrain_epochs": 1,
        "width": 16,
        "dim": 8,
        "queue_size": 8,
        "learning_rate": 0.01,
    }
    not_kept: ClassVar = {
        **NOT_KEPT,
        "check_methods_sample_order_invariance": "float32: the last digit depends on the place in a batch",
        "check_methods_subset_invariance": "the same",
    }


@pytest.fixture(scope="module")
def blobs():
    """Each of three labels, of which a sample may have any, shifts two features; some values are missing."""
    rng = np.random.default_rng(0)
    y = (rng.random((300, 3)) < 0.4).astype(int)
    X = np.repeat(y, 2, axis=1) * 8 + rng.normal(size=(300, 6))
    X[rng.random(X.shape) < 0.02] = np.nan
    return X, y


@pytest.fixture(scope="module")
def fitted(blobs):
    X, y = blobs
    return MulSupConClassifier(**QUICK).fit(X[:200], y[:200])


def test_indicators_in_indicators_out(blobs, fitted):
    X, y = blobs
    predicted = fitted.predict(X[200:])
    assert predicted.shape == (100, 3)
    assert f1_score(y[200:], predicted, average="micro") > 0.95
    rows = X[200:].astype(np.float32)
    scores = fitted.model_.logits_of(rows).numpy()
    assert ((scores >= fitted.model_.decision.threshold) == predicted).all()
    assert np.array_equal(fitted.predict_proba(X[200:]), fitted.model_.predict_proba(rows).numpy())
    assert np.array_equal(np.concatenate([fitted.predict(row[None]) for row in X[200:]]), predicted)
    assert fitted.classes_.tolist() == [0, 1, 2]


def test_the_threshold_is_the_best_one_of_the_drawn_rows(blobs, fitted):
    X, y = blobs
    drawn = np.array([int(name) for name in drawn_rows(X[:200], y[:200])])
    scores = fitted.model_.logits_of(X[drawn]).numpy()
    tried = [f1_score(y[drawn], scores >= threshold, average="micro") for threshold in np.unique(scores)]
    assert f1_score(y[drawn], fitted.predict(X[drawn]), average="micro") == max(tried)


def drawn_rows(X, y):
    from hmc_shared.data.in_memory import from_arrays

    flat = Hierarchy.from_edges([], nodes=["0", "1", "2"])
    return from_arrays(X, y.astype(bool), flat, seed=0).validation.ids


def test_a_hierarchy_closes_labels_and_orders_probabilities(blobs):
    X, y = blobs
    leaves = np.zeros((300, 4), dtype=int)
    leaves[:, [TREE.index[name] for name in ("animal/cat", "animal/dog", "plant")]] = y
    model = MulSupConClassifier(TREE, loss="bce", **QUICK | {"epochs": 20}).fit(X[:200], leaves[:200])
    predicted = model.predict(X[200:])
    assert TREE.has_ancestors(predicted)
    assert f1_score(TREE.add_ancestors(leaves[200:]), predicted, average="micro") > 0.9
    assert model.classes_.tolist() == list(TREE.names)
    parents, children = TREE.edges.unbind(1)
    probabilities = model.predict_proba(X[200:])
    assert (probabilities[:, children] <= probabilities[:, parents]).all()


def test_it_is_an_estimator(blobs):
    X, y = blobs
    model = MulSupConClassifier(**QUICK, loss="mulsupcon", random_state=3)
    assert clone(model).get_params() == model.get_params()
    for scoring in ("f1_macro", "average_precision"):
        assert (cross_val_score(model, X, y, cv=2, scoring=scoring) > 0.9).all()
    first, second = (clone(model).fit(X, y).predict_proba(X) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.ones((299, 3)), "same number of rows"),
        (None, "requires y to be passed"),
        (np.full((300, 3), 0.5), r"`y` should hold labels, texts or integers\. Found 0\.5 in row 0"),
    ],
    ids=["rows", "none", "continuous"],
)
def test_what_is_no_indicator_is_refused(blobs, y, message):
    with pytest.raises(ValueError, match=message):
        MulSupConClassifier().fit(blobs[0], y)


def test_what_does_not_fit_is_refused(blobs, fitted):
    X, y = blobs
    with pytest.raises(ValueError, match=r"\(n, 4\)"):
        MulSupConClassifier(TREE).fit(X, y)
    with pytest.raises(ValueError, match="features"):
        fitted.predict(X[:, :2])
    with pytest.raises(ValueError, match="`dim` should be at least 1"):
        MulSupConClassifier(dim=0).fit(X, y)
