"""What a run must remember to go on after it was killed, and what the training loops do alike."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from hmc_shared.cli.parse import to_yaml

if TYPE_CHECKING:
    from accelerate import Accelerator  # the methods depend on it, this package does not

    from hmc_shared.cli.train_options import TrainOptions
    from hmc_shared.runs.folder import RunFolder


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

    def summary(self) -> dict[str, Any]:
        """What ``results.json`` says of the epochs."""
        return {"epochs": self.epoch, "best_epoch": self.best_epoch, "validation": self.best_score}

    def state_dict(self) -> dict[str, Any]:
        return vars(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def resume(accelerator: Accelerator, folder: RunFolder, config: TrainOptions, progress: Progress) -> None:
    """Go on from the last checkpoint where ``--resume`` says so, and write the options of the run."""
    checkpoint = last_checkpoint(folder.checkpoints) if config.resume else None
    if checkpoint:
        accelerator.load_state(str(checkpoint))
    if accelerator.is_main_process:
        folder.write_config(to_yaml(config))
        folder.forget_epochs_from(progress.epoch)


def epoch_bar(
    accelerator: Accelerator, total: int, progress: Progress, description: str, notes: Sequence[str] = ()
) -> tqdm[Any]:
    """A bar of epochs on standard error, below the notes of the data set; of the first process only."""
    shown = accelerator.is_main_process
    for note in notes if shown else ():
        print(f"note: {note}", file=sys.stderr)
    return tqdm(total=total, initial=progress.epoch, desc=description, unit="epoch", disable=not shown)


def show(bar: tqdm[Any], record: dict[str, Any], *names: str) -> None:
    """An epoch is done: the bar moves on, with those of the ``names`` that the record has."""
    bar.set_postfix({name: f"{record[name]:.4f}" for name in names if name in record})
    bar.update()


def check_finite(step_losses: Tensor, progress: Progress, folder: RunFolder) -> None:
    """Raise FloatingPointError, naming step and last checkpoint, unless all losses (steps,) are finite."""
    is_wrong = ~step_losses.isfinite()
    if is_wrong.any():
        step = int(is_wrong.nonzero()[0])
        raise FloatingPointError(
            f"The training loss is {step_losses[step].item()} in epoch {progress.epoch + 1}, "
            f"step {step + 1}; the last checkpoint is {last_checkpoint(folder.checkpoints) or 'none'}."
        )


def agreed(value: float | Tensor, accelerator: Accelerator) -> float:
    """The value of the first process: the last bits of a validation figure may differ between processes."""
    local = torch.as_tensor(value, dtype=torch.float64).reshape(1).to(accelerator.device)
    together: Any = accelerator.gather(local)
    return together[0].item()


def save_checkpoint(accelerator: Accelerator, folder: Path, epoch: int) -> None:
    """Write ``epoch-<n>`` (weights, optimiser, RNG, progress) whole or not at all; drop the one before."""
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
