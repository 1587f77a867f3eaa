"""What each ``--method`` and ``--loss`` is: network, prompts, classification loss, distillation."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hmc_shared.data import HierarchicalDataset, ImageTable, Split
from hmc_shared.messages import tell
from hmc_shared.model import load_pretrained
from hmc_shared.predict.score import map_split
from hmc_shared.vision.pixels import some_images
from hmc_shared.vision.stages import freeze
from hmc_shared.vision.weights import load_weights, normalize_as_expected
from hp_dval.baselines import ClipClassifier, fitted_offset, prototypes
from hp_dval.class_texts import class_texts
from hp_dval.clip import Clip
from hp_dval.clip_files import TINY
from hp_dval.config import Config
from hp_dval.losses import asymmetric_loss, bce_loss, class_balanced_focal_loss, db_loss, l1_distance
from hp_dval.model import HPDVAL, ImageTextClassifier, Outputs, Prompter
from hp_dval.prompts import Prompts, fixed_texts, text_embeddings
from hp_dval.students import CLIP

MODELS: dict[str, type[ImageTextClassifier]] = {model.method: model for model in (HPDVAL, ClipClassifier)}
SEEN_BY_TINY = ("digits", "digit-scenes")
CLIP_ITSELF = ("coop", "zero-shot", "prototypes")
"""Methods whose images are embedded by the CLIP, not by a student."""


def build_model(config: Config, dataset: HierarchicalDataset, clip: Clip) -> ImageTextClassifier:
    """The network of ``config.method``, with those options of ``config`` that its constructor names.

    It has the fixed prompts' text embeddings and the statistics that normalise images. Raises ValueError for
    data or options that do not suit.
    """
    inputs = dataset.train.inputs
    if config.offset and config.method not in ("coop", "zero-shot"):
        raise ValueError(f"`--offset` is for the methods coop and zero-shot. Found it with {config.method}.")
    if config.offset:
        dataset.refuse_unknown("hp-dval --offset")
    if dataset.kind != "image":
        raise ValueError(f"`--dataset` should have images. Found the feature vectors of {dataset.name!r}.")
    is_table = isinstance(inputs, ImageTable)
    shape = (3, config.image_size, config.image_size) if is_table else tuple(inputs.shape[1:])
    model_type = ClipClassifier if config.method in CLIP_ITSELF else HPDVAL
    names = signature(model_type.__init__).parameters.keys() & vars(config).keys()
    options: dict[str, Any] = {name: getattr(config, name) for name in names}
    options |= {"dim": clip.dim, "text_width": clip.text_width, "scale": config.scale or clip.logit_scale}
    texts = class_texts(dataset.hierarchy, config.class_texts)
    texts = fixed_texts(dataset.hierarchy, config.templates, texts)
    model: ImageTextClassifier
    if config.method in CLIP_ITSELF:
        model = ClipClassifier(dataset.hierarchy, shape, clip.image_config, **options)
        model.image_tower.load_state_dict(clip.image_tower.state_dict())
        model.learn_statistics(dataset)
    else:
        clip_config = clip.image_config if config.student == CLIP else None
        model = HPDVAL(dataset.hierarchy, shape, clip_config=clip_config, **options)
        model.learn_statistics(dataset)
        if not config.aligned:
            start_student(config, model, clip, inputs)
        freeze(model, [model.student.network], config.freeze)
    if config.aligned:
        take_over_alignment(model, config.aligned)
    model.fixed_text.copy_(text_embeddings(clip, texts))
    model.text.copy_(model.fixed_text.expand_as(model.text))
    return model


@torch.no_grad()
def fit_to_rows(config: Config, model: ImageTextClassifier, prompter: Prompter, training: Split) -> None:
    """Take prototypes or an offset from the training rows, before any step; without these do nothing."""
    if not isinstance(model, ClipClassifier) or not (config.method == "prototypes" or config.offset):
        return
    tokens = map_split(lambda raw: model.tokens(model.normalize(raw)), model, training, config.workers)
    targets = training.targets.to(tokens.device)
    if config.method == "prototypes":
        model.text.copy_(prototypes(tokens[:, 0], targets, model.fixed_text))
    else:
        text = prompter(model.contexts) if config.stages else model.text
        model.offset.copy_(fitted_offset(model.scores(tokens, text), targets))


def notes(config: Config, dataset: HierarchicalDataset) -> list[str]:
    """What to know before a training from networks that have not seen such images."""
    found = []
    if config.clip == TINY and config.pretrained is None and dataset.name not in SEEN_BY_TINY:
        found.append(
            "the CLIP `tiny` has seen handwritten digits alone; for photographs: --clip ViT-B-16-quickgelu "
            "--pretrained openai (a download)"
        )
    elif config.clip != TINY and config.pretrained is None:
        found.append(f"the CLIP {config.clip} is random: --pretrained gives it weights")
    is_student_new = config.weights == "none" and config.student != CLIP and not config.aligned
    if is_student_new and config.method not in CLIP_ITSELF:
        found.append(
            f"the student {config.student} starts at random: --weights gives it some, --student clip has them"
        )
    return found


def start_student(config: Config, model: HPDVAL, clip: Clip, inputs: ImageTable | Tensor) -> None:
    """Give the student the weights that ``--weights`` names, or those of the CLIP's own image tower.

    ``inputs`` are the training images. Raises ValueError for weights that cannot be had or do not fit.
    """
    network = model.student.network
    if config.student == CLIP:
        network.start_from(clip)
        return
    normalize_as_expected(model, config.student, config.weights, inputs)
    if config.weights != "none":
        images = model.normalize(some_images(inputs, model.input_shape, model.resize))
        tell(load_weights(network, config.weights, config.student, images))


def take_over_alignment(model: ImageTextClassifier, folder: str) -> None:
    """Give a model what stage 1 trained of a saved one: student and embedding; and its pixel statistics.

    Raises ValueError for a folder that holds no such model.
    """
    state, shapes = load_model(folder).state_dict(), model.state_dict()
    names = [name for name in shapes if name.startswith(("student.", "embedding.", "input_"))]
    fits = all(name in state and state[name].shape == shapes[name].shape for name in names)
    if not isinstance(model, HPDVAL) or not fits:
        raise ValueError(
            "`--aligned` should be the folder of an HP-DVAL model with the same student and CLIP. "
            f"Found {folder!r}."
        )
    model.load_state_dict({name: state[name] for name in [*names, "log_scale"]}, strict=False)


class Network(nn.Module):
    """The model as the accelerator prepares it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, prompter: Prompter | None) -> Outputs:
        return self.model(inputs, prompter)


