"""Options of the commands ``hp-dval train``, ``evaluate``, ``predict`` and ``explain``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from hmc_shared.cli.bounds import FREE, Bounds, Count, NonNegative, NonNegativeInt, Positive, Share, check
from hmc_shared.cli.commands import EvaluateOptions, PredictOptions
from hmc_shared.cli.metavars import File, Names, RunFolder, Templates
from hmc_shared.cli.train_options import CosineOptions, DecidingOptions, FreezeOptions, ImageOptions
from hmc_shared.resizing import Resize

MethodName = Literal[
    "hp-dval",
    "no-sc",
    "dval",
    "joint",
    "coop",
    "cocoop",
    "dualcoop",
    "tai-dpt",
    "lmpt",
    "zero-shot",
    "prototypes",
    "plain",
    "ml-gcn",
    "bbn",
]
Loss = Literal["db-star", "db", "cb-focal", "asl", "mls", "bce", "rw", "ldam", "ranking"]
Stage = Literal["alignment", "prompts", "joint", "encoder"]
Context = Literal["shared", "class"]

STAGES: dict[MethodName, tuple[Stage, ...]] = {
    "hp-dval": ("alignment", "prompts"),
    "no-sc": ("alignment", "prompts"),
    "dval": ("alignment",),
    "joint": ("joint",),
    "coop": ("prompts",),
    "cocoop": ("prompts",),
    "dualcoop": ("prompts",),
    "tai-dpt": ("prompts",),
    "lmpt": ("prompts",),
    "zero-shot": (),
    "prototypes": (),
    "plain": ("encoder",),
    "ml-gcn": ("encoder",),
    "bbn": ("encoder",),
}
WITH_OFFSET = ("coop", "cocoop", "lmpt", "zero-shot")
SUFFIXES = (".png", ".svg", ".pdf")
"""Of pictures."""


@dataclass(frozen=True)
class NetworkOptions(FreezeOptions):
    title: ClassVar[str] = "network"

    clip: str = "tiny"
    """The CLIP: tiny (comes with this package, and has seen handwritten digits alone), a model of open_clip
    such as ViT-B-16, a .json file with a model configuration of open_clip, local-dir:FOLDER or hf-hub:NAME,
    a folder or a repository with configuration and weights."""
    pretrained: str | None = None
    """Its weights: a file, read without a pickle, OpenAI's .pt among them, or a tag of open_clip such as
    openai, downloaded. Default: those that come with the CLIP, random ones where none do."""
    templates: Annotated[list[str], Templates] = field(default_factory=lambda: ["a photo of a {}."])
    """Fixed prompt, {} for the text of a class; or one for each level of the hierarchy, from the roots."""
    class_texts: str | None = None
    """File with one or more texts for each class (.yaml, .json, or .csv with two columns), instead of its
    name in words. Fixed prompts are the mean over all, learned ones stand before the first; with --templates
    '{}' a text is the whole prompt."""
    student: str = "clip"
    """The ViT that is trained: clip, a copy of the CLIP's own image tower, which resamples images to the size
    that it takes; a vision transformer of torchvision (the paper: vit_b_16), timm:NAME, or small. plain,
    ml-gcn and bbn: also any other classification network of torchvision, such as resnet50."""
    weights: str = "none"
    """Where it starts: none, imagenet (a download), or a file with a state dict (.safetensors, .npz, .pt);
    what does not fit is left out. With weights, images are normalised as the student expects them. The
    student clip starts from the CLIP."""
    aligned: str | None = None
    """Folder of a model that is aligned already, such as `aligned` in another run's folder, with the same
    CLIP and student: student and embedding are taken over, whatever its classes, and stage 1 is left out."""
    patch_size: Count = 4
    """small: side of a patch, in pixels."""
    width: Count = 96
    """small: dimension of the tokens."""
    layers: Count = 4
    """small: number of blocks."""
    heads: Count = 4
    """small: attention heads of a block."""
    alpha: Share = 0.4
    """Weight of the global view in the scores, Eq. (5)."""
    k: Count | None = None
    """Patches in the top-k mean of the local view; default: 32, all where there are fewer."""
    prompt_length: Count = 4
    """M, the learned vectors before the text of a class: 4 in HP-DVAL, 16 in CoOp."""
    context: Context = "shared"
    """Learned vectors shared over the classes, or each class its own, which takes more images of it."""
    offset: bool = False
    """coop, cocoop, lmpt, zero-shot: add to the logits of each class what makes their mean probability on
    training rows the share of its positives."""
    prompts: Literal["both", "global", "local"] = "both"
    """Views with learned prompts; the other one keeps the fixed ones (Table VI)."""
    scale: Positive | None = None
    """What cosines are multiplied by in losses and probabilities; 1 is the paper as printed. Default: what
    the CLIP was trained with, 100 for the released ones; tai-dpt: 4."""
    coherent: bool = True
    """With a hierarchy, score a class by the best of itself and its descendants, so that no class exceeds its
    parent."""


@dataclass(frozen=True)
class LossOptions:
    title: ClassVar[str] = "loss"

    loss: Loss = "db-star"
    """Classification loss: distribution-balanced with weighted positives (db-star, Eq. 15) or without (db),
    class-balanced focal, asymmetric, multi-label soft margin (mls; the same function as bce), binary
    cross-entropy, the same with classes weighted by sqrt(n / n_i) (rw), or with margins that are larger for
    rare classes (ldam); or labels a margin above all other classes (ranking, of tai-dpt)."""
    kd_weight: NonNegative = 1.0
    """Weight of the distillation loss, Eq. (2)."""
    sc_weight: NonNegative = 1.0
    """Weight of the semantic consistency loss, Eq. (10)."""
    mu: NonNegative = 0.2
    """db: centre of the re-balancing weight, Eq. (11); 0.3 for VOC-LT, 0.2 for COCO-LT."""
    negative_scale: Positive = 2.0
    """db: lambda, Eq. (13); 5 for VOC-LT, 2 for COCO-LT."""
    partial_labels: bool = False
    """Take the classes below a sample's deepest label as unknown, not as absent, for samples that are
    labelled as far as somebody could tell. The loss, and what validation chooses, then leave them out."""


@dataclass(frozen=True)
class StageOptions(CosineOptions):
    epochs: Count = 20
    """Passes over the training rows in the alignment (stage 1), in joint training, or of plain,
    ml-gcn and bbn."""
    prompt_epochs: Count = 10
    """Passes in the prompt tuning (stage 2)."""
    batch_size: Count = 32
    """Rows in a step, over all processes together."""
    learning_rate: NonNegative = 1e-4
    """Highest step size of AdamW for the ViT and its embedding layer; the paper has 1e-5."""
    prompt_learning_rate: NonNegative = 2e-3
    """Highest step size of AdamW for the prompts; the paper has 5e-6."""
    weight_decay: NonNegative = 1e-4
    """Decoupled weight decay of AdamW."""
    warmup_epochs: NonNegative = 1.0
    """Epochs at the start of each stage in which the step sizes rise linearly from 0."""
    cache_gib: Annotated[float, Bounds(0), FREE] = 8.0
    """Largest size of the image tokens that stage 2 keeps, in GiB; beyond it they are computed anew."""


@dataclass(frozen=True)
class StudentImageOptions(ImageOptions):
    resize: Resize = "squash"
    """How an image becomes that square, in predictions: squash, all of it, distorted; pad, all of it, black
    beside it; crop, the middle, as CLIP does; imagenet, 7/8 of the middle, as ImageNet is evaluated. What is
    cut off takes its labels along."""
    crop_padding: NonNegativeInt = 4
    """Small images: pixels by which an image is shifted at most, each way, in stage 1."""


@dataclass(frozen=True)
class Config(NetworkOptions, LossOptions, StageOptions, StudentImageOptions, DecidingOptions):
    """Train HP-DVAL, a part of it or a baseline on images with labels, from a CLIP."""

    package: ClassVar[str] = "hp-dval"
    title: ClassVar[str] = "method"

    dataset: str = "digit-scenes"
    """Data set of images: an embedded one (digits, digit-scenes), the name of a set below --data-dir;
    folder:PATH for nested folders of images, labels:PATH for images with a labels.json or a table of
    paths and labels, hf:PATH for a data set of the `datasets` library with --levels."""
    output_dir: Annotated[str | None, FREE] = None
    """Run folder; default: runs/<dataset>/<method>/seed-<seed>; the method's name has the loss behind it if
    that is not db-star, and -paper under that protocol."""
    method: MethodName = "hp-dval"
    """hp-dval: dual-view alignment, then prompt tuning. no-sc: without the semantic consistency loss. dval:
    the alignment alone, with fixed prompts. joint: both at once, for as many epochs as the alignment. coop:
    learned prompts and CLIP's own image embedding. cocoop: learned vectors that are moved by the image.
    dualcoop: a positive and a negative prompt, by regions of the image. tai-dpt: prompts for the image and
    its regions, learned from sentences with class names instead of images. lmpt: coop, whose texts are drawn
    to the captions of images. zero-shot: CLIP with fixed prompts, no training. prototypes: the mean image
    embedding of the training rows of a class instead of its text, no training. plain: the student and a
    linear layer, no texts, and without --student clip no CLIP. ml-gcn: the student, and a classifier of each
    class that a graph of labels makes of the texts. bbn: as plain, with a branch for all rows and one for
    those of rare classes, from the first to the second over the epochs; batch_size rows of each."""
    protocol: Literal["default", "paper"] = "default"
    """default: the epoch of each stage with the best validation mAP, and the threshold with the best micro-F1
    there. paper: train on train + validation, keep the last epochs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        has_steps = not self.dry_run or bool(self.stages)
        check(self, "dry_run", has_steps, "be left out with a method that trains nothing")
        has_offset = not self.offset or self.method in WITH_OFFSET
        check(self, "offset", has_offset, f"be left out but with the methods {', '.join(WITH_OFFSET)}")
        is_shared = self.context == "shared" or self.method != "cocoop"
        check(self, "context", is_shared, "be shared with cocoop")
        is_random = self.sampling == "random" or self.method != "bbn"
        check(self, "sampling", is_random, "be random with bbn, which has its own")

    @property
    def label(self) -> str:
        return self.method if self.loss == "db-star" or not self.stages else f"{self.method}-{self.loss}"

    @property
    def uses_clip(self) -> bool:
        return self.method not in ("plain", "bbn") or self.student == "clip"

    @property
    def stages(self) -> list[tuple[Stage, int]]:
        """The stages of the method, each with its epochs."""
        return [
            (stage, self.prompt_epochs if stage == "prompts" else self.epochs)
            for stage in STAGES[self.method]
            if not (self.aligned and stage == "alignment")
        ]


