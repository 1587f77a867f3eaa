"""The stages of a method, epoch by epoch: what each trains, its step sizes, and the tokens that it keeps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from hmc_shared.data import Split
from hmc_shared.data.batches import sampled_batches
from hmc_shared.partial_labels import without_unknown
from hmc_shared.predict.score import score_known
from hmc_shared.runs.progress import Progress
from hmc_shared.runs.steps import step_factor
from hp_dval.batches import frozen_tokens, score_tokens
from hp_dval.bbn import bilateral_batches, cumulative_weight
from hp_dval.config import Config, Stage
from hp_dval.model import ImageClassifier


@dataclass(frozen=True)
class StageEpoch:
    """An epoch of a stage."""

    stage: Stage
    epoch: int
    """Counted from 0 in each stage."""
    epochs: int
    """Of the stage."""

    @property
    def aligns(self) -> bool:
        """Whether student and embedding are trained, on images; else they are frozen."""
        return self.stage != "prompts"

    @property
    def distils(self) -> bool:
        """Whether the CLIP teaches its image embedding."""
        return self.stage in ("alignment", "joint")

    @property
    def tunes_prompts(self) -> bool:
        return self.stage in ("prompts", "joint")

    @property
    def is_last(self) -> bool:
        """Whether it is the last one of the stage."""
        return self.epoch + 1 == self.epochs


def stage_epochs(config: Config) -> list[StageEpoch]:
    """All epochs of a run."""
    return [StageEpoch(stage, epoch, of) for stage, of in config.stages for epoch in range(of)]


def epoch_batches(
    config: Config, stage: StageEpoch, targets: Tensor, epoch: int, *, rank: int, world: int
) -> list[tuple[Tensor, Tensor]]:
    """The batches of an epoch, as :func:`hmc_shared.data.batches.deal` gives them, by ``--sampling``; bbn has
    its own.

    ``targets`` (n, C) bool are the classes that are drawn from; ``epoch`` is counted over all stages.
    """
    place = {"seed": config.seed, "epoch": epoch, "rank": rank, "world": world}
    if config.method == "bbn":
        alpha = cumulative_weight(stage.epoch, stage.epochs)
        return bilateral_batches(targets, config.batch_size, alpha, **place)
    return sampled_batches(targets, config.batch_size, config.sampling, **place)


def build_optimizer(config: Config, model: ImageClassifier) -> Optimizer:
    """Of the student and the prompts, of which a stage trains one or both; the last group is the prompts'."""
    groups = [
        *model.alignment_groups(config.learning_rate, config.layer_decay),
        {"params": model.prompt_parameters(), "lr": config.prompt_learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True)
    for group in optimizer.param_groups:
        group["highest_lr"] = group["lr"]
    return optimizer


def set_step_sizes(optimizer: Optimizer, config: Config, stage: StageEpoch, share: float) -> None:
    """Of student and prompts, after a share of an epoch; 0 for what the stage leaves alone."""
    factor = step_factor(config, stage.epoch + share, stage.epochs)
    *alignment, prompts = optimizer.param_groups
    for group in alignment:
        group["lr"] = group["highest_lr"] * factor if stage.aligns else 0.0
    prompts["lr"] = prompts["highest_lr"] * factor if stage.tunes_prompts else 0.0


def begin_next_stage(progress: Progress, model: ImageClassifier) -> None:
    """Go on from the best epoch of the stage that ended; the next one has a best epoch of its own."""
    progress.restore_best(model)
    progress.best_score = progress.best_epoch = progress.improved_epoch = None


class FrozenTokens:
    """The tokens of splits while the student is frozen: computed once, if ``--cache-gib`` has room."""

    def __init__(self, model: ImageClassifier, config: Config) -> None:
        self.model, self.config = model, config
        self.kept: dict[Split, Tensor | None] = {}

    def of(self, split: Split, stage: StageEpoch) -> Tensor | None:
        """(n, 1 + N, D_e); None in a stage that changes them, and where there is no room."""
        if stage.aligns:
            return None
        if split not in self.kept:
            self.kept[split] = frozen_tokens(self.model, split, self.config)
        return self.kept[split]

    def score(self, split: Split, stage: StageEpoch) -> Tensor:
        """The known logits of a split, as :func:`hmc_shared.predict.score.score_known` gives them."""
        tokens = self.of(split, stage)
        if tokens is None:
            return score_known(self.model, split, self.config.workers)
        return without_unknown(score_tokens(self.model, tokens), split.unknown)
