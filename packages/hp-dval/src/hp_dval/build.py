"""What each ``--method`` and ``--loss`` is: network, prompts, classification loss, distillation."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hmc_shared.data import HierarchicalDataset, ImageTable, Split
from hmc_shared.data.batches import Batch
from hmc_shared.messages import tell
from hmc_shared.model import load_pretrained
from hmc_shared.predict.score import map_split
from hmc_shared.vision.pixels import some_images
from hmc_shared.vision.stages import freeze
from hmc_shared.vision.weights import load_weights, normalize_as_expected
from hp_dval.baselines import ClipClassifier, fitted_offset, prototypes
from hp_dval.bbn import BBN
from hp_dval.class_texts import class_texts
from hp_dval.clip import Clip, TokenTower
from hp_dval.clip_files import TINY, load_clip
from hp_dval.cocoop import CoCoOp
from hp_dval.config import Config
from hp_dval.dualcoop import DualCoOp
from hp_dval.losses import (
    asymmetric_loss,
    bce_loss,
    caption_loss,
    class_balanced_focal_loss,
    db_loss,
    l1_distance,
    ldam_loss,
    ranking_loss,
    reweighted_bce_loss,
)
from hp_dval.ml_gcn import MLGCN, label_graph
from hp_dval.model import HPDVAL, ImageClassifier, ImageTextClassifier, Outputs, Prompter
from hp_dval.plain import PlainClassifier
from hp_dval.prompts import Prompts, caption_embeddings, first_words, fixed_texts, text_embeddings
from hp_dval.students import CLIP
from hp_dval.tai_dpt import SCALE, TaIDPT, sentence_split

TYPES: tuple[type[ImageClassifier], ...] = (
    HPDVAL,
    ClipClassifier,
    CoCoOp,
    DualCoOp,
    TaIDPT,
    PlainClassifier,
    MLGCN,
    BBN,
)
MODELS = {model.method: model for model in TYPES}
SEEN_BY_TINY = ("digits", "digit-scenes")
CLIP_ITSELF = ("coop", "lmpt", "zero-shot", "prototypes")
"""Methods of which CLIP's image embedding and one text of each class are all."""
WITHOUT_STUDENT = (*CLIP_ITSELF, "cocoop", "dualcoop", "tai-dpt")
ASL_OF_DUALCOOP = {"gamma_positive": 1.0, "gamma_negative": 2.0}


def clip_of(config: Config) -> Clip:
    """The CLIP of ``--clip``, or where a method uses none, the one that is always there.

    Raises ValueError for a CLIP that cannot be had.
    """
    return load_clip(config.clip, config.pretrained) if config.uses_clip else load_clip(TINY)


def training_split(config: Config, dataset: HierarchicalDataset, clip: Clip) -> Split:
    """The rows to train on, by ``--protocol``; for tai-dpt as many sentences, whatever the images."""
    training = dataset.training_split(config.protocol)
    if config.method != "tai-dpt":
        return training
    hierarchy = dataset.hierarchy
    texts = class_texts(hierarchy, config.class_texts)
    return sentence_split(clip, hierarchy, config.templates, texts, len(training), config.seed)


def build_model(config: Config, dataset: HierarchicalDataset, clip: Clip) -> ImageClassifier:
    """The network of ``config.method``, with those options of ``config`` that its constructor names.

    It has the fixed prompts' text embeddings and the statistics that normalise images. Raises ValueError for
    data or options that do not suit.
    """
    inputs, hierarchy = dataset.train.inputs, dataset.hierarchy
    if dataset.kind != "image":
        raise ValueError(f"`--dataset` should have images. Found the feature vectors of {dataset.name!r}.")
    is_table = isinstance(inputs, ImageTable)
    shape = (3, config.image_size, config.image_size) if is_table else tuple(inputs.shape[1:])
    model_type = MODELS["clip"] if config.method in CLIP_ITSELF else MODELS.get(config.method, HPDVAL)
    texts = class_texts(hierarchy, config.class_texts)
    known: dict[str, Any] = vars(config) | {
        "clip_config": clip.config if config.method == "cocoop" else clip.image_config,
        "texts": [of_class[0] for of_class in texts.values()],
        "dim": clip.dim,
        "text_width": clip.text_width,
        "scale": config.scale or (SCALE if config.method == "tai-dpt" else clip.logit_scale),
        "cosine": config.loss == "ldam",
    }
    if config.method not in WITHOUT_STUDENT and config.student != CLIP:
        known["clip_config"] = None
    names = signature(model_type.__init__).parameters.keys() & known.keys()
    model = model_type(hierarchy, shape, **{name: known[name] for name in names})
    model.learn_statistics(dataset)
    if isinstance(model, HPDVAL | PlainClassifier):
        if not config.aligned:
            start_student(config, model, clip, inputs)
        freeze(model, [model.encoder], config.freeze)
    else:
        start_from_clip(config, model, clip)
    if config.aligned:
        take_over_alignment(model, config.aligned)
    if isinstance(model, ImageTextClassifier | MLGCN):
        fixed = text_embeddings(clip, fixed_texts(hierarchy, config.templates, texts))
        if isinstance(model, MLGCN):
            model.head.text.copy_(fixed)
        else:
            model.fixed_text.copy_(fixed)
            model.text.copy_(fixed.expand_as(model.text))
    return model


@torch.no_grad()
def start_from_clip(config: Config, model: ImageClassifier, clip: Clip) -> None:
    """Give a model without a student the weights of the CLIP that it holds."""
    if isinstance(model, ClipClassifier):
        model.image_tower.load_state_dict(clip.image_tower.state_dict())
    elif isinstance(model, DualCoOp):
        model.image_tower.start_from(clip)
        model.projection.copy_(clip.image_tower.visual.proj)
    elif isinstance(model, CoCoOp):
        model.prompts.clip.load_state_dict(clip.state_dict())
        words = first_words(clip, config.templates[0], config.prompt_length)
        model.contexts[0, : len(words)] = words


