"""HLSTM as a scikit-learn estimator, for arrays in memory."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from hlstm.build import load_model
from hlstm.config import Config, MethodName
from hlstm.train import train
from hmc_shared import Hierarchy
from hmc_shared.data.vector_dataset import from_arrays


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

        A path that ends early is filled up with None, NaN or "". Raises ValueError for shapes that do not
        fit, a level matrix that is no tree, and fewer than two rows.
        """
        X = validate_data(self, X, dtype=np.float32, ensure_all_finite="allow-nan", ensure_min_samples=2)
        if len(X) != len(y):
            raise ValueError(f"`X` and `y` should have the same number of rows. Found {len(X)} and {len(y)}.")
        self.is_level_matrix_ = self.hierarchy is None
        self.hierarchy_ = Hierarchy.from_levels(y) if self.hierarchy is None else self.hierarchy
        targets = (
            self._from_levels(y) if self.is_level_matrix_ else self.hierarchy_.add_ancestors(np.asarray(y))
        )
        self.classes_ = np.asarray(self.hierarchy_.names)
        dataset = from_arrays(X, targets, self.hierarchy_, seed=self.random_state)
        with tempfile.TemporaryDirectory() as folder:
            options = {"method": self.method, "seed": self.random_state, **(self.options or {})}
            plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in options.items()}  # for YAML
            config = replace(Config(dataset="array", output_dir=folder), **plain)
            train(config, dataset)
            self.model_ = load_model(config.run_folder / "model")
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, C) calibrated probabilities in the order of ``classes_``; no class exceeds its parent."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, ensure_all_finite="allow-nan", reset=False)
        return self.model_.predict_proba(X).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Classes as ``y`` was given: (n, C) indicators at probability 0.5, or the best path as (n, levels).

        A path goes down from the best root to the best child each time, so it is always one of the tree.
        """
        probabilities = self.predict_proba(X)
        return self._to_levels(probabilities) if self.is_level_matrix_ else (probabilities >= 0.5).astype(int)

    def _from_levels(self, y: Any) -> np.ndarray:
        targets = np.zeros((len(y), len(self.hierarchy_)), dtype=bool)
        for row, labels in enumerate(np.asarray(y, dtype=object)):
            named = [str(label) for label in labels if label not in (None, "") and label == label]  # no NaN
            targets[row, [self.hierarchy_.index[name] for name in named]] = True
        return self.hierarchy_.add_ancestors(targets)

    def _to_levels(self, probabilities: np.ndarray) -> np.ndarray:
        paths = np.full((len(probabilities), self.hierarchy_.num_levels), None, dtype=object)
        for row, scores in enumerate(probabilities):
            candidates = self.hierarchy_.roots.tolist()
            for level in range(self.hierarchy_.num_levels):
                if not candidates:
                    break
                best = max(candidates, key=scores.__getitem__)
                paths[row, level] = self.hierarchy_.names[best]
                candidates = self.hierarchy_.children(best)
        return paths