@dataclass(frozen=True)
class EvaluateConfig(EvaluateOptions):
    """Score a split of a data set with a trained model and print the metrics."""

    library: ClassVar[str] = "hp_dval"


@dataclass(frozen=True)
class PredictConfig(PredictOptions):
    """Write the labels, and the calibrated probability of every class, for each image.

    Labels are those at the threshold that was best in validation. A run of --protocol paper has none: they
    are the classes with probability 1/2 or more, or, where samples have one path each, the path to the most
    probable leaf. With a hierarchy, no class is more probable than its parent.
    """

    library: ClassVar[str] = "hp_dval"


@dataclass(frozen=True)
class ExplainConfig:
    """Draw an image beside the responses of its patches to the global and local prompts of classes."""

    library: ClassVar[str] = "hp_dval"

    run: Annotated[str, tyro.conf.Positional, RunFolder]
    """Run folder, or the folder of a saved model."""
    image: Annotated[str, tyro.conf.Positional, File]
    """Image file."""
    labels: Annotated[list[str] | None, Names] = None
    """Classes, a row each; default: the three with the highest scores of their own."""
    output: Annotated[str | None, File] = None
    """File for the picture, .png, .svg or .pdf; default: the image's name with -explained.png, here."""

    def __post_init__(self) -> None:
        if self.output and Path(self.output).suffix not in SUFFIXES:
            raise ValueError(f"`--output` should end in one of {', '.join(SUFFIXES)}. Found {self.output}.")
