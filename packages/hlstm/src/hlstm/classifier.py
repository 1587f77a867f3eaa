"""HLSTM as a scikit-learn estimator, for arrays in memory."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from hlstm.build import load_model
from hlstm.config import Config, MethodName
from hlstm.train import train
from hmc_shared import Hierarchy
from hmc_shared.data.vector_dataset import from_arrays
from hmc_shared.estimator import configured, indicators, level_labels, level_paths


class HLSTMClassifier(ClassifierMixin, BaseEstimator):
    """Hierarchical multi-label classifier with ``fit``, ``predict`` and ``predict_proba``.

    The loop is that of ``hlstm train``: a tenth of the rows is drawn for validation, stratified, and chooses
    the epoch. Features may hold NaN for missing values; they are standardised inside.

    Args:
        hierarchy: the C classes, or None if ``y`` of :meth:`fit` is a level matrix, which then defines it.
        method: "hlstm" or a baseline.
        options: further fields of :class:`hlstm.config.Config`, such as ``{"epochs": 30}``. The run folder is
            a temporary one unless ``output_dir`` is among them.
        random_state: seed.

    >>> X = np.array([[0.0], [0.1], [1.0], [1.1]] * 5)
    >>> y = [["animal", "cat"], ["animal", "cat"], ["plant", "oak"], ["plant", "oak"]] * 5
    >>> HLSTMClassifier(options={"epochs": 20}).fit(X, y).predict([[0.0], [1.0]]).tolist()
    [['animal', 'cat'], ['plant', 'oak']]
    """

    def __init__(
        self,
        hierarchy: Hierarchy | None = None,
        method: MethodName = "hlstm",
        options: dict[str, Any] | None = None,
        random_state: int = 0,
    ) -> None:
        self.hierarchy = hierarchy
        self.method = method
        self.options = options
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> HLSTMClassifier:
        """Train on X (n, F) and y: (n, C) 0/1 indicators, closed here, or (n, levels) labels.

        A path that ends early is a shorter list, or filled up with None, NaN, pandas' NA or "". Indicators
        may be sparse. Raises ValueError for shapes that do not fit, other values, naming row and value, a gap
        in a path, and fewer than two rows.
        """
        X = validate_data(self, X, dtype=np.float32, ensure_all_finite="allow-nan", ensure_min_samples=2)
        self.levels_ = level_labels(y) if self.hierarchy is None else None
        if self.levels_ is not None:
            self.hierarchy_, targets = self.levels_.hierarchy, self.levels_.targets
        else:
            assert self.hierarchy is not None
            self.hierarchy_ = self.hierarchy
            targets = self.hierarchy_.add_ancestors(indicators(y, self.hierarchy_.names))
        if len(X) != len(targets):
            raise ValueError(
                f"`X` and `y` should have the same number of rows. Found {len(X)} and {len(targets)}."
            )
        self.classes_ = np.asarray(self.hierarchy_.names)
        dataset = from_arrays(X, targets, self.hierarchy_, seed=self.random_state)
        with tempfile.TemporaryDirectory() as folder:
            options = {"method": self.method, "seed": self.random_state, **(self.options or {})}
            config = configured(Config(dataset="array", output_dir=folder), options)
            train(config, dataset)
            self.model_ = load_model(config.run_folder / "model")
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, C) calibrated probabilities in the order of ``classes_``; no class exceeds its parent."""
        return self.model_.predict_proba(self._checked(X)).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Classes as ``y`` was given: (n, C) indicators, ancestors included, or the best path as (n, levels).

        Indicators are decided as ``hlstm predict`` does: at the threshold that validation chose, or, where
        all rows have one path, by the most probable leaf. Labels that were integers stay integers. A path
        goes down from the best root to the best child each time, so it is always one of the tree.
        """
        if self.levels_ is None:
            return self.model_.predict(self._checked(X)).numpy().astype(int)
        return self.levels_.paths(self.predict_proba(X))

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float32, ensure_all_finite="allow-nan", reset=False)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of rows whose labels, or whose whole path, are right."""
        if self.levels_ is None:
            return super().score(X, indicators(y, self.hierarchy_.names), sample_weight)
        path_of = [tuple(label for label in path if label is not None) for path in self.predict(X).tolist()]
        right = [mine == theirs for mine, theirs in zip(path_of, level_paths(y), strict=True)]
        return float(np.average(right, weights=sample_weight))
