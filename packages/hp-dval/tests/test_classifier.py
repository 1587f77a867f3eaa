"""The scikit-learn estimator, on images in memory."""

from typing import ClassVar

import numpy as np
import pytest

from hmc_shared import Hierarchy
from hmc_shared.testing_estimators import EstimatorContract
from hp_dval import HPDVALClassifier


class TestContract(EstimatorContract):
    estimator = HPDVALClassifier
    parameters: ClassVar = {
        **{"student": "small", "k": 4, "loss": "bce", "kd_weight": 0.0, "batch_size": 16},
        **{"learning_rate": 5e-3, "prompt_learning_rate": 0.02, "epochs": 8, "prompt_epochs": 1},
        "options": {"width": 24, "layers": 1, "heads": 2, "flip": False, "crop_padding": 0},
    }


def test_a_clip_may_be_random_and_coloured(clip_json):
    """A configuration without weights, and images of another size than it takes."""
    X = np.random.default_rng(0).integers(256, size=(12, 20, 20, 3), dtype=np.uint8)
    y = np.array([[1, 0, 1], [0, 1, 0]] * 6)
    model = HPDVALClassifier(clip=clip_json, k=4, epochs=1, prompt_epochs=1, batch_size=6).fit(X, y)
    assert model.predict_proba(X).shape == model.predict(X).shape == (12, 3)
    assert model.n_features_in_ == 20 * 20 * 3


def test_names_of_classes_are_read():
    X = np.random.default_rng(0).integers(256, size=(12, 8, 8), dtype=np.uint8)
    y = np.array([["animal", "wild_cat"], ["plant", "oak"]] * 6)
    model = HPDVALClassifier(k=4, method="zero-shot").fit(X, y)
    assert model.classes_.tolist() == ["animal", "plant", "wild_cat", "oak"]
    tree = Hierarchy.from_paths(["animal/wild_cat", "plant/oak"])
    spelled = np.array([f"{top}/{low}" for top, low in y])
    named = HPDVALClassifier(tree, k=4, method="zero-shot").fit(X, spelled)
    assert np.array_equal(named.predict_proba(X), model.predict_proba(X))


def test_images_that_do_not_suit_are_refused_in_words_of_x():
    X, y = np.zeros((12, 16, 24, 3), dtype=np.uint8), ["a", "b"] * 6
    with pytest.raises(ValueError, match=r"`X` should have square images\. Found 16x24"):
        HPDVALClassifier(k=4).fit(X, y)


def test_vectors_are_refused():
    with pytest.raises(ValueError, match=r"`X` should be images"):
        HPDVALClassifier().fit(np.zeros((4, 5)), ["a", "b", "a", "b"])
