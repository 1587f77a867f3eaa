"""Options of ``hcal train``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from hmc_shared.cli import options

Method = Literal["hcal", "flat", "mmoe", "cagrad", "imtl-g", "nash-mtl"]
Decode = Literal["independent", "path"]

FREE = frozenset({"config", "resume", "overwrite", "output_dir", "data_dir", "workers"})
"""Options that a run may be resumed with whatever they were."""


@dataclass(frozen=True)
class Config:
    """Train HCAL, or a baseline with the same encoder, on images (or vectors) with a tree of classes."""

    dataset: str = "digits"
    """Data set: digits (embedded), cifar100, grocery, fgvc-aircraft; folder:PATH for nested folders of
    images, hf:PATH for a data set of the `datasets` library with --levels, table:PATH for a .csv or .parquet
    file of vectors (--encoder mlp)."""
    data_dir: str | None = None
    """Folder of the data sets; default: the environment variable HMC_DATA."""
    levels: str | None = None
    """Columns of labels of a data set hf:PATH or table:PATH, coarse to fine, with commas between them."""
    output_dir: str | None = None
    """Run folder; default: runs/<dataset>/<method>/seed-<seed>, or <method>-paper under that protocol."""
    config: str | None = None
    """YAML file of options, or the name of a shipped one; default: the shipped one named like --dataset."""
    method: Method = "hcal"
    """hcal; flat: a linear layer and cross-entropy for each level on a shared encoder; mmoe: with a mixture
    of experts in between; cagrad, imtl-g, nash-mtl: flat, the levels' gradients combined by that method."""
    protocol: Literal["default", "paper"] = "default"
    """default: the epoch with the best leaf accuracy on the validation split, probabilities calibrated on it.
    paper: train on train + validation, keep the last epoch, with the paper's settings where the data set's
    configuration has them."""
    decode: Decode = "independent"
    """independent: the best node of each level (the paper). path: the best path from root to leaf, so that no
    prediction breaks the hierarchy."""
    seed: int = 0
    """Seed of initialisation, order of rows, augmentation and perturbation."""
    resume: bool = False
    """Go on in the run folder from its last checkpoint."""
    overwrite: bool = False
    """Empty the run folder first."""

    epochs: int = 100
    """Passes over the training rows."""
    batch_size: int = 64
    """Rows in a step, over all processes together."""
    learning_rate: float = 0.05
    """Step size of SGD for the encoder; the paper has 0.01."""
    prototype_learning_rate: float = 0.05
    """Step size for the prototypes of the deepest level; each level above has twice that of the one below."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 5e-4
    """L2 penalty on all parameters, added to the gradient; the paper has 1e-4."""
    schedule: Literal["none", "cosine"] = "cosine"
    """Step sizes over the run: constant (the paper), or a cosine down to 0."""
    warmup_epochs: float = 1.0
    """Epochs in which the step sizes rise linearly from 0."""

    encoder: str = "resnet18"
    """Any classification network of torchvision by name; resnet8, 14, 20, 32 or 56 for small images; mlp for
    vectors."""
    weights: str = "none"
    """Where the encoder starts: none, imagenet (torchvision's download), or a file with a state dict
    (.safetensors, .npz, .pt); what does not fit the encoder is left out."""
    stem: Literal["imagenet", "cifar"] = "imagenet"
    """First layer of a torchvision ResNet: 7x7, stride 2; or a fresh one for small images, 3x3, stride 1."""
    max_pool: bool = True
    """Keep the max-pooling after that layer; the paper's code has none."""
    width: int | None = None
    """Channels of the first stage of resnet8 to resnet56 (default 16), or units of each mlp layer (256)."""
    dim: int = 256
    """Dimension of features and prototypes."""

    temperature: float = 0.1
    """tau of Eq. (6): what cosine similarities are divided by."""
    gamma: float = 0.5
    """gamma of Eq. (11): a small one gives the level with the largest loss nearly all the weight."""
    epsilon: float = 0.01
    """Strength of the perturbation of prototypes, Eq. (3); 0: none."""
    positives: Literal["perturbed", "both"] = "perturbed"
    """Positives of Eq. (6): the perturbed prototype (the paper's code), or the original, too (the paper)."""
    aggregation: bool = True
    """Above the deepest level, contrast group means of features with the prototypes, not each sample."""
    renormalise_group_mean: bool = False
    """Scale the group means to length 1."""
    weighting: Literal["adaptive", "fixed"] = "adaptive"
    """Level weights by Eq. (11), or all equal. Without effect under --task single."""
    task: Literal["multi", "single"] = "multi"
    """One encoder for all levels, or a network for each level, trained by itself (Table 2, first row)."""

    crop_padding: int = 4
    """Small images: pixels by which an image is shifted at most, each way."""
    flip: bool = True
    """Mirror half of the images; not for digits and letters."""
    rotation: float = 0.0
    """Degrees by which a small image is rotated at most, each way."""
    image_size: int = 224
    """Side, in pixels, of the square that photographs are brought to; small images keep their size."""
    min_scale: float = 0.25
    """Photographs: smallest share of the area that a random crop keeps."""
    workers: int = 2
    """Processes that read photographs."""

    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    """Precision of the encoder's matrix products; losses, scores and metrics stay in float32 or better."""
    compile: bool = False
    """Compile the network with torch.compile."""
    checkpoint_every: int = 5
    """Epochs between checkpoints, which --resume needs."""

    @property
    def run_folder(self) -> Path:
        method = self.method + ("-paper" if self.protocol == "paper" else "")
        return Path(self.output_dir or f"runs/{self.dataset.replace(':', '-')}/{method}/seed-{self.seed}")

    @property
    def view(self) -> Literal["image"] | None:
        """What the encoder takes of a data set: images, or for the mlp what the set gives by itself."""
        return None if self.encoder == "mlp" else "image"

    def __post_init__(self) -> None:
        methods = get_args(Method)
        options.check(self, "method", self.method in methods, f"be one of {', '.join(methods)}")
        for name in ("epochs", "batch_size", "dim", "image_size", "checkpoint_every"):
            options.check(self, name, getattr(self, name) >= 1, "be at least 1")
        options.check(self, "width", self.width is None or self.width >= 1, "be at least 1")
        for name in ("temperature", "gamma"):
            options.check(self, name, 0 < getattr(self, name) < float("inf"), "be finite and above 0")
        for name in ("momentum", "min_scale"):
            options.check(self, name, 0 <= getattr(self, name) <= 1, "lie in [0, 1]")
        for name in (
            "learning_rate",
            "prototype_learning_rate",
            "weight_decay",
            "warmup_epochs",
            "epsilon",
            "crop_padding",
            "rotation",
            "workers",
        ):
            options.check(self, name, 0 <= getattr(self, name) < float("inf"), "be finite and not negative")
