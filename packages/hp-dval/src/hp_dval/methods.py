"""What each ``--method`` and ``--loss`` is: network, prompts, classification loss, distillation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hmc_shared.data import HierarchicalDataset
from hmc_shared.runs.folder import load_pretrained
from hmc_shared.vision.pixels import CROP, input_statistics, some_images
from hmc_shared.vision.weights import load_weights
from hp_dval.baselines import ClipClassifier
from hp_dval.clip import Clip
from hp_dval.config import Config
from hp_dval.losses import (
    asymmetric_loss,
    bce_loss,
    class_balanced_focal_loss,
    db_loss,
    l1_distance,
)
from hp_dval.model import HPDVAL, ImageTextClassifier, Outputs, Prompter
from hp_dval.prompts import Prompts, class_names, fixed_texts, text_embeddings
from hp_dval.students import CLIP, TIMM, timm_state

MODELS: dict[str, type[ImageTextClassifier]] = {model.method: model for model in (HPDVAL, ClipClassifier)}
CLIP_ITSELF = ("coop", "zero-shot")
"""Methods whose images are embedded by the CLIP, not by a student."""


def build_model(config: Config, dataset: HierarchicalDataset, clip: Clip) -> ImageTextClassifier:
    """The network of ``config.method``, with those options of ``config`` that its constructor names.

    It has the fixed prompts' text embeddings, and of a student the statistics that normalise images: of the
    training images if they are small, of ImageNet for photographs. Raises ValueError for data or options that
    do not suit.
    """
    inputs = dataset.train.inputs
    if dataset.kind != "image":
        raise ValueError(f"`--dataset` should have images. Found the feature vectors of {dataset.name!r}.")
    is_table = not isinstance(inputs, Tensor)
    model_type = ClipClassifier if config.method in CLIP_ITSELF else HPDVAL
    names = signature(model_type.__init__).parameters.keys() & vars(config).keys()
    chosen = {name: getattr(config, name) for name in names}
    chosen |= {"dim": clip.dim, "text_width": clip.text_width, "scale": config.scale or clip.logit_scale}
    chosen["crop"] = CROP if is_table else 1.0
    shape = (3, config.image_size, config.image_size) if is_table else tuple(inputs.shape[1:])
    texts = fixed_texts(dataset.hierarchy, config.templates)
    if model_type is ClipClassifier:
        model: Any = ClipClassifier(dataset.hierarchy, shape, clip.config, **chosen)
        model.image_tower.load_state_dict(clip.image_tower.state_dict())
    else:
        clip_config = clip.config if config.student == CLIP else None
        model = HPDVAL(dataset.hierarchy, shape, clip_config=clip_config, **chosen)
        if statistics := input_statistics(dataset):
            model.input_mean.copy_(statistics[0].view_as(model.input_mean))
            model.input_scale.copy_(statistics[1].view_as(model.input_scale))
        if not config.aligned:
            start_student(config, model, clip, inputs)
    if config.aligned:
        take_over_alignment(model, config.aligned)
    model.fixed_text.copy_(text_embeddings(clip, texts))
    model.text.copy_(model.fixed_text.expand_as(model.text))
    return model


def start_student(config: Config, model: HPDVAL, clip: Clip, inputs: Any) -> None:
    """Give the student the weights that ``--weights`` names, or those of the CLIP's own image tower.

    ``inputs`` are the training images. Raises ValueError for weights that cannot be had or do not fit.
    """
    network = model.student.network
    if config.student == CLIP:
        network.start_from(clip)
    elif config.weights == "imagenet" and config.student.startswith(TIMM):
        network.load_state_dict(timm_state(config.student, model.input_shape[-1]))
    elif config.weights != "none":
        images = model.normalize(some_images(inputs, model.input_shape, model.crop))
        print(load_weights(network, config.weights, config.student, images), file=sys.stderr)


def take_over_alignment(model: ImageTextClassifier, folder: str) -> None:
    """Give a model what stage 1 trained of a saved one: student, embedding, pixel statistics and scale.

    Raises ValueError for a folder that holds no such model.
    """
    aligned = load_model(folder)
    own = [name for name in model.state_dict() if name.startswith(("student.", "embedding.", "input_"))]
    state = aligned.state_dict()
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    if not own or any(name not in state or state[name].shape != shapes[name] for name in own):
        raise ValueError(
            "`--aligned` should be the folder of an HP-DVAL model with the same student and CLIP. "
            f"Found {folder!r}."
        )
    model.load_state_dict({name: state[name] for name in [*own, "log_scale"]}, strict=False)


class Network(nn.Module):
    """The model as the accelerator prepares it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, prompter: Prompter | None) -> Outputs:
        return self.model(inputs, prompter)


