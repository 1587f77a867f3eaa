"""An optimiser for each of the two stages, and its step sizes: cosines with warm restarts."""

from __future__ import annotations

import math
from typing import Any

from torch.optim import AdamW, Optimizer

from hmc_shared.runs.steps import warm_up
from hmc_shared.vision.stages import encoder_groups
from mulsupcon_ld.baselines import Baseline
from mulsupcon_ld.config import Config
from mulsupcon_ld.model import MulSupCon


def build_optimizers(config: Config, model: MulSupCon | Baseline) -> tuple[Optimizer, Optimizer]:
    """That of the pre-training, and that of the fine-tuning."""
    pretraining = AdamW(
        _groups(model, config.pretrain_learning_rate, config.layer_decay),
        weight_decay=config.pretrain_weight_decay,
        fused=True,
    )
    finetuning = AdamW(
        _groups(model, config.learning_rate, config.layer_decay),
        weight_decay=config.weight_decay,
        fused=True,
    )
    for group in (*pretraining.param_groups, *finetuning.param_groups):
        group["highest_lr"] = group["lr"]
    return pretraining, finetuning


def _groups(model: MulSupCon | Baseline, learning_rate: float, layer_decay: float) -> list[dict[str, Any]]:
    below = set(model.encoder.parameters())
    above = [parameter for parameter in model.parameters() if parameter not in below]
    groups = encoder_groups(model.encoder, learning_rate, layer_decay)
    return [*groups, {"params": above, "lr": learning_rate}]


def set_step_sizes(optimizer: Optimizer, config: Config, epoch: int, share: float) -> None:
    """Set the step sizes after a share of an epoch, which is counted over both stages."""
    done = epoch if config.is_pretraining(epoch) else epoch - config.stage_epochs[0]
    factor = step_factor(config, epoch) * warm_up(config, done + share)
    for group in optimizer.param_groups:
        group["lr"] = group["highest_lr"] * factor


def step_factor(config: Config, epoch: int) -> float:
    """What the step sizes are multiplied by in an epoch: a cosine from 1 down to the lowest, again and again.

    Each cosine of a stage lasts twice as long as the one before (CosineAnnealingWarmRestarts, T_mult = 2).
    """
    highest, lowest, length = config.learning_rate, config.minimum_rate, config.restart
    if config.is_pretraining(epoch):
        highest, lowest = config.pretrain_learning_rate, config.pretrain_minimum_rate
        length = config.pretrain_restart
    else:
        epoch -= config.stage_epochs[0]
    while epoch >= length:
        epoch, length = epoch - length, 2 * length
    floor = min(1.0, lowest / highest) if highest else 0.0
    return floor + (1 - floor) * (0.5 + 0.5 * math.cos(math.pi * epoch / length))
