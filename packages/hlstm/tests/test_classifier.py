"""The scikit-learn estimator."""

from typing import ClassVar

import numpy as np
import pandas  # comes with datasets
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.model_selection import cross_val_predict, cross_val_score

from hlstm import HLSTMClassifier
from hlstm.build import load_model
from hmc_shared import Hierarchy
from hmc_shared.testing_estimators import EstimatorContract

TREE = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant"])
QUICK = {
    "epochs": 25,
    "batch_size": 16,
    "hidden_size": 16,
    "num_layers": 1,
    "dropout": 0.0,
    "learning_rate": 0.02,
}


class TestContract(EstimatorContract):
    estimator = HLSTMClassifier
    parameters: ClassVar = {**QUICK, "epochs": 12, "batch_size": 32}


@pytest.fixture(scope="module")
def blobs():
    """Three clusters, one for each most specific class, with some values missing."""
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=150)
    X = np.eye(3)[kind] * 8 + rng.normal(size=(150, 3))
    X[rng.random(X.shape) < 0.02] = np.nan
    paths = [[["animal", "cat"], ["animal", "dog"], ["plant", None]][k] for k in kind]
    y = np.zeros((150, 4), dtype=int)
    y[
        np.arange(150), [TREE.index[name] for name in np.array(["animal/cat", "animal/dog", "plant"])[kind]]
    ] = 1
    return X, y, paths


def test_indicators_in_closed_indicators_out(blobs):
    X, y, _ = blobs
    model = HLSTMClassifier(TREE, **QUICK).fit(X[:100], y[:100])
    predicted = model.predict(X[100:])
    assert predicted.shape == (50, 4)
    assert TREE.has_ancestors(predicted)
    assert (predicted == TREE.add_ancestors(y[100:])).all(1).mean() > 0.9
    assert predicted.any(1).all()  # each row has one path, so each gets one
    assert model.classes_.tolist() == list(TREE.names)


def test_classes_that_are_never_probable_are_found_at_the_threshold_of_validation():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    y = rng.random((200, 4)) < [0.0, 0.15, 0.15, 0.3]
    model = HLSTMClassifier(TREE, **QUICK).fit(X, y)
    assert (model.predict_proba(X) < 0.5).mean() > 0.9
    assert model.predict(X).any(1).mean() > 0.5


def test_level_matrix_in_paths_out(blobs):
    X, _, paths = blobs
    predicted = HLSTMClassifier(**QUICK).fit(X[:100], paths[:100]).predict(X[100:])
    right = [list(path) == expected for path, expected in zip(predicted, paths[100:], strict=True)]
    assert np.mean(right) > 0.9


@pytest.mark.parametrize("gap", [None, "", np.nan])
def test_a_level_matrix_may_be_an_array_with_any_gap(blobs, gap):
    X, _, paths = blobs
    quick = {**QUICK, "epochs": 1}
    expected = HLSTMClassifier(**quick).fit(X, paths).predict_proba(X)
    matrix = np.array([[top, leaf or gap] for top, leaf in paths], dtype=object)
    for y in (matrix, pandas.DataFrame(matrix)):
        assert np.array_equal(HLSTMClassifier(**quick).fit(X, y).predict_proba(X), expected)


def test_the_run_folder_may_be_kept(blobs, tmp_path):
    X, y, _ = blobs
    options = {"output_dir": str(tmp_path / "run")}
    model = HLSTMClassifier(TREE, **QUICK | {"epochs": 1}, options=options).fit(X, y)
    kept = load_model(tmp_path / "run" / "model").predict_proba(X)
    assert np.array_equal(model.predict_proba(X), kept.numpy())


def test_options_may_be_numbers_of_numpy(blobs):
    """As a search over parameters draws them."""
    X, y, _ = blobs
    drawn = {**QUICK, "epochs": np.int64(1), "learning_rate": np.float64(0.02)}
    plain = HLSTMClassifier(TREE, **{**QUICK, "epochs": 1}, random_state=3).fit(X, y)
    fitted = HLSTMClassifier(TREE, **drawn, random_state=np.int64(3)).fit(X, y)
    assert np.array_equal(fitted.predict_proba(X), plain.predict_proba(X))


def test_it_is_an_estimator(blobs):
    X, y, _ = blobs
    model = HLSTMClassifier(TREE, **QUICK, random_state=3)
    assert clone(model).get_params() == model.get_params()
    held_out = cross_val_predict(model, X, TREE.add_ancestors(y), cv=2, method="predict")
    assert held_out.shape == (150, 4)
    first, second = (clone(model).fit(X, y).predict_proba(X) for _ in range(2))
    assert np.array_equal(first, second)


def test_what_does_not_fit_is_refused(blobs):
    X, y, _ = blobs
    with pytest.raises(ValueError, match="same number of rows"):
        HLSTMClassifier(TREE).fit(X, y[:-1])
    with pytest.raises(ValueError, match=r"\(n, 4\)"):
        HLSTMClassifier(TREE).fit(X, y[:, :2])
    with pytest.raises(ValueError, match="`method` should be one of hlstm, chmcnn"):
        HLSTMClassifier(TREE, method="atlantis").fit(X, y)
    with pytest.raises(ValueError, match="features"):
        HLSTMClassifier(TREE, **QUICK).fit(X, y).predict(X[:, :2])


def test_a_forest_is_weighted_too(blobs):
    X = blobs[0]
    X, y = np.concatenate([X, X]), np.repeat(["few", "many"], 150)
    forest = {"method": "clus-ens", "trees": 2}
    for heavy, label in enumerate(("few", "many")):
        weights = np.where(np.arange(300) // 150 == heavy, 20.0, 1.0)
        predicted = HLSTMClassifier(**forest).fit(X, y, sample_weight=weights).predict(X)
        assert (predicted == label).mean() > 0.9


def test_features_may_be_sparse_or_have_names(blobs):
    X, _, paths = blobs
    X, quick = np.nan_to_num(X), {**QUICK, "epochs": 1}
    model = HLSTMClassifier(**quick).fit(pandas.DataFrame(X, columns=["x", "y", "z"]), paths)
    assert model.feature_names_in_.tolist() == ["x", "y", "z"]
    assert model.model_.decision.features == ("x", "y", "z")  # `hlstm predict` finds the columns of a table
    sparse = HLSTMClassifier(**quick).fit(scipy.sparse.csr_array(X), paths)
    assert np.array_equal(
        sparse.predict_proba(scipy.sparse.dok_array(X)),
        model.predict_proba(pandas.DataFrame(X, columns=["x", "y", "z"])),
    )


@pytest.mark.slow
def test_folds_in_processes_score_as_those_of_one_after_the_other(blobs):
    X, y, _ = blobs
    model = HLSTMClassifier(TREE, **QUICK | {"epochs": 2})
    alone, together = (
        cross_val_score(model, X[:60], y[:60], cv=2, n_jobs=jobs, error_score="raise") for jobs in (1, 2)
    )
    assert alone.tolist() == together.tolist()
