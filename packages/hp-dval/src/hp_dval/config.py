"""Options of ``hp-dval train``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hmc_shared.cli import options

Method = Literal["hp-dval", "no-sc", "dval", "joint", "coop", "zero-shot"]
Loss = Literal["db-star", "db", "cb-focal", "asl", "mls", "bce"]
Stage = Literal["alignment", "prompts", "joint"]

STAGES: dict[Method, tuple[Stage, ...]] = {
    "hp-dval": ("alignment", "prompts"),
    "no-sc": ("alignment", "prompts"),
    "dval": ("alignment",),
    "joint": ("joint",),
    "coop": ("prompts",),
    "zero-shot": (),
}
FREE = frozenset({"config", "resume", "overwrite", "output_dir", "data_dir", "workers", "cache_gib"})
"""Options that a run may be resumed with whatever they were."""


@dataclass(frozen=True)
class Config:
    """Train HP-DVAL, a part of it or a baseline on images with labels, from a CLIP."""

    dataset: str = "digit-scenes"
    """Data set of images: an embedded one (digits, digit-scenes), the name of a set below --data-dir;
    folder:PATH for nested folders of images, labels:PATH for a folder of images with labels.json, hf:PATH for
    a data set of the `datasets` library with --levels."""
    data_dir: str | None = None
    """Folder of the data sets; default: the environment variable HMC_DATA."""
    levels: str | None = None
    """Columns of labels of a data set hf:PATH, coarse to fine, with commas between them."""
    output_dir: str | None = None
    """Run folder; default: runs/<dataset>/<method>/seed-<seed>; the method's name has the loss behind it if
    that is not db-star, and -paper under that protocol."""
    config: str | None = None
    """YAML file of options, or the name of a shipped one; default: the shipped one named like --dataset."""
    method: Method = "hp-dval"
    """hp-dval: dual-view alignment, then prompt tuning. no-sc: without the semantic consistency loss. dval:
    the alignment alone, with fixed prompts. joint: both at once, for as many epochs as the alignment. coop:
    learned prompts and CLIP's own image embedding. zero-shot: CLIP with fixed prompts, no training."""
    loss: Loss = "db-star"
    """Classification loss: distribution-balanced with weighted positives (db-star, Eq. 15) or without (db),
    class-balanced focal, asymmetric, multi-label soft margin (mls; the same function as bce) or binary
    cross-entropy."""
    protocol: Literal["default", "paper"] = "default"
    """default: the epoch of each stage with the best validation mAP, and the threshold with the best micro-F1
    there. paper: train on train + validation, keep the last epochs."""
    seed: int = 0
    """Seed of initialisation, order of rows and augmentation."""
    resume: bool = False
    """Go on in the run folder from its last checkpoint."""
    overwrite: bool = False
    """Empty the run folder first."""

    clip: str = "tiny"
    """The CLIP: tiny (comes with this package), a model of open_clip such as ViT-B-16, or a .json file with a
    model configuration of open_clip."""
    pretrained: str | None = None
    """Its weights: a file, read without a pickle, or a tag of open_clip such as openai, downloaded. Default:
    those of tiny, random ones for others."""
    templates: list[str] = field(default_factory=lambda: ["a photo of a {}."])
    """Fixed prompt, {} for the name of a class; or one for each level of the hierarchy, from the roots."""
    student: str = "vit_b_16"
    """The ViT that is trained: a vision transformer of torchvision, timm:NAME, small, or clip: a copy of the
    CLIP's own image tower, which resamples images to the size that it takes."""
    weights: str = "none"
    """Where it starts: none, imagenet (a download), or a file with a state dict (.safetensors, .npz, .pt);
    what does not fit is left out. The student clip starts from the CLIP."""
    aligned: str | None = None
    """Folder of a model that is aligned already, such as `aligned` in another run's folder, with the same
    CLIP and student: student and embedding are taken over, whatever its classes, and stage 1 is left out."""
    patch_size: int = 4
    """small: side of a patch, in pixels."""
    width: int = 96
    """small: dimension of the tokens."""
    layers: int = 4
    """small: number of blocks."""
    heads: int = 4
    """small: attention heads of a block."""
    activation: Literal["gelu", "relu"] = "gelu"
    """Between the two linear layers of the embedding; the paper does not say."""

    epochs: int = 20
    """Passes over the training rows in the alignment (stage 1), or in joint training."""
    prompt_epochs: int = 10
    """Passes in the prompt tuning (stage 2)."""
    batch_size: int = 32
    """Rows in a step, over all processes together."""
    learning_rate: float = 1e-4
    """Highest step size of AdamW for the ViT and its embedding layer; the paper has 1e-5."""
    prompt_learning_rate: float = 2e-3
    """Highest step size of AdamW for the prompts; the paper has 5e-6."""
    weight_decay: float = 1e-4
    """Decoupled weight decay of AdamW."""
    schedule: Literal["none", "cosine"] = "cosine"
    """Step sizes over each stage: constant, or a cosine down to 0. The paper does not say."""
    warmup_epochs: float = 1.0
    """Epochs at the start of each stage in which the step sizes rise linearly from 0."""
    sampling: Literal["random", "class-aware"] = "random"
    """Each row once an epoch; or as many draws, of a class and then of a row that has it."""

    alpha: float = 0.4
    """Weight of the global view in the scores, Eq. (5)."""
    k: int = 32
    """Patches in the top-k mean of the local view."""
    prompt_length: int = 4
    """M, the learned vectors before a name."""
    prompts: Literal["both", "global", "local"] = "both"
    """Views with learned prompts; the other one keeps the fixed ones (Table VI)."""
    scale: float | None = None
    """What cosines are multiplied by in losses and probabilities; 1 is the paper as printed. Default: what
    the CLIP was trained with, 100 for the released ones."""
    learn_scale: bool = False
    """Train the scale in stage 1."""
    kd_weight: float = 1.0
    """Weight of the distillation loss, Eq. (2)."""
    kd_space: Literal["embed", "token"] = "embed"
    """What is distilled: the embedded class token and CLIP's image embedding, or both class tokens before the
    projections, which must have the same dimension."""
    sc_weight: float = 1.0
    """Weight of the semantic consistency loss, Eq. (10)."""
    distance: Literal["mean", "sum"] = "mean"
    """The L1 distances of both: mean over the dimensions, or the sum that the paper prints."""
    coherent: bool = True
    """With a hierarchy, score a class by the best of itself and its descendants, so that no class exceeds its
    parent."""

    tau: float = 0.1
    """db: overall lift of the re-balancing weight, Eq. (11)."""
    beta: float = 10.0
    """db: its slope."""
    mu: float = 0.2
    """db: its centre; 0.3 for VOC-LT, 0.2 for COCO-LT."""
    negative_scale: float = 2.0
    """db: lambda, Eq. (13); 5 for VOC-LT, 2 for COCO-LT."""
    kappa: float = 0.05
    """db: strength of the class bias, Eq. (12)."""
    rebalance: Literal["sample", "class", "off"] = "sample"
    """db: Eq. (11) relative to the labels that a sample has (DB paper), to all classes (as printed), or no
    weights."""
    bias: Literal["code", "paper"] = "code"
    """db: the class bias divided by lambda, or as printed."""
    focal: Literal["element", "batch", "off"] = "element"
    """db, cb-focal: focal factor for each entry, one for the batch of a process (as copies of the code have
    it), or none."""
    cb_beta: float = 0.9
    """cb-focal: beta of the effective number of samples."""
    gamma_positive: float = 0.0
    """asl: focusing of positives."""
    gamma_negative: float = 4.0
    """asl: focusing of negatives."""
    margin: float = 0.05
    """asl: what is taken off the probability of negatives."""

    augment: bool = True
    """Stage 1: random shifts of small images, random crops of photographs, and mirror images."""
    prompt_augment: bool = False
    """The same in stage 2; without it, the frozen image tokens are computed once."""
    flip: bool = True
    """Mirror half of the images; not for digits and letters."""
    crop_padding: int = 4
    """Small images: pixels by which an image is shifted at most, each way."""
    image_size: int = 224
    """Side, in pixels, of the square that photographs are brought to; small images keep their size."""
    min_scale: float = 0.25
    """Photographs: smallest share of the area that a random crop keeps."""
    workers: int = 2
    """Processes that read photographs."""
    cache_gib: float = 8.0
    """Largest size of the image tokens that stage 2 keeps, in GiB; beyond it they are computed anew."""

    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    """Precision of the networks' matrix products; scores, losses and metrics stay in float32 or better."""
    compile: bool = False
    """Compile the model with torch.compile."""
    checkpoint_every: int = 5
    """Epochs between checkpoints, which --resume needs."""

    @property
    def label(self) -> str:
        """The method's name in results and folders."""
        return self.method if self.loss == "db-star" or not self.stages else f"{self.method}-{self.loss}"

    @property
    def run_folder(self) -> Path:
        name = self.label + ("-paper" if self.protocol == "paper" else "")
        return Path(self.output_dir or f"runs/{self.dataset.replace(':', '-')}/{name}/seed-{self.seed}")

    @property
    def stages(self) -> list[tuple[Stage, int]]:
        """The stages of the method, each with its epochs."""
        return [
            (stage, self.prompt_epochs if stage == "prompts" else self.epochs)
            for stage in STAGES[self.method]
            if not (self.aligned and stage == "alignment")
        ]

    def __post_init__(self) -> None:
        for name in (
            "epochs",
            "prompt_epochs",
            "batch_size",
            "patch_size",
            "width",
            "layers",
            "heads",
            "k",
            "prompt_length",
            "image_size",
            "checkpoint_every",
        ):
            options.check(self, name, getattr(self, name) >= 1, "be at least 1")
        for name in ("alpha", "min_scale", "margin"):
            options.check(self, name, 0 <= getattr(self, name) <= 1, "lie in [0, 1]")
        options.check(self, "cb_beta", 0 <= self.cb_beta < 1, "lie in [0, 1)")
        options.check(
            self, "scale", self.scale is None or 0 < self.scale < float("inf"), "be finite and above 0"
        )
        options.check(self, "negative_scale", 0 < self.negative_scale < float("inf"), "be finite and above 0")
        for name in (
            "learning_rate",
            "prompt_learning_rate",
            "weight_decay",
            "warmup_epochs",
            "kd_weight",
            "sc_weight",
            "tau",
            "beta",
            "kappa",
            "gamma_positive",
            "gamma_negative",
            "crop_padding",
            "workers",
            "cache_gib",
        ):
            options.check(self, name, 0 <= getattr(self, name) < float("inf"), "be finite and not negative")