def build_prompter(config: Config, model: ImageTextClassifier, clip: Clip) -> Prompter:
    """From the learned vectors of the model's views to text embeddings, fixed where ``--prompts`` says so."""
    prompts = Prompts(clip, class_names(model.hierarchy), config.prompt_length)
    learned = {"both": slice(0, 2), "global": slice(0, 1), "local": slice(1, 2)}[config.prompts]
    if len(model.text) == 1 or config.prompts == "both":
        return prompts
    return PartlyFixed(prompts, model, learned)


class PartlyFixed(nn.Module):
    """Prompts of which only one view is learned (Table VI)."""

    def __init__(self, prompts: Prompts, model: ImageTextClassifier, learned: slice) -> None:
        super().__init__()
        self.prompts, self.fixed_text, self.learned = prompts, model.fixed_text, learned

    def forward(self, contexts: Tensor) -> Tensor:
        """Text embeddings (2, C, D_e); the other view's vectors get gradient 0."""
        found = self.prompts(contexts[self.learned])
        fixed = self.fixed_text.unsqueeze(0)
        return torch.cat([found, fixed] if self.learned.start == 0 else [fixed, found])


def classification_loss(
    config: Config, counts: Tensor, n: int, evaluated: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss L_cls of logits and labels (B, C), one a sample (B,), over the evaluated classes.

    Args:
        config: which loss, and its options.
        counts: (C,) positives of each class among the training rows, on the device of the logits.
        n: training rows.
        evaluated: (C,) bool, on that device.
    """
    counts = counts[evaluated]
    places = evaluated.nonzero().squeeze(1)
    db = {
        "weighted_positives": config.loss == "db-star",
        **{name: getattr(config, name) for name in ("tau", "beta", "mu", "negative_scale", "kappa")},
        **{name: getattr(config, name) for name in ("rebalance", "bias", "focal")},
    }
    asl = {name: getattr(config, name) for name in ("gamma_positive", "gamma_negative", "margin")}

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        logits, labels = logits.index_select(1, places), labels.index_select(1, places)
        match config.loss:
            case "db-star" | "db":
                return db_loss(logits, labels, counts, n, **db)
            case "cb-focal":
                return class_balanced_focal_loss(
                    logits, labels, counts, beta=config.cb_beta, focal=config.focal
                )
            case "asl":
                return asymmetric_loss(logits, labels, **asl)
            case _:
                return bce_loss(logits, labels)

    return loss


def teacher_features(config: Config, clip: Clip, raw: Tensor) -> Tensor:
    """f_CLIP of Eq. (2), (B, D) float32, of raw images: CLIP normalises the same crop in its own way."""
    images = clip.preprocess(raw)
    if config.kd_space == "token":
        return clip.image_tower.class_token(images).float()
    return clip.encode_image(images).float()


def distillation_loss(config: Config, outputs: Outputs, teacher: Tensor) -> Tensor:
    """L_kd of Eq. (2), (B,). Raises ValueError if student and teacher differ in dimension."""
    student = outputs.class_token if config.kd_space == "token" else outputs.class_embedding
    assert student is not None  # images were given
    if student.shape != teacher.shape:
        raise ValueError(
            f"`--kd-space {config.kd_space}` needs student and CLIP of the same dimension. Found "
            f"{student.shape[1]} and {teacher.shape[1]}."
        )
    return l1_distance(student, teacher, config.distance)


def consistency_loss(config: Config, text: Tensor, fixed_text: Tensor) -> Tensor:
    """L_sc of Eq. (10): from the fixed to the global prompts' unit embeddings, mean over the classes."""
    return l1_distance(text[0], fixed_text, config.distance).mean()


def load_model(folder: str | Path) -> ImageTextClassifier:
    """Load what ``save_pretrained`` wrote, whichever method it is. No CLIP is needed."""
    return load_pretrained(folder, MODELS)
