"""The stages of an encoder, from the images on: frozen ones, and step sizes that fall towards the images."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import nn

from hmc_shared.vision.encoders import without_colour

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hmc_shared.model import HierarchicalModel


def encoder_stages(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of an encoder by stage: the stem, then each of its numbered blocks.

    A block is the outermost module that has parts and a number at the end of its name: ``layer1`` of a
    ResNet, ``blocks.0`` of a transformer. What comes before the first is the stem, what comes after a block,
    such as the last normalisation, is of the block's stage.
    """
    network = without_colour(encoder)
    stages: list[list[nn.Parameter]] = [[]]
    current = None
    for name, parameter in network.named_parameters():
        prefixes = [name[: match.start()] for match in re.finditer(r"(?<=\d)\.", name)]
        block = next((prefix for prefix in prefixes if _has_parts(network.get_submodule(prefix))), None)
        if block not in (None, current) and stages[-1]:
            stages.append([])
        current = block or current
        stages[-1].append(parameter)
    return stages


def _has_parts(module: nn.Module) -> bool:
    """Whether a module has weights in parts of it; an activation within a normalisation has none."""
    return any(any(True for _ in part.parameters()) for part in module.children())


def freeze(model: HierarchicalModel, encoders: Iterable[nn.Module], which: str) -> None:
    """Train no more of the encoders of a model than ``--freeze`` leaves: "none", "all" or "stages:N".

    What is frozen stays in evaluation mode: batch normalisation keeps its statistics, nothing is dropped.
    Raises ValueError for another text, and more stages than there are.
    """
    if which == "none":
        return
    encoders = list(encoders)
    for encoder in encoders:
        stages = encoder_stages(encoder)
        found = re.fullmatch(r"stages:(\d{1,4})", which)
        count = len(stages) if which == "all" else int(found[1]) if found else 0
        if not 0 < count <= len(stages):
            raise ValueError(
                f"`--freeze` should be none, all or stages:N, with N of 1 to {len(stages)} for this encoder. "
                f"Found {which!r}."
            )
        for stage in stages[:count]:
            for parameter in stage:
                parameter.requires_grad_(False)
    model.frozen = [module for encoder in encoders for module in encoder.modules() if _is_frozen(module)]
    model.train(model.training)


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def encoder_groups(encoder: nn.Module, learning_rate: float, decay: float) -> list[dict[str, Any]]:
    """What is trained of an encoder, as groups of an optimiser, each with its ``lr``.

    Of S stages the last has the step size ``learning_rate`` x decay, the one before x decay^2, the stem x
    decay^S, as is usual for transformers (Clark et al. 2020, ELECTRA); without a decay all have the same.
    """
    stages = encoder_stages(encoder)
    if decay == 1:
        stages = [[parameter for stage in stages for parameter in stage]]
    groups = []
    for height, stage in enumerate(reversed(stages), start=1):
        if trained := [parameter for parameter in stage if parameter.requires_grad]:
            groups.append({"params": trained, "lr": learning_rate * decay**height})
    return groups
