"""Acceptance tests of the scikit-learn estimator of a method, for pytest.

Subclass :class:`EstimatorContract` in a test file of the package, as
:class:`hmc_shared.testing.MethodContract`. Needs pytest, which is not a dependency of this package.
"""

from __future__ import annotations

import pickle
import random
from dataclasses import MISSING, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import scipy.sparse
import torch
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.metrics import accuracy_score, average_precision_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from hmc_shared.estimator.base import HierarchicalClassifier
from hmc_shared.hierarchy import Hierarchy

NOT_KEPT = {
    "check_sample_weight_equivalence_on_dense_data": "rows of weight 2 are not two rows: batches, and the "
    "rows drawn for validation, are others",
    "check_sample_weight_equivalence_on_sparse_data": "the same",
    "check_classifier_multioutput": "wants indicators at probability 1/2; their threshold is chosen",
}
"""Checks of scikit-learn that do not apply to a training by gradients with a validation split."""

RAISE: Any = "raise"
PATHS = np.array([["animal", "cat"], ["animal", "dog"], ["plant", ""]])


class Data(NamedTuple):
    """Sixty rows of three kinds, in all spellings; ``kind`` (60,) says which."""

    X: np.ndarray
    kind: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        return np.array(["cat", "dog", "plant"])[self.kind]

    @property
    def levels(self) -> np.ndarray:
        return PATHS[self.kind]

    @property
    def indicators(self) -> np.ndarray:
        """Of three classes without a hierarchy."""
        return np.eye(3, dtype=int)[self.kind]


