"""HP-DVAL as a scikit-learn estimator, for arrays of images in memory."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from hmc_shared import Hierarchy
from hmc_shared.estimator.base import HierarchicalClassifier, Trainer
from hp_dval.build import load_model
from hp_dval.config import Config, Loss, MethodName
from hp_dval.train import train


class HPDVALClassifier(HierarchicalClassifier):
    """Multi-label classifier of images from a CLIP, which reads the names of the classes.

    What it takes and returns is said at :class:`hmc_shared.estimator.base.HierarchicalClassifier`. Names are
    those of the ``hierarchy``, labels in ``y``, or columns of a DataFrame of indicators. Indicators are
    scored by mAP. A ``sample_weight`` multiplies the classification and the distillation loss of its row; the
    counts by which db-star balances classes are of rows.

    Args:
        hierarchy: the C classes, or None if ``y`` of :meth:`fit` says them.
        method: "hp-dval" or a part or baseline of it.
        clip: "tiny", which has seen handwritten digits alone; a model of open_clip, for photographs with
            ``pretrained`` weights, as "ViT-B-16-quickgelu" and "openai"; or a .json file that configures one.
        options: further fields of :class:`hp_dval.config.Config`. The run folder is a temporary one,
            unless ``output_dir`` is among them.
        random_state: seed, a state of numpy that gives one, or None for another one each time.
        verbose: 0: quiet; 1: progress and notes on standard error, as the command shows them.

    The other parameters are options of ``hp-dval train``: :class:`hp_dval.config.Config` has their meaning
    and their bounds, which :meth:`fit` checks.

    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits(n_class=2)
    >>> X = (digits.images * 15).astype(np.uint8)
    >>> y = np.array(["zero", "one"])[digits.target]
    >>> quick = {"k": 8, "kd_weight": 0.1, "learning_rate": 1e-3, "batch_size": 16}
    >>> model = HPDVALClassifier(epochs=5, prompt_epochs=1, loss="bce", **quick).fit(X[:80], y[:80])
    >>> model.predict(X[:4]).tolist()
    ['zero', 'one', 'zero', 'one']
    """

    trainer = Trainer(Config, train, load_model)
    takes_vectors = False
    average = "macro"

    def __init__(
        self,
        hierarchy: Hierarchy | None = None,
        *,
        method: MethodName = Config.method,
        clip: str = Config.clip,
        pretrained: str | None = Config.pretrained,
        templates: tuple[str, ...] = ("a photo of a {}.",),
        student: str = Config.student,
        weights: str = Config.weights,
        alpha: float = Config.alpha,
        k: int | None = Config.k,
        prompt_length: int = Config.prompt_length,
        scale: float | None = Config.scale,
        loss: Loss = Config.loss,
        kd_weight: float = Config.kd_weight,
        sc_weight: float = Config.sc_weight,
        mu: float = Config.mu,
        negative_scale: float = Config.negative_scale,
        sampling: Literal["random", "class-aware"] = Config.sampling,
        protocol: Literal["default", "paper"] = Config.protocol,
        epochs: int = Config.epochs,
        prompt_epochs: int = Config.prompt_epochs,
        batch_size: int = Config.batch_size,
        learning_rate: float = Config.learning_rate,
        prompt_learning_rate: float = Config.prompt_learning_rate,
        weight_decay: float = Config.weight_decay,
        options: dict[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = 0,
        verbose: int = 0,
    ) -> None:
        self.hierarchy = hierarchy
        self.method = method
        self.clip = clip
        self.pretrained = pretrained
        self.templates = templates
        self.student = student
        self.weights = weights
        self.alpha = alpha
        self.k = k
        self.prompt_length = prompt_length
        self.scale = scale
        self.loss = loss
        self.kd_weight = kd_weight
        self.sc_weight = sc_weight
        self.mu = mu
        self.negative_scale = negative_scale
        self.sampling = sampling
        self.protocol = protocol
        self.epochs = epochs
        self.prompt_epochs = prompt_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.prompt_learning_rate = prompt_learning_rate
        self.weight_decay = weight_decay
        self.options = options
        self.random_state = random_state
        self.verbose = verbose
