"""Which network and which losses each ``--method`` is; loading a saved network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Generator, Tensor
from torch.nn import functional as F

from hcal.baselines import AGGREGATED, CMT, MMoE, check_aggregation, combined_backward
from hcal.config import Config
from hcal.dmt import DMT
from hcal.losses import adaptive_weights, coupling_losses, cross_entropies, level_losses, perturb
from hcal.model import HCAL, Flat, LevelClassifier
from hmc_shared.data import HierarchicalDataset, ImageTable
from hmc_shared.metrics.levels import is_single_path
from hmc_shared.model import load_pretrained
from hmc_shared.resizing import resize_of
from hmc_shared.vision.stages import freeze
from hmc_shared.vision.weights import start_encoders

MODELS: dict[str, type[LevelClassifier]] = {model.method: model for model in (HCAL, Flat, MMoE, CMT, DMT)}
MODELS |= dict.fromkeys(AGGREGATED, Flat)


def build_model(config: Config, dataset: HierarchicalDataset) -> LevelClassifier:
    """The network of ``config.method``, with those options of ``config`` that its constructor names.

    It learns the statistics that normalise inputs. Raises ValueError for data or options that the method
    cannot take.
    """
    check_aggregation(config)
    inputs = dataset.train.inputs
    model_type = MODELS[config.method]
    names = signature(model_type.__init__).parameters.keys() & vars(config).keys()
    options = {name: getattr(config, name) for name in names}
    is_table = isinstance(inputs, ImageTable)
    shape = (3, config.image_size, config.image_size) if is_table else tuple(inputs.shape[1:])
    options["resize"] = resize_of(config.resize, is_table=is_table)
    model = model_type(dataset.hierarchy, shape, **options)
    model.learn_statistics(dataset)
    model.decision = replace(model.decision, single_path=True)  # also where labels are unknown
    start_encoders(model, model.backbones(), config, inputs)
    freeze(model, model.backbones(), config.freeze)
    return channels_last(model)


def check_labels(dataset: HierarchicalDataset) -> None:
    """Raise ValueError unless the classes are a tree and every training sample has one path in it.

    A level in which a sample's class is unknown adds no loss, as one below the end of its path. What is
    unknown beside a class that is known is no second path.
    """
    has_paths = all(is_single_path(split.targets, dataset.hierarchy) for split in dataset.splits.values())
    if not dataset.hierarchy.is_tree or not has_paths:
        kind = "several classes in one level" if dataset.hierarchy.is_tree else "a class with two parents"
        raise ValueError(
            f"`dataset` should have a tree of classes and one path for each sample. Found {kind} in "
            f"{dataset.name!r}."
        )
    unlabelled = ~dataset.train.targets.any(1)
    if unlabelled.any():
        name = dataset.train.ids[int(unlabelled.int().argmax())]
        none = "none" if dataset.train.unknown is None else "none that is known"
        raise ValueError(f"`dataset` should give every training sample a class. Found {none} for {name!r}.")


def method_losses(config: Config, model: LevelClassifier) -> Callable[..., tuple[Tensor, Tensor]]:
    """The losses of ``config.method``: of a batch to losses and weights by level, (L,) each.

    Called with (outputs, paths, generator, weights): what the network returned for the rows of this process,
    their labels (B, L), a generator in the same state on all processes, and weights (B,), by default 1. The
    loss of a step is the product of the two.
    """
    levels, printed = model.hierarchy.levels, config.equations == "printed"

    def hcal(
        outputs: Tensor, paths: Tensor, generator: Generator, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        prototypes = []
        for level in model.prototypes:  # type: ignore[union-attr]
            unit = F.normalize(level)
            perturbed = perturb(level if printed else unit, config.epsilon, generator)
            prototypes.append([unit, perturbed] if printed else [perturbed])
        losses = level_losses(
            outputs,
            paths,
            prototypes,
            levels,
            temperature=config.temperature,
            aggregation=config.aggregation,
            renormalise=printed,
            every_label=printed,
            weights=weights,
        )
        if config.task == "single":  # networks that share nothing: each minimises its own loss
            return losses, torch.ones_like(losses)
        if config.weighting == "adaptive":
            return losses, adaptive_weights(losses, paths, config.gamma)
        return losses, torch.full_like(losses, 1 / len(levels))

    def flat(
        outputs: Tensor, paths: Tensor, generator: Generator, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        losses = cross_entropies(outputs, paths, levels, weights)
        if isinstance(model, CMT):
            losses = losses + coupling_losses(outputs, paths, levels, model.parents, model.shares)
        is_sum = config.method in ("mmoe", "cmt", "dmt")
        return losses, torch.full_like(losses, 1.0 if is_sum else 1 / len(levels))

    return hcal if config.method == "hcal" else flat


def method_backward(
    config: Config, model: LevelClassifier, accelerator: Accelerator
) -> Callable[[Tensor, Tensor], None]:
    """The backward pass of ``config.method``: called with losses and weights by level, (L,) each."""
    if config.method in AGGREGATED:
        return combined_backward(config.method, model)  # type: ignore[arg-type]
    return lambda losses, weights: accelerator.backward(weights @ losses)


def load_model(folder: str | Path) -> LevelClassifier:
    """Load what ``save_pretrained`` wrote, whichever method it is."""
    return channels_last(load_pretrained(folder, MODELS))


def channels_last(model: LevelClassifier) -> LevelClassifier:
    """The memory format that convolutions are fastest in, always: another would give other last bits."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
