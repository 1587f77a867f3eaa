"""MulSupCon_LD as a scikit-learn estimator, for arrays in memory."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from hmc_shared import Hierarchy
from hmc_shared.estimator.base import HierarchicalClassifier, Trainer
from mulsupcon_ld.build import load_model
from mulsupcon_ld.config import Config, Loss
from mulsupcon_ld.train import train


class MulSupConClassifier(HierarchicalClassifier):
    """Multi-label classifier of vectors or images: contrastive learning, then cross-entropy.

    What it takes and returns is said at :class:`hmc_shared.estimator.base.HierarchicalClassifier`. Indicators
    are scored by mAP. In the pre-training a ``sample_weight`` is that of the row as an anchor; among the keys
    that anchors are contrasted with, all rows count alike.

    Args:
        hierarchy: the C classes, whose ancestors are added to ``y``, or None if ``y`` says them.
        loss: "cld" or any other ``--loss``.
        encoder: None: "mlp" for vectors, "resnet18" for images; "resnet20" is one for small images.
        options: further fields of :class:`mulsupcon_ld.config.Config`. The run folder is a temporary one,
            unless ``output_dir`` is among them.
        random_state: seed, a state of numpy that gives one, or None for another one each time.
        verbose: 0: quiet; 1: progress and notes on standard error, as the command shows them.

    The other parameters are options of ``mulsupcon-ld train``: :class:`mulsupcon_ld.config.Config` has their
    meaning and their bounds, which :meth:`fit` checks.

    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] * 10)
    >>> quick = {"pretrain_epochs": 5, "epochs": 60, "batch_size": 8, "finetune_mask": 0.0}
    >>> MulSupConClassifier(**quick).fit(X, y=X).predict([[0.0, 1.0], [1.0, 1.0]]).tolist()
    [[0, 1], [1, 1]]
    """

    trainer = Trainer(Config, train, load_model)
    average = "macro"

    def __init__(
        self,
        hierarchy: Hierarchy | None = None,
        *,
        loss: Loss = Config.loss,
        encoder: str | None = None,
        width: int | None = Config.width,
        dropout: float = Config.dropout,
        projection: Literal["mlp", "linear"] = Config.projection,
        dim: int = Config.dim,
        temperature: float = Config.temperature,
        momentum: float = Config.momentum,
        queue_size: int = Config.queue_size,
        alpha: float = Config.alpha,
        beta: float = Config.beta,
        sigma: float | None = Config.sigma,
        vector_mask: float = Config.vector_mask,
        finetune_mask: float = Config.finetune_mask,
        sampling: Literal["random", "class-aware"] = Config.sampling,
        protocol: Literal["default", "paper"] = Config.protocol,
        pretrain_epochs: int = Config.pretrain_epochs,
        epochs: int = Config.epochs,
        patience: int = Config.patience,
        batch_size: int = Config.batch_size,
        pretrain_learning_rate: float = Config.pretrain_learning_rate,
        learning_rate: float = Config.learning_rate,
        weight_decay: float = Config.weight_decay,
        options: dict[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = 0,
        verbose: int = 0,
    ) -> None:
        self.hierarchy = hierarchy
        self.loss = loss
        self.encoder = encoder
        self.width = width
        self.dropout = dropout
        self.projection = projection
        self.dim = dim
        self.temperature = temperature
        self.momentum = momentum
        self.queue_size = queue_size
        self.alpha = alpha
        self.beta = beta
        self.sigma = sigma
        self.vector_mask = vector_mask
        self.finetune_mask = finetune_mask
        self.sampling = sampling
        self.protocol = protocol
        self.pretrain_epochs = pretrain_epochs
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.pretrain_learning_rate = pretrain_learning_rate
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.options = options
        self.random_state = random_state
        self.verbose = verbose
