"""Steps of an optimiser: their sizes over the epochs, the batches that each is made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hmc_shared.cli.train_options import CosineOptions, ImageTrainingOptions


def step_factor(config: CosineOptions, epoch: float, epochs: int) -> float:
    """What the step sizes are multiplied by after ``epoch`` of ``epochs``: warm-up, then the schedule."""
    factor = 0.5 + 0.5 * math.cos(math.pi * epoch / epochs) if config.schedule == "cosine" else 1.0
    return factor * warm_up(config, epoch)


def warm_up(config: ImageTrainingOptions, epoch: float) -> float:
    """The share of its step size that training has after ``epoch`` epochs, by ``--warmup-epochs``."""
    return min(1.0, epoch / config.warmup_epochs) if config.warmup_epochs else 1.0


class Steps:
    """The batches of an epoch of ``rows`` rows, ``--accumulate`` of them to a step."""

    def __init__(self, config: ImageTrainingOptions, rows: int) -> None:
        self.rows, self.batch_size, self.accumulate = rows, config.batch_size, config.accumulate
        self.batches = math.ceil(rows / config.batch_size)

    def share(self, batch: int) -> float:
        """The share that a batch, counted from 0, has of the rows of its step."""
        first = batch - batch % self.accumulate
        size, done = self.batch_size, self.batch_size * first
        together = min(self.rows, done + size * self.accumulate) - done
        return min(size, self.rows - batch * size) / together

    def middle(self, batch: int) -> float:
        """The share of the epoch that is done in the middle of a batch's step."""
        return (batch // self.accumulate + 0.5) / math.ceil(self.batches / self.accumulate)

    def ends(self, batch: int) -> bool:
        """Whether a batch is the last of its step."""
        return (batch + 1) % self.accumulate == 0 or batch + 1 == self.batches
