"""What a run must remember to go on after it was killed."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class Progress:
    """Epochs done, time spent, and the weights of the best epoch on the validation split so far."""

    def __init__(self) -> None:
        self.epoch = 0
        self.train_seconds = 0.0
        self.best_score: float | None = None
        self.best_epoch: int | None = None
        self.improved_epoch: int | None = None
        self.best_weights: dict[str, Any] = {}

    def keep_if_best(self, score: float, model: nn.Module) -> None:
        """Of equal scores the later epoch wins: a perfect ranking may still be far from 0 and 1.

        NaN, the score of a validation split without labels, chooses nothing: the last epoch stays.
        """
        if math.isnan(score):
            return
        if self.best_score is None or score > self.best_score:
            self.best_score, self.improved_epoch = score, self.epoch
        if score == self.best_score:
            self.best_epoch = self.epoch
            self.best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def is_stale(self, patience: int) -> bool:
        """Whether ``patience`` epochs have gone by without a better score."""
        return self.improved_epoch is not None and self.epoch - self.improved_epoch >= patience

    def restore_best(self, model: nn.Module) -> None:
        if self.best_weights:
            model.load_state_dict(self.best_weights)

    def state_dict(self) -> dict[str, Any]:
        return vars(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def save_checkpoint(accelerator: Any, folder: Path, epoch: int) -> None:
    """Write ``epoch-<n>`` (weights, optimiser, RNG, progress) whole or not at all; drop the one before.

    ``accelerator`` is an ``accelerate.Accelerator``, which this package does not depend on.
    """
    final = folder / f"epoch-{epoch:05d}"
    if final.is_dir():
        return
    partial = folder / "partial"
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        earlier = sorted(folder.glob("epoch-*"))
        partial.rename(final)
        for old in earlier:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def last_checkpoint(folder: Path) -> Path | None:
    return max(folder.glob("epoch-*"), default=None)
