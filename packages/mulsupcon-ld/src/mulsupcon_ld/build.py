"""What each ``--loss`` is: the network, the loss of its pre-training, and that of the fine-tuning."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hmc_shared.data import HierarchicalDataset, ImageTable
from hmc_shared.data.batches import Batch
from hmc_shared.losses import asymmetric_loss, bce_loss
from hmc_shared.model import load_pretrained
from hmc_shared.partial_labels import without_unknown
from hmc_shared.resizing import resize_of
from hmc_shared.vision.stages import freeze
from hmc_shared.vision.weights import start_encoders
from mulsupcon_ld.baselines import CGMVAE, MPVAE, Baseline, LaMP, c_gmvae_loss, lamp_loss, mpvae_loss
from mulsupcon_ld.config import Config
from mulsupcon_ld.keys import Keys
from mulsupcon_ld.losses import all_loss, any_loss, ld_loss, median_sigma, mulsupcon_loss
from mulsupcon_ld.model import MulSupCon

BASELINES: dict[str, type[Baseline]] = {model.method: model for model in (LaMP, MPVAE, CGMVAE)}
MODELS: dict[str, type[MulSupCon] | type[Baseline]] = {MulSupCon.method: MulSupCon, **BASELINES}


def build_model(config: Config, dataset: HierarchicalDataset) -> MulSupCon | Baseline:
    """The network, with those options of ``config`` that its constructor names.

    Raises ValueError for an encoder or loss that does not suit, weights that cannot be had or do not fit, and
    for unknown labels with a loss that cannot leave them out.
    """
    if not config.leaves_out_unknown:
        dataset.refuse_unknown(f"mulsupcon-ld --loss {config.loss} --protocol {config.protocol}")
    inputs = dataset.train.inputs
    is_table = isinstance(inputs, ImageTable)
    shape = (3, config.image_size, config.image_size) if is_table else tuple(inputs.shape[1:])
    model_type = BASELINES.get(config.loss, MulSupCon)
    names = signature(model_type.__init__).parameters.keys() & vars(config).keys()
    options = {name: getattr(config, name) for name in names}
    if "resize" in options:
        options["resize"] = resize_of(config.resize, is_table=is_table)
    model = model_type(dataset.hierarchy, shape, **options)
    model.learn_statistics(dataset)
    start_encoders(model, [model.encoder], config, inputs)
    freeze(model, [model.encoder], config.freeze)
    if model.takes_images:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def contrastive_loss(
    config: Config,
    z: Tensor,
    logits: Tensor,
    batch: Batch,
    keys: Keys,
    own_keys: Tensor,
    size: int,
    unknown: Tensor | None = None,
) -> Tensor:
    """The loss of the pre-training, one an anchor, (B,), without beta ||W||_F^2.

    Arguments as in :mod:`mulsupcon_ld.losses`; the first ``size`` keys are those of the global batch. Labels
    of all rows that are ``unknown``, bool, make no positives, and have no term in H.
    """
    labels = batch.labels
    mean_labels = keys.labels[:size].float().sum(1).mean().clamp(min=1 / size)
    temperature = config.temperature
    if config.loss == "any":
        return any_loss(z, labels, keys, own_keys, temperature=temperature)
    if config.loss == "all":
        return all_loss(z, labels, keys, own_keys, temperature=temperature)
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
        own_keys,
        temperature=temperature,
        mean_labels=mean_labels,
        alpha=config.alpha,
        weight="rbf" if config.loss == "rld" else "prob",
        sigma=sigma,
        unknown=None if unknown is None else unknown[batch.rows],
    )


def finetuning_loss(
    config: Config, outputs: Any, batch: Batch, counted: Tensor, unknown: Tensor | None = None
) -> Tensor:
    """The loss of the fine-tuning or of a baseline, one a row, (B,).

    Args:
        outputs: what the network returned.
        batch: its labels (B, C), and its rows.
        counted: int64, the classes that are evaluated; the others cost nothing.
        unknown: bool, labels of all rows that cost nothing; of the package's own network alone.
    """
    labels = batch.labels[:, counted]
    if config.loss == "lamp":
        return lamp_loss(outputs[..., counted], labels)
    if config.loss == "mpvae":
        outputs = outputs._replace(means=outputs.means[..., counted], root=outputs.root[counted])
        noise = torch.randn(config.samples, len(labels), outputs.root.shape[1], device=labels.device)
        weights = {"nll_weight": config.nll_weight, "ranking_weight": config.ranking_weight}
        return mpvae_loss(outputs, labels, noise, **weights)
    if config.loss == "c-gmvae":
        return c_gmvae_loss(outputs._replace(logits=outputs.logits[..., counted]), labels)
    _, logits = outputs
    return classification_loss(config, without_unknown(logits, unknown, batch.rows)[:, counted], labels)


def classification_loss(config: Config, logits: Tensor, labels: Tensor) -> Tensor:
    """Of the package's own network: logits and labels (B, C) to the mean over classes, (B,)."""
    if config.loss != "asl":
        return bce_loss(logits, labels)
    focusing = {"gamma_positive": config.gamma_positive, "gamma_negative": config.gamma_negative}
    return asymmetric_loss(logits, labels, margin=config.margin, **focusing)


def load_model(folder: str | Path) -> MulSupCon | Baseline:
    """Load what ``save_pretrained`` wrote, whichever network it is."""
    return load_pretrained(folder, MODELS)
