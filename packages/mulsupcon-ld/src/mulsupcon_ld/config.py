"""Options of ``mulsupcon-ld train``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hmc_shared.cli import options

Loss = Literal["cld", "rld", "mulsupcon", "any", "all", "bce", "asl"]

SUPERVISED = ("bce", "asl")
"""Losses that need no pre-training."""
FREE = frozenset({"config", "resume", "overwrite", "output_dir", "data_dir", "workers"})
"""Options that a run may be resumed with whatever they were."""


@dataclass(frozen=True)
class Config:
    """Train by contrastive learning, then cross-entropy, or by a baseline, on vectors or images."""

    dataset: str = "digits"
    """Data set: an embedded one (digits, digit-scenes), the name of a set below --data-dir; table:PATH for a
    .csv or .parquet file, folder:PATH for nested folders of images, labels:PATH for a folder of images with
    labels.json, hf:PATH for a data set of the `datasets` library with --levels. Images need an --encoder."""
    data_dir: str | None = None
    """Folder of the data sets; default: the environment variable HMC_DATA."""
    levels: str | None = None
    """Columns of labels of a data set hf:PATH or table:PATH, coarse to fine, with commas between them."""
    output_dir: str | None = None
    """Run folder; default: runs/<dataset>/<loss>/seed-<seed>, or <loss>-paper under that protocol."""
    config: str | None = None
    """YAML file of options, or the name of a shipped one; default: the shipped one named like --dataset."""
    loss: Loss = "cld"
    """Loss of the pre-training: MulSupCon_LD with label distributions recovered by contrastive weights (cld)
    or RBF weights (rld), MulSupCon, or the supervised contrastive loss with positives ANY or ALL. bce, asl:
    no pre-training, binary cross-entropy or the asymmetric loss from the same start."""
    protocol: Literal["default", "paper"] = "default"
    """default: the epoch with the best validation mAP, and the threshold with the best micro-F1 there. paper:
    train on train + validation, keep the last epoch; results.json adds the metrics of the public code, each
    with the threshold that is best for it on the test split."""
    seed: int = 0
    """Seed of initialisation, order of rows, masks, views and dropout."""
    resume: bool = False
    """Go on in the run folder from its last checkpoint."""
    overwrite: bool = False
    """Empty the run folder first."""

    pretrain_epochs: int = 100
    """Passes over the training rows before the fine-tuning (not for bce, asl)."""
    epochs: int = 100
    """Passes over the training rows in the fine-tuning, at most."""
    patience: int = 100
    """Stop after this many epochs of fine-tuning without a better validation mAP (default protocol)."""
    batch_size: int = 64
    """Rows in a step, over all processes together."""
    pretrain_learning_rate: float = 1e-3
    """Highest step size of AdamW in the pre-training; the paper has 4e-5."""
    pretrain_minimum_rate: float = 1e-5
    """Its lowest, at the end of each cosine."""
    pretrain_weight_decay: float = 1e-4
    """Decoupled weight decay of AdamW in the pre-training."""
    pretrain_restart: int = 50
    """Epochs of the first cosine of the pre-training; each one after it lasts twice as long."""
    learning_rate: float = 4e-4
    """Highest step size of AdamW in the fine-tuning."""
    minimum_rate: float = 0.0
    """Its lowest; the paper has 1e-4."""
    weight_decay: float = 1e-5
    """Decoupled weight decay in the fine-tuning."""
    restart: int = 100
    """Epochs of the first cosine of the fine-tuning."""
    encoder_rate: float = 1.0
    """Step size of the encoder over that of the layer above it, in the fine-tuning."""

    vector_mask: float = 0.5
    """Vectors: share of the features that each of the two views of the pre-training has zeroed."""
    finetune_mask: float = 0.4
    """Vectors: share of the features that are zeroed in the fine-tuning."""
    image_size: int = 224
    """Side, in pixels, of the square that photographs are brought to; small images keep their size."""
    min_scale: float = 0.2
    """Images: smallest share of the area that a random crop keeps; SimCLR has 0.08."""
    flip: bool = True
    """Mirror half of the images; not for digits and letters."""
    workers: int = 2
    """Processes that read and augment images."""

    encoder: str = "mlp"
    """mlp: three layers, for vectors. Images: any classification network of torchvision by name (the paper:
    resnet50), or resnet8, 14, 20, 32 or 56 for small ones."""
    weights: str = "none"
    """Where an image encoder starts: none, imagenet (torchvision's download), or a file with a state dict
    (.safetensors, .npz, .pt); what does not fit is left out."""
    stem: Literal["imagenet", "cifar"] = "imagenet"
    """First layer of a torchvision ResNet: 7x7, stride 2; or a fresh one for small images, 3x3, stride 1."""
    max_pool: bool = True
    """Keep the max-pooling after that layer."""
    width: int | None = None
    """mlp: units of the first and last layer, half of those of the middle one (256). resnet8 to resnet56:
    channels of the first stage (16)."""
    dropout: float = 0.2
    """mlp: probability that a unit is dropped."""
    projection: Literal["mlp", "linear"] = "mlp"
    """From the representation to the embedding: a hidden layer with batch normalisation, or none."""
    dim: int = 256
    """Dimension of the embedding z."""
    distribution_of: Literal["representation", "embedding"] = "representation"
    """What the layer that generates label distributions, and then classifies, takes."""

    temperature: float = 0.1
    """tau: what cosine similarities are divided by."""
    momentum: float = 0.999
    """Share of the old key network in each update."""
    queue_size: int = 4096
    """Keys of earlier batches to contrast with, any number."""
    positives: Literal["all_keys", "queue"] = "all_keys"
    """Which keys may be positives: those of the batch and the queue (MulSupCon), or of the queue and the
    sample's own one (Algorithm 1)."""
    alpha: float = 1.0
    """Weight of H, Eq. (8): the distance between logical labels and label distribution."""
    beta: float = 0.01
    """Weight of the squared Frobenius norm of W, the layer that generates label distributions."""
    sigma: float | None = None
    """Width of the RBF, Eq. (6) (rld); the paper has 0.01. Default: median distance within the batch."""
    weight: Literal["prob", "neg_log", "literal"] = "prob"
    """Weight of a positive in G (cld): its share exp(C2), -C2, or C2 as printed in Eq. (10), which pushes the
    distributions of positives apart."""
    normalisation: Literal["mean", "literal"] = "mean"
    """Eq. (12) normalised as Eq. (4), or plain sums as printed."""
    relative_labels: bool = False
    """H compares the distribution with labels that are scaled to sum 1."""

    gamma_positive: float = 0.0
    """asl: focusing of positives."""
    gamma_negative: float = 4.0
    """asl: focusing of negatives."""
    margin: float = 0.05
    """asl: what is taken off the probability of negatives."""
    coherent: bool = True
    """With a hierarchy, score a class by the best of itself and its descendants, so that no class exceeds its
    parent."""

    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    """Precision of the matrix products; losses, scores and metrics stay in float32 or better."""
    compile: bool = False
    """Compile the model with torch.compile."""
    checkpoint_every: int = 10
    """Epochs between checkpoints, which --resume needs."""

    @property
    def run_folder(self) -> Path:
        method = self.loss + ("-paper" if self.protocol == "paper" else "")
        return Path(self.output_dir or f"runs/{self.dataset.replace(':', '-')}/{method}/seed-{self.seed}")

    @property
    def view(self) -> Literal["image"] | None:
        """What the encoder takes of a data set: images, or for the mlp what the set gives by itself."""
        return None if self.encoder == "mlp" else "image"

    @property
    def has_distributions(self) -> bool:
        """Whether the loss recovers label distributions."""
        return self.loss in ("cld", "rld")

    @property
    def stage_epochs(self) -> tuple[int, int]:
        """Epochs of pre-training and of fine-tuning."""
        return 0 if self.loss in SUPERVISED else self.pretrain_epochs, self.epochs

    def __post_init__(self) -> None:
        for name in (
            "epochs",
            "patience",
            "batch_size",
            "pretrain_restart",
            "restart",
            "image_size",
            "dim",
            "checkpoint_every",
        ):
            options.check(self, name, getattr(self, name) >= 1, "be at least 1")
        options.check(self, "width", self.width is None or self.width >= 1, "be at least 1")
        for name in ("vector_mask", "finetune_mask", "dropout"):
            options.check(self, name, 0 <= getattr(self, name) < 1, "lie in [0, 1)")
        for name in ("momentum", "min_scale", "margin"):
            options.check(self, name, 0 <= getattr(self, name) <= 1, "lie in [0, 1]")
        options.check(self, "temperature", 0 < self.temperature < float("inf"), "be finite and above 0")
        options.check(
            self, "sigma", self.sigma is None or 0 < self.sigma < float("inf"), "be finite and above 0"
        )
        for name in (
            "pretrain_epochs",
            "pretrain_learning_rate",
            "pretrain_minimum_rate",
            "pretrain_weight_decay",
            "learning_rate",
            "minimum_rate",
            "weight_decay",
            "encoder_rate",
            "workers",
            "queue_size",
            "alpha",
            "beta",
            "gamma_positive",
            "gamma_negative",
        ):
            options.check(self, name, 0 <= getattr(self, name) < float("inf"), "be finite and not negative")
