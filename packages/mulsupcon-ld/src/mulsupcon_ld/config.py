"""Options of the commands of ``mulsupcon-ld``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from hmc_shared.cli.bounds import (
    Count,
    NonNegative,
    NonNegativeInt,
    Positive,
    Share,
    ShareBelow1,
    check,
    check_options,
)
from hmc_shared.cli.commands import EvaluateOptions, PredictOptions
from hmc_shared.cli.metavars import File, Folder, Ids, RunFolder
from hmc_shared.cli.train_options import (
    DecidingOptions,
    EncoderOptions,
    FeatureOptions,
    ImageOptions,
    ImageTrainingOptions,
    StoppingOptions,
)

Loss = Literal["cld", "rld", "mulsupcon", "any", "all", "bce", "asl", "lamp", "mpvae", "c-gmvae"]

SUPERVISED = ("bce", "asl", "lamp", "mpvae", "c-gmvae")
"""Losses that need no pre-training."""
FORMATS = (".csv", ".png", ".svg", ".pdf")
"""What ``explain`` writes."""


@dataclass(frozen=True)
class MaskOptions:
    title: ClassVar[str] = "data"

    vector_mask: ShareBelow1 = 0.5
    """Vectors: share of the features that each of the two views of the pre-training has zeroed."""
    finetune_mask: ShareBelow1 = 0.4
    """Vectors: share of the features that are zeroed in the fine-tuning."""


@dataclass(frozen=True)
class ViewOptions(ImageOptions):
    min_scale: Share = 0.2
    """Smallest share of the area that a random crop of an image keeps; SimCLR has 0.08."""


@dataclass(frozen=True)
class NetworkOptions(EncoderOptions):
    encoder: str = "mlp"
    """mlp: three layers, for vectors. Images: any classification network of torchvision by name (the paper:
    resnet50), or timm:NAME; lite0, lite1 or lite2; resnet8, 14, 20, 32 or 56 for small ones."""
    width: Count | None = None
    """mlp, mpvae, c-gmvae: units of the first and last layer, half of those of the middle one (256). resnet8
    to resnet56: channels of the first stage (16). lamp: size of a node (512)."""
    dropout: ShareBelow1 = 0.2
    """mlp, lamp, mpvae, c-gmvae: probability that a unit is dropped."""
    projection: Literal["mlp", "linear"] = "mlp"
    """From the representation to the embedding: a hidden layer with batch normalisation, or none."""
    dim: Count = 256
    """Dimension of the embedding z; c-gmvae: of the embeddings of labels."""
    layers: Count = 2
    """lamp: layers of messages."""
    latent: Count = 50
    """mpvae, c-gmvae: size of the latent z."""
    coherent: bool = True
    """With a hierarchy, score a class by the best of itself and its descendants, so that no class exceeds its
    parent."""


@dataclass(frozen=True)
class LossOptions:
    title: ClassVar[str] = "loss"

    temperature: Positive = 0.1
    """tau: what cosine similarities are divided by."""
    momentum: Share = 0.999
    """Share of the old key network in each update."""
    queue_size: NonNegativeInt = 4096
    """Keys of earlier batches to contrast with, any number."""
    alpha: NonNegative = 1.0
    """Weight of H, Eq. (8): the distance between logical labels and label distribution (cld, rld)."""
    beta: NonNegative = 0.01
    """Weight of the squared Frobenius norm of W, the layer that generates label distributions (cld, rld)."""
    sigma: Positive | None = None
    """Width of the RBF, Eq. (6) (rld); the paper has 0.01. Default: median distance within the batch."""
    gamma_positive: NonNegative = 0.0
    """asl: focusing of positives."""
    gamma_negative: NonNegative = 4.0
    """asl: focusing of negatives."""
    margin: Share = 0.05
    """asl: what is taken off the probability of negatives."""
    samples: Count = 100
    """mpvae: draws by which the likelihood of a row is estimated."""
    nll_weight: NonNegative = 0.1
    """mpvae: weight of the likelihood."""
    ranking_weight: NonNegative = 20.0
    """mpvae: weight of the ranking loss."""


@dataclass(frozen=True)
class StageOptions(ImageTrainingOptions, StoppingOptions):
    """Of the pre-training, and of the fine-tuning that comes after it."""

    pretrain_epochs: NonNegativeInt = 100
    """Passes over the training rows before the fine-tuning (not for bce, asl,
    lamp, mpvae, c-gmvae)."""
    epochs: Count = 100
    """Passes over the training rows in the fine-tuning, at most."""
    patience: Count = 100
    """Stop after this many epochs of fine-tuning without a better validation mAP (default protocol)."""
    pretrain_learning_rate: NonNegative = 1e-3
    """Highest step size of AdamW in the pre-training; the paper has 4e-5."""
    pretrain_minimum_rate: NonNegative = 1e-5
    """Lowest step size in the pre-training, at the end of each cosine."""
    pretrain_weight_decay: NonNegative = 1e-4
    """Decoupled weight decay of AdamW in the pre-training."""
    pretrain_restart: Count = 50
    """Epochs of the first cosine of the pre-training; each one after it lasts twice as long."""
    learning_rate: NonNegative = 4e-4
    """Highest step size of AdamW in the fine-tuning."""
    minimum_rate: NonNegative = 0.0
    """Lowest step size in the fine-tuning; the paper has 1e-4."""
    weight_decay: NonNegative = 1e-5
    """Decoupled weight decay in the fine-tuning."""
    restart: Count = 100
    """Epochs of the first cosine of the fine-tuning."""
    warmup_epochs: NonNegative = 0.0
    """Epochs at the start of each stage in which the step sizes rise linearly from 0."""


@dataclass(frozen=True)
class Config(
    MaskOptions, ViewOptions, NetworkOptions, LossOptions, StageOptions, FeatureOptions, DecidingOptions
):
    """Train by contrastive learning, then cross-entropy, or by a baseline, on vectors or images."""

    package: ClassVar[str] = "mulsupcon-ld"
    title: ClassVar[str] = "method"

    loss: Loss = "cld"
    """Loss of the pre-training: MulSupCon_LD with label distributions recovered by contrastive weights (cld)
    or RBF weights (rld), MulSupCon, or the supervised contrastive loss with positives ANY or ALL. bce, asl:
    no pre-training, binary cross-entropy or the asymmetric loss from the same start. lamp, mpvae, c-gmvae: no
    pre-training, networks of their own for vectors, without --encoder and --projection."""
    protocol: Literal["default", "paper"] = "default"
    """default: the epoch with the best validation mAP, and the threshold with the best micro-F1 there. paper:
    train on training + validation rows, keep the last epoch; results.json adds the metrics of the public
    code, each with the threshold that is best for it on the test split."""
    checkpoint_every: Count = 10
    """Epochs between checkpoints, which --resume needs."""

    @property
    def label(self) -> str:
        return self.loss

    def free_on_resume(self) -> frozenset[str]:
        return super().free_on_resume() | {"epochs"}

    @property
    def has_distributions(self) -> bool:
        """Whether the loss recovers label distributions."""
        return self.loss in ("cld", "rld")

    @property
    def leaves_out_unknown(self) -> bool:
        """Whether labels may be unknown: ALL compares whole sets of labels, lamp, mpvae and c-gmvae take
        them whole as input or latent code, and published metrics count all."""
        return self.loss not in ("all", "lamp", "mpvae", "c-gmvae") and self.protocol == "default"

    @property
    def stage_epochs(self) -> tuple[int, int]:
        """Epochs of pre-training and of fine-tuning."""
        return 0 if self.loss in SUPERVISED else self.pretrain_epochs, self.epochs

    def is_pretraining(self, epoch: int) -> bool:
        """Whether an epoch, counted from 0 over both stages, is one of the pre-training."""
        return epoch < self.stage_epochs[0]


@dataclass(frozen=True)
class EvaluateConfig(EvaluateOptions):
    """Score a split of a data set with a trained model and print the metrics."""

    library: ClassVar[str] = "mulsupcon_ld"


@dataclass(frozen=True)
class PredictConfig(PredictOptions):
    """Write the labels, and the calibrated probability of every class, for each row of a table or each image.

    Labels are those at the threshold that was best in validation. A run of --protocol paper has none: they
    are the classes with probability 1/2 or more, or, where samples have one path each, the path to the most
    probable leaf. With a hierarchy, no class is more probable than its parent.
    """

    library: ClassVar[str] = "mulsupcon_ld"


@dataclass(frozen=True)
class ExplainConfig:
    """Show logical labels beside recovered label distributions, for some samples or a whole split."""

    run: Annotated[str, tyro.conf.Positional, RunFolder]
    """Run folder of a loss that recovers label distributions, cld or rld; it need not be finished."""
    split: Literal["train", "validation", "test"] = "test"
    """The split to show."""
    samples: Annotated[tuple[str, ...], Ids] = ()
    """Ids of samples; or one number, if no sample has that as its id: so many, drawn with a fixed seed.
    Default: the whole split, as a summary."""
    output: Annotated[str | None, File] = None
    """File for a figure, .png, .svg or .pdf; or for all degrees, .csv, a line for each sample and label."""
    data_dir: Annotated[str | None, Folder] = None
    """Folder of the data sets; default: that of the run, or the environment variable HMC_DATA."""
    workers: NonNegativeInt = 2
    """Processes that read images."""

    def __post_init__(self) -> None:
        check_options(self)
        is_known = self.output is None or Path(self.output).suffix in FORMATS
        check(self, "output", is_known, f"end in one of {', '.join(FORMATS)}")
