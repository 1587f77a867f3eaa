"""HLSTM as a scikit-learn estimator, for arrays in memory."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from hlstm.build import load_model
from hlstm.config import Config, MethodName
from hlstm.train import train
from hmc_shared import Hierarchy
from hmc_shared.estimator.base import HierarchicalClassifier, Trainer


class HLSTMClassifier(HierarchicalClassifier):
    """Hierarchical multi-label classifier of vectors: HLSTM, or a baseline of it, as a forest.

    What it takes and returns is said at :class:`hmc_shared.estimator.base.HierarchicalClassifier`. Indicators
    are scored by AU(PRC).

    Args:
        hierarchy: the C classes, or None if ``y`` of :meth:`fit` says them.
        method: "hlstm" or a baseline; "clus-ens" is a forest, of which are ``trees``, ``min_leaf`` and
            ``max_features``.
        options: further fields of :class:`hlstm.config.Config`. The run folder is a temporary one,
            unless ``output_dir`` is among them.
        random_state: seed, a state of numpy that gives one, or None for another one each time.
        verbose: 0: quiet; 1: progress and notes on standard error, as the command shows them.

    The other parameters are options of ``hlstm train``: :class:`hlstm.config.Config` has their meaning
    and their bounds, which :meth:`fit` checks.

    >>> X = np.array([[0.0], [0.1], [1.0], [1.1]] * 5)
    >>> y = [["animal", "cat"], ["animal", "cat"], ["plant", "oak"], ["plant", "oak"]] * 5
    >>> HLSTMClassifier(epochs=20).fit(X, y).predict([[0.0], [1.0]]).tolist()
    [['animal', 'cat'], ['plant', 'oak']]
    """

    trainer = Trainer(Config, train, load_model)
    takes_images = False
    average = "micro"

    def __init__(
        self,
        hierarchy: Hierarchy | None = None,
        *,
        method: MethodName = Config.method,
        members: int = Config.members,
        hidden_size: int = Config.hidden_size,
        num_layers: int = Config.num_layers,
        dropout: float = Config.dropout,
        max_levels: int | None = Config.max_levels,
        global_weight: float = Config.global_weight,
        violation_weight: float = Config.violation_weight,
        partial_labels: bool = Config.partial_labels,
        trees: int = Config.trees,
        min_leaf: int = Config.min_leaf,
        max_features: float = Config.max_features,
        protocol: Literal["default", "refit", "paper"] = Config.protocol,
        epochs: int = Config.epochs,
        patience: int = Config.patience,
        batch_size: int = Config.batch_size,
        learning_rate: float = Config.learning_rate,
        weight_decay: float = Config.weight_decay,
        clip_norm: float | None = Config.clip_norm,
        options: dict[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = 0,
        verbose: int = 0,
    ) -> None:
        self.hierarchy = hierarchy
        self.method = method
        self.members = members
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.max_levels = max_levels
        self.global_weight = global_weight
        self.violation_weight = violation_weight
        self.partial_labels = partial_labels
        self.trees = trees
        self.min_leaf = min_leaf
        self.max_features = max_features
        self.protocol = protocol
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.options = options
        self.random_state = random_state
        self.verbose = verbose
