"""The base of the scikit-learn estimators: arrays in, a training by the package's own loop, answers out."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score, average_precision_score
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from hmc_shared.data.in_memory import from_arrays
from hmc_shared.estimator.inputs import column_of_words, is_images, read_images, read_weights
from hmc_shared.estimator.targets import Indicators, Labels, Levels, level_paths, read_targets
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import QUIET, listed, shown
from hmc_shared.model import HierarchicalModel

OF_COMMANDS = (
    *("dataset", "data_dir", "levels", "features", "drop", "categorical", "evidence", "set_aside"),
    *("config", "seed", "test", "dry_run", "log_with", "on_error"),
)
"""Options of trainings that mean nothing for arrays, or have a parameter of another name."""
ONE_AT_A_TIME = Lock()
"""Trainings of one process take turns: torch has one random state for all threads."""


class Trainer(NamedTuple):
    """What a package trains with."""

    config: type
    train: Callable[..., Any]
    load_model: Callable[[Path], HierarchicalModel]


class HierarchicalClassifier(ClassifierMixin, BaseEstimator):
    """``fit``, ``predict``, ``predict_proba`` and ``score`` by the training loop of a package.

    A tenth of the rows is drawn for validation, stratified, and chooses the epoch and what else the command
    ``train`` chooses there. Features may hold NaN for missing values; they are standardised inside. What is
    random comes from ``random_state`` alone, and the random states of the process are left as they were.

    A class of a package says its parameters in ``__init__``: ``hierarchy``, ``options``, ``random_state`` and
    ``verbose``, and, under the same names and with the same bounds, fields of its ``Config``.

    Attributes:
        classes_: (C,) what the columns of ``predict_proba`` are: sorted labels where ``y`` is one-dimensional
            without a hierarchy; names of columns, or their numbers, for indicators without one; else names of
            the hierarchy, parents before children.
        hierarchy_: the classes; without edges where ``y`` has no levels.
        model_: the trained model; ``model_.save_pretrained(folder)`` writes what ``load_model`` reads.
        n_features_in_, feature_names_in_: as scikit-learn has them; of images, numbers in one.
    """

    trainer: ClassVar[Trainer]
    takes_vectors: ClassVar[bool] = True
    takes_images: ClassVar[bool] = True
    average: ClassVar[Literal["micro", "macro"] | None]
    """How :meth:`score` averages precisions of indicators; None: it is the share of rows that are right."""

    hierarchy: Any
    options: dict[str, Any] | None
    random_state: Any
    verbose: int

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = tags.classifier_tags.multi_label = True
        tags.input_tags.allow_nan = tags.input_tags.sparse = self.takes_vectors
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = self.takes_vectors, self.takes_images
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train.

        Args:
            X: (n, F) features, NaN where missing, perhaps a DataFrame or sparse (made dense); for methods of
                images (n, height, width, 3) uint8, or (n, height, width) of grey ones. n is 2 at least.
            y: one of three. (n,) labels; with a ``hierarchy`` names of its classes, each the most specific
                one of its row. (n, levels) labels, coarse to fine, if there is no ``hierarchy``: a path that
                ends early is a shorter list, or filled up with "", None, NaN or pandas' NA. (n, C) indicators
                of 0 and 1, perhaps sparse, to which ancestors are added; several columns of 0 and 1 alone are
                always that. Columns of a DataFrame that have names are told apart by them.
            sample_weight: (n,) how much each row counts in the loss. Rows of weight 0 are left out; among the
                rows for validation all others count alike.

        Raises ValueError, in the names of parameters, for values out of bounds, shapes that do not fit, and
        what ``y`` should not hold; FloatingPointError for a training that diverges.
        """
        if not isinstance(self.hierarchy, Hierarchy | None):
            raise TypeError(
                "`hierarchy` should be a Hierarchy, as Hierarchy.from_edges(...) makes one, or None. Found "
                f"{shown(self.hierarchy)}."
            )
        inputs = self._read(X, reset=True)
        self.spelling_, targets = read_targets(y, self.hierarchy)
        if len(inputs) != len(targets):
            raise ValueError(
                f"`X` and `y` should have the same number of rows. Found {len(inputs)} and {len(targets)}."
            )
        self.hierarchy_, self.classes_ = self.spelling_.hierarchy, self.spelling_.classes
        self._check_targets(targets)
        weights = None
        if sample_weight is not None:
            weights = read_weights(sample_weight, len(inputs))
            counts = weights > 0
            inputs, targets, weights = inputs[counts], targets[counts], weights[counts]
            weights = weights / weights.mean()
        if not targets.any():
            raise ValueError("`y` should hold labels. Found none.")
        self.model_ = self._train(inputs, targets, weights)
        return self

    def predict(self, X: Any) -> Any:
        """Classes as ``y`` was given: (n,) labels, (n, levels) labels, or (n, C) indicators with ancestors.

        They are those that the command ``predict`` gives: where rows have one path, the most probable leaf
        and what is above it; else the classes at the threshold that was best in validation. Labels of levels
        have None below the end of a path, or "" where ``y`` had that.
        """
        inputs = self._read(X)
        return self.spelling_.answer(self.model_.predict(inputs).numpy())

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, C) calibrated probabilities in the order of ``classes_``; no class exceeds its parent.

        Where ``y`` was one-dimensional without a hierarchy, rows are divided by their sums, so that they add
        up to 1.
        """
        inputs = self._read(X)
        probabilities = self.model_.predict_proba(inputs).numpy()
        if isinstance(self.spelling_, Labels) and self.hierarchy_.num_levels == 1:
            shares = probabilities.astype(np.float64) + np.finfo(np.float64).tiny
            return shares / shares.sum(1, keepdims=True)
        return probabilities

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Labels: the share of rows that are right; of levels, whose whole path is right.

        Indicators: by the class. Micro-averaged average precision of ``predict_proba``, AU(PRC), over all
        rows and classes (hlstm); its mean over the classes that occur in ``y``, mAP (mulsupcon-ld, hp-dval);
        or the share of rows whose classes are all right (hcal). Ancestors count as classes.
        """
        check_is_fitted(self)
        check_consistent_length(X, y)
        if sample_weight is not None:
            rows = np.shape(X)[0] if issparse(X) else len(X)
            sample_weight = read_weights(sample_weight, rows, least=1)
        if isinstance(self.spelling_, Indicators):
            return self._score_indicators(X, self.spelling_.targets(y), sample_weight)
        if isinstance(self.spelling_, Levels):
            mine, theirs = level_paths(self.predict(X)), level_paths(y)
            right = [one == other for one, other in zip(mine, theirs, strict=True)]
            return float(np.average(right, weights=sample_weight))
        return float(accuracy_score(y, self.predict(X), sample_weight=sample_weight))

    def _score_indicators(self, X: Any, targets: np.ndarray, sample_weight: Any) -> float:
        if self.average is None:
            labels = self.model_.predict(self._read(X)).numpy()
            return float(accuracy_score(targets, labels, sample_weight=sample_weight))
        if self.average == "macro" and not targets.any():
            raise ValueError("`y` should hold labels: mAP is over the classes that occur. Found none.")
        counted = slice(None) if self.average == "micro" else targets.any(0)
        return float(
            average_precision_score(
                targets[:, counted],
                self.predict_proba(X)[:, counted],
                average=self.average,
                sample_weight=sample_weight,
            )
        )

    def _check_targets(self, targets: np.ndarray) -> None:
        """Raise ValueError for targets (n, C) that the method cannot take."""

    def _read(self, X: Any, *, reset: bool = False) -> np.ndarray:
        """Raw inputs as the model takes them; ``reset``: their shape is what later ones should have."""
        if not reset:
            check_is_fitted(self)
        if not self.takes_vectors or (self.takes_images and is_images(X)):
            images = read_images(X)
            if reset:
                if len(images) < 2:
                    raise ValueError(f"`X` should have two images at least. Found {len(images)}.")
                self.n_features_in_ = int(np.prod(images.shape[1:]))
            return images
        lengths: dict[str, Any] = {"ensure_min_samples": 2 if reset else 1, "ensure_all_finite": "allow-nan"}
        try:
            X = validate_data(self, X, reset=reset, accept_sparse="csr", dtype=np.float32, **lengths)
        except (TypeError, ValueError) as error:
            if found := column_of_words(X):
                raise ValueError(
                    f"`X` should hold numbers. Found {shown(found[1])} in column {found[0]!r}: make numbers "
                    "of it, as sklearn.preprocessing.OneHotEncoder does, or leave it out."
                ) from error
            raise
        return X.toarray() if issparse(X) else X

    def _train(
        self, inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None
    ) -> HierarchicalModel:
        names = getattr(self, "feature_names_in_", ())
        with tempfile.TemporaryDirectory() as folder, in_names_of_parameters():
            config = self._config(folder, are_vectors=inputs.ndim == 2)
            dataset = from_arrays(
                inputs, targets, self.hierarchy_, seed=config.seed, weights=weights, feature_names=names
            )
            with ONE_AT_A_TIME, random_states_kept(), quiet(not self.verbose):
                self.trainer.train(config, dataset)
                return self.trainer.load_model(config.run_folder / "model")

    def _config(self, folder: str, *, are_vectors: bool) -> Any:
        """The options of the training: parameters by the names of fields, and ``options``."""
        known = {option.name for option in fields(self.trainer.config)} - set(OF_COMMANDS)
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name in known}
        given: Any = self.options
        if not isinstance(given, Mapping | None):
            raise TypeError(f"`options` should be a dictionary or None. Found {shown(self.options)}.")
        further = dict(self.options or {})
        if twice := [name for name in further if name in parameters]:
            raise ValueError(f"`{twice[0]}` should be a parameter of its own. Found it in `options`.")
        if unknown := [name for name in further if name not in known]:
            names = listed(sorted(known - parameters.keys()), 99)
            raise ValueError(f"`options` should be some of {names}. Found {unknown[0]!r}.")
        if parameters.get("encoder", "") is None:
            parameters["encoder"] = "mlp" if are_vectors else "resnet18"
        if "output_dir" not in further:  # nobody will go on in a folder that is deleted
            further |= {"output_dir": folder, "checkpoint_every": 2**31, "checkpoint_minutes": 1e9} | further
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31)
        options = {name: plain(value) for name, value in (parameters | further).items()}
        return self.trainer.config(dataset="array", seed=int(seed), **options)


def plain(value: Any) -> Any:
    """A parameter as YAML can hold it: a number of Python for one of numpy, a list for a tuple."""
    if isinstance(value, np.generic):
        return value.item()
    return list(value) if isinstance(value, tuple) else value


@contextmanager
def in_names_of_parameters() -> Generator[None, None, None]:
    """Errors that name options as commands do, `--learning-rate`, name the parameters, `learning_rate`."""
    try:
        yield
    except (ValueError, FloatingPointError) as error:
        text = re.sub(r"--([a-z][a-z-]*[a-z])", lambda name: name[1].replace("-", "_"), str(error))
        kind = ValueError if isinstance(error, ValueError) else FloatingPointError
        raise kind(text.replace("`seed`", "`random_state`").replace("`dataset`", "`X`")) from error


@contextmanager
def random_states_kept() -> Generator[None, None, None]:
    """The random states of Python, numpy and torch are afterwards what they were before."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


@contextmanager
def quiet(silent: bool) -> Generator[None, None, None]:
    """Trainings of this thread show nothing."""
    token = QUIET.set(silent or QUIET.get())
    try:
        yield
    finally:
        QUIET.reset(token)
