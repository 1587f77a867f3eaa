"""MulSupCon_LD as a scikit-learn estimator, for feature vectors in memory."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from hmc_shared import Hierarchy
from hmc_shared.data.vector_dataset import from_arrays
from hmc_shared.estimator import configured, indicators
from mulsupcon_ld.build import load_model
from mulsupcon_ld.config import Config, Loss
from mulsupcon_ld.train import train


class MulSupConClassifier(ClassifierMixin, BaseEstimator):
    """Multi-label classifier with ``fit``, ``predict`` and ``predict_proba``.

    The loop is that of ``mulsupcon-ld train``: a tenth of the rows is drawn for validation, stratified, and
    chooses the epoch and the threshold. Features may hold NaN for missing values; they are standardised
    inside.

    Args:
        hierarchy: the C classes, whose ancestors are added to ``y``, or None for plain labels.
        loss: "cld" or any other ``--loss``.
        options: further fields of :class:`mulsupcon_ld.config.Config`, such as ``{"epochs": 30}``.
        random_state: seed.

    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] * 10)
    >>> quick = {"pretrain_epochs": 5, "epochs": 60, "batch_size": 8, "finetune_mask": 0.0}
    >>> MulSupConClassifier(options=quick).fit(X, y=X).predict([[0.0, 1.0], [1.0, 1.0]]).tolist()
    [[0, 1], [1, 1]]
    """

    def __init__(
        self,
        hierarchy: Hierarchy | None = None,
        loss: Loss = "cld",
        options: dict[str, Any] | None = None,
        random_state: int = 0,
    ) -> None:
        self.hierarchy = hierarchy
        self.loss = loss
        self.options = options
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.two_d_labels = True
        tags.target_tags.single_output, tags.target_tags.multi_output = False, True
        tags.classifier_tags.multi_class, tags.classifier_tags.multi_label = False, True
        tags.input_tags.allow_nan = True
        return tags

    def fit(self, X: Any, y: Any) -> MulSupConClassifier:
        """Train on X (n, F) and 0/1 indicators y (n, C).

        Indicators may be sparse. Raises ValueError for shapes that do not fit, other values, naming row and
        value, and fewer than two rows.
        """
        if y is None:
            raise ValueError("This estimator requires y to be passed, but the target y is None.")
        X = validate_data(self, X, dtype=np.float32, ensure_all_finite="allow-nan", ensure_min_samples=2)
        targets = indicators(y, None if self.hierarchy is None else self.hierarchy.names)
        if len(X) != len(targets):
            raise ValueError(
                f"`X` and `y` should have the same number of rows. Found {len(X)} and {len(targets)}."
            )
        classes = range(targets.shape[1])
        flat = Hierarchy.from_edges([], nodes=map(str, classes))
        self.hierarchy_ = flat if self.hierarchy is None else self.hierarchy
        # Numbers for plain labels: before 1.9, scorers of scikit-learn look for the label 1 among them.
        self.classes_ = np.asarray(classes if self.hierarchy is None else self.hierarchy.names)
        targets = self.hierarchy_.add_ancestors(targets)
        dataset = from_arrays(X, targets, self.hierarchy_, seed=self.random_state)
        with tempfile.TemporaryDirectory() as folder:
            options = {"loss": self.loss, "seed": self.random_state, **(self.options or {})}
            config = configured(Config(dataset="array", output_dir=folder), options)
            train(config, dataset)
            self.model_ = load_model(config.run_folder / "model")
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, C) calibrated probabilities in the order of ``classes_``; no class exceeds its parent."""
        X = self._checked(X)
        return self.model_.predict_proba(X).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """(n, C) 0/1 indicators, as the command ``predict`` gives them.

        They are the classes whose scores, the logits of the network, reach the threshold of best micro-F1 in
        validation. It is not one of the probabilities, which are calibrated.
        """
        X = self._checked(X)
        return self.model_.predict(X).numpy().astype(int)

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float32, ensure_all_finite="allow-nan", reset=False)
