"""Options of the commands ``hcal train``, ``evaluate``, ``predict`` and ``plot``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import tyro

from hmc_shared.cli.bounds import (
    Bounds,
    Count,
    NonNegative,
    NonNegativeInt,
    Positive,
    Share,
    check,
    check_options,
)
from hmc_shared.cli.commands import EvaluateOptions, Format, PredictOptions
from hmc_shared.cli.metavars import Folder, RunFolder
from hmc_shared.cli.train_options import (
    CosineOptions,
    EncoderOptions,
    FeatureOptions,
    ImageOptions,
    StoppingOptions,
    TrainOptions,
)

MethodName = Literal["hcal", "flat", "mmoe", "cmt", "dmt", "cagrad", "imtl-g", "nash-mtl"]
Decode = Literal["independent", "path", "leaf"]


@dataclass(frozen=True)
class AugmentationOptions(ImageOptions):
    crop_padding: NonNegativeInt = 4
    """Small images: pixels by which an image is shifted at most, each way."""
    rotation: NonNegative = 0.0
    """Degrees by which a small image is rotated at most, each way."""


@dataclass(frozen=True)
class NetworkOptions(EncoderOptions):
    dim: Count = 256
    """Dimension of features and prototypes."""
    task: Literal["multi", "single"] = "multi"
    """One encoder for all levels, or a network for each level, trained by itself (Table 2, first row)."""


@dataclass(frozen=True)
class LossOptions:
    title: ClassVar[str] = "loss"

    temperature: Positive = 0.1
    """tau of Eq. (6): what cosine similarities are divided by."""
    gamma: Positive = 0.5
    """gamma of Eq. (11): a small one gives the level with the largest loss nearly all the weight."""
    epsilon: NonNegative = 0.01
    """Strength of the perturbation of prototypes, Eq. (3); 0: none."""
    equations: Literal["code", "printed"] = "code"
    """code: as the paper's code, whose numbers are the published ones. printed: Eq. (3) to (7) as they stand:
    noise on raw prototypes, which are positives with and without it; means of unit length; all labels of a
    level as the divisor."""
    aggregation: bool = True
    """Above the deepest level, contrast group means of features with the prototypes, not each sample."""
    weighting: Literal["adaptive", "fixed"] = "adaptive"
    """Level weights by Eq. (11), or all equal. Without effect under --task single."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: images of rare classes count for more, so that the deepest classes of all images weigh the
    same together."""


@dataclass(frozen=True)
class SgdOptions(CosineOptions, StoppingOptions):
    optimizer: Literal["sgd", "adam"] = "sgd"
    """How steps are taken; adam is that of MMoE in the repository of HCAL."""
    learning_rate: NonNegative = 0.05
    """Step size for the encoder; the paper has 0.01."""
    prototype_learning_rate: NonNegative = 0.05
    """Step size for the prototypes of the deepest level; each level above has twice that of the one below."""
    momentum: Share = 0.9
    """Momentum of SGD."""
    weight_decay: NonNegative = 5e-4
    """L2 penalty on all parameters, added to the gradient; the paper has 1e-4."""


@dataclass(frozen=True)
class Config(NetworkOptions, AugmentationOptions, LossOptions, SgdOptions, FeatureOptions, TrainOptions):
    """Train HCAL, or a baseline with the same encoder, on images (or vectors) with a tree of classes."""

    package: ClassVar[str] = "hcal"
    title: ClassVar[str] = "method"

    method: MethodName = "hcal"
    """hcal; flat: a linear layer and cross-entropy for each level on a shared encoder; mmoe: with a mixture
    of experts in between; cmt: flat, with losses that couple neighbouring levels; dmt: a transformer over the
    places of a ResNet's feature map, and a mixture of experts; cagrad, imtl-g, nash-mtl: flat, the levels'
    gradients combined by that method."""
    decode: Decode = "independent"
    """independent: the best node of each level (the paper's code). path: the best path from root to leaf, as
    HCALClassifier decides by default. leaf: the best leaf and what is above it. No prediction of these two
    breaks the hierarchy."""
    protocol: Literal["default", "paper"] = "default"
    """default: the epoch with the best leaf accuracy on the validation split, probabilities calibrated on it.
    paper: train on training + validation rows, keep the last epoch, with the paper's settings where the data
    set's configuration has them."""
    validation_rows: bool = True
    """Under --protocol paper, train on the validation rows, too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        once = self.class_weights == "none" or self.sampling == "random"
        check(self, "class_weights", once, "be none with --sampling class-aware, which evens the classes out")

    @property
    def label(self) -> str:
        return self.method

    def free_on_resume(self) -> frozenset[str]:
        # A cosine is made for its epochs.
        return super().free_on_resume() | ({"epochs"} if self.schedule == "none" else set())


@dataclass(frozen=True)
class EvaluateConfig(EvaluateOptions):
    """Score a split of a data set with a trained model and print the metrics."""

    library: ClassVar[str] = "hcal"

    decode: Decode | None = None
    """The best node of each level, the best path, or the best leaf; default: that of the run."""

    def apply_to(self, model: Any) -> None:
        super().apply_to(model)
        model.decode = self.decode or model.decode


@dataclass(frozen=True)
class PredictConfig(PredictOptions):
    """Write the predicted class of each level, and its calibrated probability, for every input.

    Probabilities of classes are sums over the paths through them: none exceeds its parent's.
    """

    library: ClassVar[str] = "hcal"

    decode: Decode | None = None
    """The best node of each level, the best path, or the best leaf; default: that of the run."""
    min_confidence: Annotated[float, Bounds(0, 1)] | None = None
    """Answer down to the deepest class that is at least this probable, whatever --decode is. The levels below
    stay empty, and so does a row without any such class."""
    format: Annotated[Format | None, tyro.conf.arg(metavar="NAME")] = field(default=None, kw_only=True)
    """levels: of each level the class and its probability. wide: a row for each sample, with id, labels
    separated by ";", and a column for the probability of each class. long: a row for each sample and class.
    json: of each sample the most specific labels, with their paths, and all probabilities. Default: levels,
    or json for a file that ends so; wide where a level may have several classes."""

    @property
    def usual(self) -> Format:
        return "wide" if self.sets or self.threshold is not None or self.top_k else "levels"

    def apply_to(self, model: Any) -> None:
        super().apply_to(model)
        model.decode = self.decode or model.decode


@dataclass(frozen=True)
class PlotConfig:
    """Draw features and prototypes of a finished run of HCAL, before and after training, by t-SNE."""

    run: Annotated[str, tyro.conf.Positional, RunFolder]
    """Run folder."""
    split: Literal["train", "validation", "test"] = "test"
    """Whose features to draw."""
    samples: Count = 2000
    """Samples to draw at most, picked at random with a fixed seed."""
    output: Annotated[str | None, Folder] = None
    """Folder for levels and adjacent-levels, as .svg and .png; default: RUN/figures."""
    data_dir: Annotated[str | None, Folder] = None
    """Folder of the data sets; default: that of the run, or the environment variable HMC_DATA."""

    def __post_init__(self) -> None:
        check_options(self)