def build_prompter(config: Config, model: ImageTextClassifier, clip: Clip) -> Prompter:
    """From the learned vectors of the model's views to text embeddings, fixed where ``--prompts`` says so."""
    prompts = Prompts(clip, class_texts(model.hierarchy, config.class_texts), config.prompt_length)
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
        learned = self.prompts(contexts[self.learned])
        fixed = self.fixed_text.unsqueeze(0)
        return torch.cat([learned, fixed] if self.learned.start == 0 else [fixed, learned])


def classification_loss(
    config: Config, counts: Tensor, n: int, evaluated: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss L_cls, Eq. (16), (17), of logits and labels (B, C), one a sample (B,), of evaluated classes.

    Args:
        config: which loss, and its options.
        counts: (C,) positives of each class among the training rows, on the device of the logits.
        n: training rows.
        evaluated: (C,) bool, on that device.
    """
    counts = counts[evaluated]
    places = evaluated.nonzero().squeeze(1)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        logits, labels = logits.index_select(1, places), labels.index_select(1, places)
        match config.loss:
            case "db-star" | "db":
                return db_loss(
                    logits,
                    labels,
                    counts,
                    n,
                    weighted_positives=config.loss == "db-star",
                    mu=config.mu,
                    negative_scale=config.negative_scale,
                )
            case "cb-focal":
                return class_balanced_focal_loss(logits, labels, counts)
            case "asl":
                return asymmetric_loss(logits, labels)
            case _:
                return bce_loss(logits, labels)

    return loss


@torch.no_grad()
def teacher_features(clip: Clip, raw: Tensor) -> Tensor:
    """f_CLIP of Eq. (2), (B, D_e) float32, of raw images: CLIP normalises the same crop in its own way."""
    return clip.encode_image(clip.preprocess(raw)).float()


def distillation_loss(outputs: Outputs, teacher: Tensor) -> Tensor:
    """L_kd of Eq. (2), (B,), from the embedded class token to the teacher's image embedding."""
    assert outputs.class_embedding is not None  # images were given
    return l1_distance(outputs.class_embedding, teacher)


def consistency_loss(text: Tensor, fixed_text: Tensor) -> Tensor:
    """L_sc of Eq. (10): from the fixed to the global prompts' unit embeddings, mean over the classes."""
    return l1_distance(text[0], fixed_text).mean()


def load_model(folder: str | Path) -> ImageTextClassifier:
    """Load what ``save_pretrained`` wrote, whichever method it is. No CLIP is needed."""
    return load_pretrained(folder, MODELS)
