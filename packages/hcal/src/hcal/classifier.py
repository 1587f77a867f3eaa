"""HCAL as a scikit-learn estimator, for arrays in memory."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np

from hcal.build import load_model
from hcal.config import Config, Decode, MethodName
from hcal.train import train
from hmc_shared import Hierarchy
from hmc_shared.estimator.base import HierarchicalClassifier, Trainer
from hmc_shared.metrics.levels import is_single_path


class HCALClassifier(HierarchicalClassifier):
    """Classifier of images or vectors with one path in a tree of classes for each row.

    What it takes and returns is said at :class:`hmc_shared.estimator.base.HierarchicalClassifier`. Indicators
    are scored by the share of rows that are right. A row of ``sample_weight`` 2 counts as two rows, in the
    means of features that HCAL contrasts as well.

    Args:
        hierarchy: the C classes, a tree, or None if ``y`` of :meth:`fit` says them.
        method: "hcal" or a baseline.
        decode: how :meth:`predict` decides: by the best path, "path", or the best "leaf"; "independent", as
            the command by default, by the best node of each level, which need not be on one path.
        encoder: None: "mlp" for vectors, "resnet18" for images; "resnet20" is one for small images.
        options: further fields of :class:`hcal.config.Config`. The run folder is a temporary one,
            unless ``output_dir`` is among them.
        random_state: seed, a state of numpy that gives one, or None for another one each time.
        verbose: 0: quiet; 1: progress and notes on standard error, as the command shows them.

    The other parameters are options of ``hcal train``: :class:`hcal.config.Config` has their meaning
    and their bounds, which :meth:`fit` checks.

    >>> X = np.array([[0.0], [0.1], [1.0], [1.1]] * 10)
    >>> y = [["animal", "cat"], ["animal", "cat"], ["plant", "oak"], ["plant", "oak"]] * 10
    >>> HCALClassifier(epochs=10, batch_size=8).fit(X, y).predict([[0.0], [1.0]]).tolist()
    [['animal', 'cat'], ['plant', 'oak']]
    """

    trainer = Trainer(Config, train, load_model)
    average = None

    def __init__(
        self,
        hierarchy: Hierarchy | None = None,
        *,
        method: MethodName = Config.method,
        decode: Decode = "path",
        encoder: str | None = None,
        width: int | None = Config.width,
        weights: str = Config.weights,
        freeze: str = Config.freeze,
        dim: int = Config.dim,
        temperature: float = Config.temperature,
        gamma: float = Config.gamma,
        epsilon: float = Config.epsilon,
        aggregation: bool = Config.aggregation,
        weighting: Literal["adaptive", "fixed"] = Config.weighting,
        class_weights: Literal["none", "balanced"] = Config.class_weights,
        flip: bool = Config.flip,
        protocol: Literal["default", "paper"] = Config.protocol,
        epochs: int = Config.epochs,
        patience: int | None = Config.patience,
        batch_size: int = Config.batch_size,
        optimizer: Literal["sgd", "adam"] = Config.optimizer,
        learning_rate: float = Config.learning_rate,
        prototype_learning_rate: float = Config.prototype_learning_rate,
        momentum: float = Config.momentum,
        weight_decay: float = Config.weight_decay,
        options: dict[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = 0,
        verbose: int = 0,
    ) -> None:
        self.hierarchy = hierarchy
        self.method = method
        self.decode = decode
        self.encoder = encoder
        self.width = width
        self.weights = weights
        self.freeze = freeze
        self.dim = dim
        self.temperature = temperature
        self.gamma = gamma
        self.epsilon = epsilon
        self.aggregation = aggregation
        self.weighting = weighting
        self.class_weights = class_weights
        self.flip = flip
        self.protocol = protocol
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.prototype_learning_rate = prototype_learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.options = options
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """As of the base. Raises ValueError, too, for weights with the method "cmt", which has none."""
        if sample_weight is not None and self.method == "cmt":
            raise ValueError("`sample_weight` should be left out with the method cmt, which has no weights.")
        return super().fit(X, y, sample_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = False
        return tags

    def _check_targets(self, targets: np.ndarray) -> None:
        """Raise ValueError unless the classes are a tree, and each row has one path in it."""
        if not self.hierarchy_.is_tree:
            raise ValueError("`hierarchy` should be a tree. Found a class with two parents.")
        for row, classes in enumerate(targets):
            if not classes.any() or not is_single_path(classes[None], self.hierarchy_):
                found = "several classes of a level" if classes.any() else "none"
                raise ValueError(f"`y` should give each row one path of classes. Found {found} in row {row}.")
