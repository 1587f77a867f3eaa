"""What each ``--loss`` is: the network, the loss of its pre-training, and that of the fine-tuning."""

from __future__ import annotations

import sys
from inspect import signature
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from hmc_shared.data import HierarchicalDataset
from hmc_shared.losses import asymmetric_loss
from hmc_shared.runs.folder import load_pretrained
from hmc_shared.vision.pixels import CROP, input_statistics, some_images
from hmc_shared.vision.weights import load_weights
from mulsupcon_ld.config import Config
from mulsupcon_ld.keys import Keys
from mulsupcon_ld.losses import all_loss, any_loss, ld_loss, median_sigma, mulsupcon_loss
from mulsupcon_ld.model import MulSupCon


def build_model(config: Config, dataset: HierarchicalDataset) -> MulSupCon:
    """The network, with those options of ``config`` that its constructor names.

    It learns the statistics that normalise inputs: of the training images if they are small, of ImageNet for
    photographs, of the training rows for vectors. Raises ValueError for an encoder that does not suit.
    """
    inputs = dataset.train.inputs
    is_table = not isinstance(inputs, Tensor)
    names = signature(MulSupCon.__init__).parameters.keys() & vars(config).keys()
    chosen = {name: getattr(config, name) for name in names}
    shape = (3, config.image_size, config.image_size) if is_table else tuple(inputs.shape[1:])
    model = MulSupCon(dataset.hierarchy, shape, crop=CROP if is_table else 1.0, **chosen)
    if statistics := input_statistics(dataset):
        model.input_mean.copy_(statistics[0].view_as(model.input_mean))
        model.input_scale.copy_(statistics[1].view_as(model.input_scale))
    if config.weights != "none":
        images = model.normalize(some_images(inputs, shape, model.crop))
        print(load_weights(model.encoder, config.weights, config.encoder, images), file=sys.stderr)
    if dataset.kind == "image":
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def contrastive_loss(
    config: Config, z: Tensor, logits: Tensor, labels: Tensor, keys: Keys, own: Tensor, size: int
) -> Tensor:
    """The loss of the pre-training, one an anchor, (B,), without beta ||W||_F^2.

    Arguments as in :mod:`mulsupcon_ld.losses`; the first ``size`` keys are those of the global batch.
    """
    mean_labels = keys.labels[:size].float().sum(1).mean().clamp(min=1 / size)
    temperature = config.temperature
    if config.loss == "any":
        return any_loss(z, labels, keys, own, temperature=temperature)
    if config.loss == "all":
        return all_loss(z, labels, keys, own, temperature=temperature)
    if config.loss == "mulsupcon":
        return mulsupcon_loss(z, labels, keys, temperature=temperature, mean_labels=mean_labels)
    sigma = config.sigma
    if config.loss == "rld" and sigma is None:
        sigma = median_sigma(keys.embeddings[:size])
    return ld_loss(
        z,
        labels,
        logits,
        keys,
        own,
        temperature=temperature,
        mean_labels=mean_labels,
        alpha=config.alpha,
        weight="rbf" if config.loss == "rld" else config.weight,
        sigma=sigma,
        literal=config.normalisation == "literal",
        relative=config.relative_labels,
        batch_keys=size if config.positives == "queue" else 0,
    )


def classification_loss(config: Config, logits: Tensor, labels: Tensor) -> Tensor:
    """The loss of the fine-tuning: logits and labels (B, C) to the mean over classes, (B,)."""
    if config.loss != "asl":
        return F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none").mean(1)
    focusing = {"gamma_positive": config.gamma_positive, "gamma_negative": config.gamma_negative}
    return asymmetric_loss(logits, labels, margin=config.margin, **focusing).mean(1)


def load_model(folder: str | Path) -> MulSupCon:
    """Load what ``save_pretrained`` wrote."""
    return load_pretrained(folder, {"mulsupcon-ld": MulSupCon})
