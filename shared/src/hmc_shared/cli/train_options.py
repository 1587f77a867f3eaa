"""The options that the trainers share, in the groups of ``train --help``.

A trainer's ``Config`` inherits from groups of its own and, last, from :class:`TrainOptions`: so a group may
give an option another default or text by saying it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from hmc_shared.cli.bounds import (
    FREE,
    Bounds,
    Count,
    NonNegative,
    NonNegativeInt,
    Positive,
    Seed,
    ShareBelow1,
    check,
    check_options,
    free_options,
)
from hmc_shared.cli.metavars import Codes, Columns, File, Folder, Levels, Name, Percentiles
from hmc_shared.resizing import Resize
from hmc_shared.unsure import Blank, Uncertain

Tracker = Literal[
    "aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "tensorboard", "trackio", "wandb"
]


ThresholdBy = Literal["all", "class"]

READING = (
    *("levels", "features", "drop", "categorical", "evidence", "uncertain", "blank", "window"),
    *("on_error", "workers", "set_aside"),
)
"""Options that say how a data set is read."""


@dataclass(frozen=True)
class DataOptions:
    title: ClassVar[str] = "data"

    dataset: Annotated[str, Name] = "digits"
    """Data set: an embedded one (digits, digit-scenes, products), or the name of a set below --data-dir;
    table:PATH for a .csv, .tsv or .parquet file, folder:PATH for nested folders of images, labels:PATH for
    images with a labels.json or a table of paths and labels, hf:PATH for a data set of the `datasets` library
    with --levels."""
    data_dir: Annotated[str | None, FREE, Folder] = None
    """Folder of the data sets; default: the environment variable HMC_DATA."""
    levels: Annotated[str | None, Levels] = None
    """Columns of labels of a data set hf:PATH, table:PATH or a table labels:PATH, coarse to fine, with commas
    between them; or one column of several labels, as `labels` of table:PATH."""

    @property
    def reading(self) -> dict[str, Any]:
        """What ``load_dataset`` is told beside name, folder, view and protocol."""
        return {name: getattr(self, name) for name in READING if hasattr(self, name)}


@dataclass(frozen=True)
class FeatureOptions(DataOptions):
    """For methods that take vectors."""

    features: Annotated[list[str], Columns] = field(default_factory=list[str])
    """Columns of a data set hf:PATH or table:PATH to take as features; default: all of numbers."""
    drop: Annotated[list[str], Columns] = field(default_factory=list[str])
    """Columns to leave out."""
    categorical: Annotated[list[str], Columns] = field(default_factory=list[str])
    """Columns of words to take, each word of the training rows as a feature."""
    evidence: Annotated[list[str], Codes] = field(default_factory=list[str])
    """Evidence codes that count in a .gaf file beside a table; default: all."""


@dataclass(frozen=True)
class ImageOptions:
    title: ClassVar[str] = "images"

    uncertain: Uncertain = "refuse"
    """What -1 is in a column of 0 and 1 of a table labels:PATH; default: an error that names the line."""
    blank: Blank = "refuse"
    """What an empty cell is in such a column: in CheXpert, negative."""
    window: Annotated[str | None, Percentiles] = None
    """Percentiles of the numbers of an image of more than 8 bits that become black and white, such as 1,99;
    default: 16 bits are scaled from 0 to 65535, DICOM by the window in the file."""
    flip: bool = True
    """Mirror half of the images; not for digits and letters."""
    image_size: Count = 224
    """Side, in pixels, of the square that images of a folder or archive are resized to; images that are all
    of one small size keep it."""
    resize: Resize = "imagenet"
    """How an image becomes that square, in predictions: squash, all of it, distorted; pad, all of it, black
    beside it; crop, the middle, as CLIP does; imagenet, 7/8 of the middle, as ImageNet is evaluated."""
    min_scale: Annotated[float, Bounds(0, 1)] = 0.25
    """Smallest share of the area that a random crop of an image keeps."""
    on_error: Literal["refuse", "skip"] = "refuse"
    """What to do with images that cannot be decoded, before the training: end with the name of the first, or
    leave them out with a note."""
    workers: Annotated[int, Bounds(0), FREE] = 2
    """Processes that read images."""


@dataclass(frozen=True)
class FreezeOptions:
    """For networks that start from weights."""

    title: ClassVar[str] = "network"

    freeze: str = "none"
    """What of the encoder is not trained: none, all, or stages:N, its stem and first N - 1 blocks. Frozen
    batch normalisation keeps its statistics."""
    layer_decay: Annotated[float, Bounds(0, 1, open_low=True)] = 1.0
    """Step size of the encoder's last stage over that of the layers above it, and of each stage over that of
    the next one."""


@dataclass(frozen=True)
class EncoderOptions(FreezeOptions):
    encoder: str = "resnet18"
    """Any classification network of torchvision by name, or timm:NAME; lite0, lite1 or lite2, with weights
    of their own; resnet8, 14, 20, 32 or 56 for small images; mlp for vectors."""
    weights: str = "none"
    """Where the encoder starts: none; imagenet, what torchvision or timm has for it (a download); lite0,
    lite1 or lite2, from an installed package; or a file with a state dict (.safetensors, .npz, .pt), of which
    is left out what does not fit. With weights, images are normalised as the encoder expects them."""
    stem: Literal["imagenet", "cifar"] = "imagenet"
    """First layer of a torchvision ResNet: 7x7, stride 2; or a fresh one for small images, 3x3, stride 1."""
    max_pool: bool = True
    """Keep the max-pooling after that layer."""
    width: Count | None = None
    """Channels of the first stage of resnet8 to resnet56 (default 16), or units of an mlp layer (256)."""

    @property
    def view(self) -> Literal["image"] | None:
        """What the encoder takes of a data set: images, or for the mlp what the set gives by itself."""
        return None if self.encoder == "mlp" else "image"


@dataclass(frozen=True)
class OptimisationOptions:
    title: ClassVar[str] = "optimisation"

    epochs: Count = 100
    """Passes over the training rows."""
    batch_size: Count = 64
    """Rows in a step, over all processes together."""
    learning_rate: NonNegative = 1e-3
    """Highest step size."""
    weight_decay: NonNegative = 0.0
    """Weight decay."""
    clip_norm: Positive | None = None
    """Largest norm of the gradients of a step; default: any."""
    skip_bad_steps: Annotated[NonNegativeInt, FREE] = 0
    """Steps of the whole run that may be left out because their gradients are not finite."""
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    """Precision of the matrix products; losses, scores and metrics stay in float32 or better."""
    compile: bool = False
    """Compile the network with torch.compile."""


@dataclass(frozen=True)
class ImageTrainingOptions(OptimisationOptions):
    """For methods that train an encoder of images."""

    warmup_epochs: NonNegative = 1.0
    """Epochs in which the step sizes rise linearly from 0."""
    accumulate: Count = 1
    """Batches whose gradients make one step; losses that compare the rows of a batch see one at a time."""
    sampling: Literal["random", "class-aware"] = "random"
    """Each row once an epoch; or as many draws, of a class and then of a row that has it."""


@dataclass(frozen=True)
class CosineOptions(ImageTrainingOptions):
    schedule: Literal["none", "cosine"] = "cosine"
    """Step sizes after the warm-up: constant, or a cosine over all epochs down to 0."""


@dataclass(frozen=True)
class StoppingOptions(OptimisationOptions):
    patience: Count | None = None
    """Stop after this many epochs without a better validation score (default protocol); default: never."""


@dataclass(frozen=True)
class RunOptions:
    title: ClassVar[str] = "run"

    output_dir: Annotated[str | None, FREE, Folder] = None
    """Run folder; default: runs/<dataset>/<method>/seed-<seed>, or <method>-<protocol> under another
    protocol than the default."""
    config: Annotated[str | None, FREE, File] = None
    """YAML file of options, or the name of a shipped one; default: the shipped one named like --dataset."""
    protocol: Literal["default", "paper"] = "default"
    """default: train on the training split, the epoch with the best validation score. paper: train on
    training + validation, keep the last epoch."""
    set_aside: ShareBelow1 = 0.0
    """Share of the validation rows, drawn at random, that nothing is fitted or chosen on: by these `predict
    --target-error` keeps its promise."""
    seed: Seed = 0
    """Seed of all that is random: initialisation, order of rows, augmentation, dropout."""
    test: Annotated[bool, FREE] = True
    """Score the test split at the end. --no-test, for a search: what was best in validation goes to
    validation.json, and no model is saved."""
    resume: Annotated[bool, FREE] = False
    """Go on in the run folder from its last checkpoint."""
    overwrite: Annotated[bool, FREE] = False
    """Empty the run folder first."""
    log_with: Annotated[Tracker | None, FREE] = None
    """Also hand options, curves and metrics to this experiment tracker."""
    dry_run: Annotated[bool, FREE] = False
    """Only read the data, take three steps, and tell sizes, time and memory of the whole training."""
    checkpoint_every: Annotated[int, Bounds(1), FREE] = 5
    """Epochs between checkpoints, which --resume needs."""
    checkpoint_minutes: Annotated[Positive, FREE] = 30.0
    """Minutes after which a checkpoint is written within an epoch."""


@dataclass(frozen=True)
class TrainOptions(RunOptions, OptimisationOptions, DataOptions):
    """What every trainer has. Raises ValueError for a value out of its bounds."""

    package: ClassVar[str]
    """Name of the distribution, for ``results.json``."""

    def __post_init__(self) -> None:
        check_options(self)
        has_validation = self.protocol != "paper"
        check(
            self,
            "test",
            self.test or has_validation,
            "stay on under --protocol paper, without validation",
        )

    @property
    def label(self) -> str:
        """The method's name in results and folders."""
        raise NotImplementedError

    @property
    def run_folder(self) -> Path:
        name = self.label + ("" if self.protocol == "default" else f"-{self.protocol}")
        return Path(self.output_dir or default_folder(self.dataset) / name / f"seed-{self.seed}")

    def free_on_resume(self) -> frozenset[str]:
        """The options that a run may be resumed with whatever they were."""
        return free_options(type(self))


@dataclass(frozen=True)
class DecidingOptions(TrainOptions):
    """For methods that decide by a threshold where samples may have several paths."""

    title: ClassVar[str] = "run"

    threshold_by: ThresholdBy = "all"
    """all: one threshold for all classes, with the best micro-F1 in validation. class: each class its own,
    with its own best F1 there, which finds more of the rare ones; a class with fewer than 5 positives there
    has that of all. Only where samples may have several paths."""

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.threshold_by == "all" or self.protocol != "paper"
        check(self, "threshold_by", fits, "be all under --protocol paper, without validation")


TABLES = (".csv", ".tsv", ".parquet")
"""Endings that are not part of a data set's name."""


def default_folder(dataset: str) -> Path:
    """Where the runs on a data set go: a folder below ``runs``, whatever path ``--dataset`` has.

    >>> default_folder("table:../../data/plants.csv").as_posix()
    'runs/table-plants'
    """
    kind, colon, path = dataset.partition(":")
    if not colon:
        return Path("runs", kind)
    last = Path(path).resolve()
    return Path("runs", f"{kind.lower()}-{last.stem if last.suffix in TABLES else last.name}")
