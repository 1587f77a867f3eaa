"""The scikit-learn estimator."""

from typing import ClassVar

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hcal import HCALClassifier
from hmc_shared import Hierarchy
from hmc_shared.testing_estimators import NOT_KEPT, EstimatorContract

TREE = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant"])


class TestContract(EstimatorContract):
    estimator = HCALClassifier
    parameters: ClassVar = {
        **{"optimizer": "adam", "learning_rate": 0.02, "prototype_learning_rate": 0.02},
        **{"epochs": 8, "batch_size": 16, "width": 16, "dim": 8},
    }
    own_defaults: ClassVar = {"encoder", "decode"}
    not_kept: ClassVar = NOT_KEPT | {"check_classifier_multioutput": "gives rows several classes of a level"}


def test_images_are_taken_too():
    digits = load_digits(n_class=3)
    X, y = (digits.images * 15).astype(np.uint8), np.array(["zero", "one", "two"])[digits.target]
    model = HCALClassifier(
        encoder="resnet8", width=8, dim=16, epochs=15, flip=False, options={"crop_padding": 1}
    )
    model.fit(X[:200], y[:200])
    assert model.score(X[200:], y[200:]) > 0.8
    assert model.n_features_in_ == 64
    with pytest.raises(ValueError, match=r"\(n, 1, 8, 8\)"):
        model.predict(X[:, :4])


@pytest.mark.parametrize("decode", ["independent", "path", "leaf"])
def test_predictions_are_decoded_as_the_command_does(decode):
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=60)
    X = np.eye(3)[kind] + rng.normal(size=(60, 3))
    y = np.array([["animal", "cat"], ["animal", "dog"], ["plant", "oak"]])[kind]
    model = HCALClassifier(epochs=2, width=16, dim=8, decode=decode).fit(X, y)
    labels = model.model_.predict(X.astype(np.float32)).numpy()
    assert model.model_.decode == decode
    expected = [[model.classes_[node] for node in row.nonzero()[0]] for row in labels]
    assert model.predict(X).tolist() == expected


def test_a_method_without_weights_refuses_them_by_name():
    with pytest.raises(ValueError, match=r"`sample_weight` should be left out with the method cmt"):
        HCALClassifier(method="cmt").fit(np.zeros((4, 2)), ["a", "b"] * 2, sample_weight=np.ones(4))


@pytest.mark.parametrize(
    ("hierarchy", "y", "message"),
    [
        (TREE, np.array([[1, 0, 1, 0], [1, 1, 1, 0]]), "one path of classes. Found several .* in row 1"),
        (TREE, np.array([[0, 0, 0, 0], [0, 1, 0, 0]]), "one path of classes. Found none in row 0"),
        (Hierarchy.from_parents({"a": None, "b": None, "c": ["a", "b"]}), np.eye(3), "two parents"),
    ],
    ids=["several", "none", "graph"],
)
def test_what_has_no_path_is_refused(hierarchy, y, message):
    with pytest.raises(ValueError, match=message):
        HCALClassifier(hierarchy).fit(np.zeros((len(y), 2)), y)