@torch.no_grad()
def fit_to_rows(config: Config, model: ImageClassifier, prompter: Prompter, training: Split) -> None:
    """Take prototypes, an offset or a label graph from the training rows, before any step, or nothing."""
    if isinstance(model, MLGCN):
        known = None if training.unknown is None else ~training.unknown
        model.head.graph.copy_(label_graph(training.targets, known))
    is_fitted = config.method == "prototypes" or config.offset
    if not is_fitted or not isinstance(model, ClipClassifier | CoCoOp):
        return
    tokens = map_split(lambda raw: model.tokens(model.normalize(raw)), model, training, config.workers)
    targets = training.targets.to(tokens.device)
    if config.method == "prototypes":
        model.text.copy_(prototypes(tokens[:, 0], targets, model.fixed_text))
    else:
        if config.stages:
            model.keep_texts(prompter)
        logits = torch.cat([model(part).logits for part in tokens.split(model.batch_size)])
        known = None if training.unknown is None else ~training.unknown.to(tokens.device)
        model.offset.copy_(fitted_offset(logits, targets, known))


def notes(config: Config, dataset: HierarchicalDataset) -> list[str]:
    """What to know before a training from networks that have not seen such images."""
    found = []
    is_tiny = config.clip == TINY and config.pretrained is None
    if config.uses_clip and is_tiny and dataset.name not in SEEN_BY_TINY:
        found.append(
            "the CLIP `tiny` has seen handwritten digits alone; for photographs: --clip ViT-B-16-quickgelu "
            "--pretrained openai (a download)"
        )
    elif config.uses_clip and config.clip != TINY and config.pretrained is None:
        found.append(f"the CLIP {config.clip} is random: --pretrained gives it weights")
    is_student_new = config.weights == "none" and config.student != CLIP and not config.aligned
    if is_student_new and config.method not in WITHOUT_STUDENT:
        found.append(
            f"the student {config.student} starts at random: --weights gives it some, --student clip has them"
        )
    return found


def start_student(
    config: Config, model: HPDVAL | PlainClassifier, clip: Clip, inputs: ImageTable | Tensor
) -> None:
    """Give the student the weights that ``--weights`` names, or those of the CLIP's own image tower.

    ``inputs`` are the training images. Raises ValueError for weights that cannot be had or do not fit.
    """
    network = model.encoder
    if isinstance(network, TokenTower):
        network.start_from(clip)
        return
    normalize_as_expected(model, config.student, config.weights, inputs)
    if config.weights != "none":
        images = model.normalize(some_images(inputs, model.input_shape, model.resize))
        tell(load_weights(network, config.weights, config.student, images))


def take_over_alignment(model: ImageClassifier, folder: str) -> None:
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


def build_prompter(config: Config, model: ImageClassifier, clip: Clip) -> Prompter:
    """From the learned vectors of the model's views to text embeddings, fixed where ``--prompts`` says so.

    A model without texts does not call it.
    """
    prompts = Prompts(clip, class_texts(model.hierarchy, config.class_texts), config.prompt_length)
    learned = {"both": slice(0, 2), "global": slice(0, 1), "local": slice(1, 2)}[config.prompts]
    if not isinstance(model, HPDVAL) or config.prompts == "both":
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
    config: Config, targets: Tensor, evaluated: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss L_cls, Eq. (16), (17), of logits and labels (B, C), one a sample (B,), of evaluated classes.

    Args:
        config: which loss, and its options.
        targets: (n, C) bool, of the training rows, from which the frequencies of the classes are.
        evaluated: (C,) bool, on the device of the logits.
    """
    n, counts = len(targets), targets.sum(0).to(evaluated.device)[evaluated]
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
                options = ASL_OF_DUALCOOP if config.method == "dualcoop" else {}
                return asymmetric_loss(logits, labels, **options)
            case "rw":
                return reweighted_bce_loss(logits, labels, counts, n)
            case "ldam":
                return ldam_loss(logits, labels, counts)
            case "ranking":
                return ranking_loss(logits, labels)
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


def consistency_loss(text: Tensor | None, fixed_text: Tensor) -> Tensor:
    """L_sc of Eq. (10): from the fixed to the global prompts' unit embeddings, mean over the classes."""
    assert text is not None
    return l1_distance(text[0], fixed_text).mean()


def prompt_loss(
    config: Config, model: ImageClassifier, clip: Clip, training: Split
) -> Callable[[Outputs, Batch], Tensor | float]:
    """What the prompt tuning adds to the classification loss: L_sc, or LMPT's loss of captions."""
    if isinstance(model, HPDVAL) and config.method != "no-sc":
        return lambda outputs, _: config.sc_weight * consistency_loss(outputs.text, model.fixed_text)
    if config.method != "lmpt":
        return lambda outputs, batch: 0.0
    captions = caption_embeddings(clip, training, class_texts(model.hierarchy, config.class_texts))
    counts = training.targets.sum(0).to(model.device)
    unknown = None if training.unknown is None else training.unknown.to(model.device)

    def of_captions(outputs: Outputs, batch: Batch) -> Tensor:
        assert outputs.text is not None
        left_out = None if unknown is None else unknown[batch.rows]
        texts = outputs.text[0]
        return batch.weights @ caption_loss(captions[batch.rows], texts, batch.labels, counts, left_out)

    return of_captions


def load_model(folder: str | Path) -> ImageClassifier:
    """Load what ``save_pretrained`` wrote, whichever method it is. No CLIP is needed."""
    return load_pretrained(folder, MODELS)