class EstimatorContract:
    """The tests; of a subclass pytest runs them all."""

    estimator: ClassVar[type[HierarchicalClassifier]]
    parameters: ClassVar[dict[str, Any]]
    """With which a fit takes a fraction of a second, and tells the three kinds apart."""
    not_kept: ClassVar[dict[str, str]] = NOT_KEPT
    """Checks of scikit-learn that do not apply, and why."""

    own_defaults: ClassVar[set[str]] = {"encoder"}
    """Parameters with another default than the option has."""

    @classmethod
    def make(cls, **parameters: Any) -> HierarchicalClassifier:
        return cls.estimator(**{**cls.parameters, **parameters})

    @classmethod
    def quick(cls, **parameters: Any) -> HierarchicalClassifier:
        """For what does not depend on what is learned."""
        stages = {name: 1 for name in cls.parameters if name.endswith("epochs")}
        return cls.make(**{**stages, **parameters})

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls) -> Data:
        """Clusters of vectors; or, where only images are taken, noise with a bright part for each kind."""
        rng = np.random.default_rng(0)
        kind = rng.permutation(np.arange(60) % 3)
        if cls.estimator.takes_vectors:
            return Data((np.eye(3)[kind] * 4 + rng.normal(size=(60, 3))).astype(np.float32), kind)
        images = rng.integers(30, size=(60, 8, 8), dtype=np.uint8)
        for image, part in zip(images, kind, strict=True):
            image[3 * part : 3 * part + 2] += 220
        return Data(images, kind)

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, data: Data) -> HierarchicalClassifier:
        return cls.make().fit(data.X, data.levels)

    def test_the_checks_of_scikit_learn(self) -> None:
        if not self.estimator.takes_vectors:
            pytest.skip("the checks of scikit-learn give no images")
        check_estimator(self.make(), expected_failed_checks=self.not_kept, on_skip=None)

    def test_parameters_have_the_defaults_of_the_options(self) -> None:
        parameters = self.estimator().get_params()
        options = {f.name: f for f in fields(self.estimator.trainer.config)}
        assert len(parameters.keys() & options.keys()) > 15
        for name in parameters.keys() & options.keys() - self.own_defaults:
            option = options[name]
            default = option.default if option.default is not MISSING else tuple(option.default_factory())  # type: ignore[misc]
            assert parameters[name] == default

    def test_levels_in_levels_out(self, data: Data, fitted: HierarchicalClassifier) -> None:
        predicted = fitted.predict(data.X)
        assert predicted.dtype.kind == "U"
        assert {*map(tuple, predicted.tolist())} <= {*map(tuple, PATHS.tolist())}
        right = (predicted == data.levels).all(1)
        assert right.mean() > 0.8
        weights = np.arange(1.0, 61.0)
        assert fitted.score(data.X, data.levels) == pytest.approx(right.mean())
        assert fitted.score(data.X, data.levels, weights) == pytest.approx(np.average(right, weights=weights))
        parents, children = fitted.hierarchy_.edges.unbind(1)
        probabilities = fitted.predict_proba(data.X)
        assert probabilities.shape == (60, len(fitted.classes_)) == (60, 4)
        assert (probabilities[:, children] <= probabilities[:, parents]).all()

    def test_labels_in_labels_out(self, data: Data) -> None:
        model = self.make().fit(data.X, data.labels)
        assert model.classes_.tolist() == ["cat", "dog", "plant"]
        probabilities, predicted = model.predict_proba(data.X), model.predict(data.X)
        np.testing.assert_allclose(probabilities.sum(1), 1)
        assert np.array_equal(predicted, model.classes_[probabilities.argmax(1)])
        assert model.score(data.X, data.labels) == (predicted == data.labels).mean() > 0.8

    def test_names_of_a_hierarchy_in_names_out(self, data: Data) -> None:
        tree = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant"])
        y = np.array(["animal/cat", "animal/dog", "plant"])[data.kind]
        model = self.make(hierarchy=tree).fit(data.X, y)
        assert model.classes_.tolist() == list(tree.names)
        assert model.score(data.X, y) == (model.predict(data.X) == y).mean() > 0.8

    def test_indicators_are_scored_by_the_figure_of_the_package(self, data: Data) -> None:
        tree = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant"])
        places = [tree.index[name] for name in ("animal/cat", "animal/dog", "plant")]
        y = np.eye(4, dtype=int)[np.array(places)[data.kind]]
        closed, weights = tree.add_ancestors(y), np.arange(60.0)
        model = self.make(hierarchy=tree).fit(data.X, y)
        assert tree.has_ancestors(model.predict(data.X))
        if self.estimator.average is None:
            expected = accuracy_score(closed, model.predict(data.X), sample_weight=weights)
        else:
            probabilities = model.predict_proba(data.X)
            average = self.estimator.average
            expected = average_precision_score(closed, probabilities, average=average, sample_weight=weights)
        assert model.score(data.X, y, weights) == pytest.approx(expected)
        assert model.score(data.X, scipy.sparse.csr_array(y), weights) == pytest.approx(expected)
        assert np.isfinite(model.score(data.X[:1], y[:1]))  # most classes have no positive

    def test_cross_validation_has_figures_and_grids_are_searched(self, data: Data) -> None:
        for y in (data.labels, data.levels, data.indicators):
            scores = cross_val_score(self.quick(), data.X, y, cv=2, error_score=RAISE)
            assert ((scores >= 0) & (scores <= 1)).all()  # NaN is neither
        search = GridSearchCV(self.quick(), {"epochs": [1, np.int64(2)]}, cv=2, error_score=RAISE)
        assert search.fit(data.X, data.levels).best_params_["epochs"] in (1, 2)

    def test_out_of_bounds_is_refused_by_fit_in_the_names_of_parameters(self, data: Data) -> None:
        for parameters, message in [
            ({"epochs": 0}, r"`epochs` should be at least 1\. Found 0"),
            ({"learning_rate": -1.0}, r"`learning_rate` should be finite and not negative"),
            ({"protocol": "atlantis"}, r"`protocol` should be one of default"),
            ({"random_state": -1}, r"`random_state` should lie in \[0, 4294967295\]\. Found -1\."),
            ({"random_state": 2**40}, r"`random_state` should lie in .* Found 1099511627776\."),
            ({"options": {"epochs": 3}}, r"`epochs` should be a parameter of its own"),
            ({"options": {"epoch": 3}}, r"`options` should be some of .*output_dir.*Found 'epoch'"),
            ({"options": {"dataset": "digits"}}, r"`options` should be some of .*Found 'dataset'"),
        ]:
            model = self.quick(**parameters)  # not here
            with pytest.raises(ValueError, match=message):
                model.fit(data.X, data.labels)
        for parameters, message in [
            ({"hierarchy": {"animal": "cat"}}, r"`hierarchy` should be a Hierarchy.* Found \{'animal'"),
            ({"options": ["compile"]}, r"`options` should be a dictionary or None\. Found \['compile'\]"),
        ]:
            with pytest.raises(TypeError, match=message):
                self.quick(**parameters).fit(data.X, data.labels)
        with pytest.raises(ValueError, match=r"same number of rows\. Found 60 and 59"):
            self.quick().fit(data.X, data.labels[1:])
        with pytest.raises(ValueError, match="`y` should "):
            self.quick().fit(data.X, np.zeros((60, 3)))

    def test_a_training_that_diverges_is_told_with_its_remedy(self, data: Data) -> None:
        with pytest.raises(FloatingPointError, match=r"Try a lower learning_rate, clip_norm 1"):
            self.quick(learning_rate=1e38, batch_size=60).fit(data.X, data.labels)  # after the only step

    def test_what_is_not_scored_is_refused(self, data: Data, fitted: HierarchicalClassifier) -> None:
        for y, weights, message in [
            (data.levels[1:], None, r"inconsistent numbers of samples: \[60, 59\]"),
            (data.levels, -np.ones(60), r"`sample_weight` should not be negative\. Found -1"),
            (data.levels, np.zeros(60), r"`sample_weight` should not be zero for all rows"),
            (data.levels, [1], r"`sample_weight` should have shape \(60,\)\. Found \(1,\)"),
        ]:
            with pytest.raises(ValueError, match=message):
                fitted.score(data.X, y, weights)

    def test_it_is_quiet_unless_told_otherwise(self, data: Data, capfd: pytest.CaptureFixture[str]) -> None:
        self.quick().fit(data.X, data.labels)
        assert capfd.readouterr() == ("", "")
        self.quick(verbose=1).fit(data.X, data.labels)
        assert "epoch 1 of" in capfd.readouterr().err

    def test_random_numbers_of_others_are_left_alone(self, data: Data) -> None:
        def drawn() -> list[float]:
            return [random.random(), np.random.random(), torch.rand(1).item()]

        def seed() -> None:
            for one in (random.seed, np.random.seed, torch.manual_seed):
                one(1)

        seed()
        expected = drawn()
        seed()
        self.quick().fit(data.X, data.labels)
        assert drawn() == expected

    def test_random_state_decides(self, data: Data) -> None:
        def probabilities(random_state: Any) -> np.ndarray:
            return self.quick(random_state=random_state).fit(data.X, data.labels).predict_proba(data.X)

        first = probabilities(np.int64(3))
        assert np.array_equal(first, probabilities(3))
        assert not np.array_equal(first, probabilities(4))
        states = [np.random.RandomState(5) for _ in range(2)]
        assert np.array_equal(probabilities(states[0]), probabilities(states[1]))

    def test_fits_in_threads_are_those_of_one_after_the_other(self, data: Data) -> None:
        def fit(seed: int) -> np.ndarray:
            return self.quick(random_state=seed).fit(data.X, data.labels).predict_proba(data.X)

        together: Any = Parallel(2, prefer="threads")(delayed(fit)(seed) for seed in (0, 1))
        assert all(np.array_equal(fit(seed), found) for seed, found in enumerate(together))

    def test_it_is_cloned_pickled_and_saved(
        self, data: Data, fitted: HierarchicalClassifier, tmp_path: Any
    ) -> None:
        expected = fitted.predict_proba(data.X)
        assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(data.X), expected)
        again: Any = clone(fitted)
        assert np.array_equal(again.fit(data.X, data.levels).predict_proba(data.X), expected)
        fitted.model_.save_pretrained(tmp_path)
        loaded = self.estimator.trainer.load_model(tmp_path)
        inputs = fitted._read(data.X)  # pyright: ignore[reportPrivateUsage]
        assert np.array_equal(loaded.predict_proba(inputs).numpy(), expected)

    def test_rows_of_weight_0_are_not_there_and_equal_weights_change_nothing(self, data: Data) -> None:
        weights = np.where(np.arange(60) % 4, 2.0, 0.0)
        counts = weights > 0
        weighted = self.quick().fit(data.X, data.labels, sample_weight=weights)
        fewer = self.quick().fit(data.X[counts], data.labels[counts])
        np.testing.assert_allclose(
            weighted.predict_proba(data.X), fewer.predict_proba(data.X), rtol=1e-4, atol=1e-6
        )

    def test_where_labels_differ_the_weight_decides(self, data: Data) -> None:
        """The same sixty rows twice, with two labels: "many" is what weighs more."""
        X = np.concatenate([data.X, data.X])
        y = np.repeat(["few", "many"], 60)
        for heavy, label in enumerate(("few", "many")):
            weights = np.where(np.arange(120) // 60 == heavy, 20.0, 1.0)
            predicted = self.make().fit(X, y, sample_weight=weights).predict(data.X)
            assert (predicted == label).mean() > 0.9
