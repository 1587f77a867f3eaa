"""What a run has reached: epochs and steps, the best weights, and what the training loops do alike."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from hmc_shared.messages import QUIET, REMEDIES, tell

if TYPE_CHECKING:
    from accelerate import Accelerator  # the methods depend on it, this package does not

    from hmc_shared.cli.train_options import TrainOptions
    from hmc_shared.data.dataset import HierarchicalDataset
    from hmc_shared.runs.folder import RunFolder


class Progress:
    """Epochs and steps done, time spent, and the weights of the best epoch on the validation split so far."""

    def __init__(self) -> None:
        self.epoch = 0
        """Epochs that are done."""
        self.step_losses: list[Tensor] = []
        """What the loop has kept of each step of the epoch that is not; each process has its own."""
        self.skipped = 0
        """Batches left out by ``--skip-bad-steps``."""
        self.train_seconds = 0.0
        self.best_score: float | None = None
        self.best_epoch: int | None = None
        self.improved_epoch: int | None = None
        self.best_weights: dict[str, Any] = {}
        self.bar: EpochBar | None = None
        """Where it is shown."""
        self._since: float | None = None

    @property
    def step(self) -> int:
        """Steps that are done of the next epoch."""
        return len(self.step_losses)

    @property
    def place(self) -> str:
        """A name for this point of the run; sorted as text, such names are in the order of time."""
        return f"epoch-{self.epoch:05d}" + (f"-step-{self.step:07d}" if self.step else "")

    @property
    def where(self) -> str:
        """This point of the run, for messages."""
        return f"step {self.step} of epoch {self.epoch + 1}" if self.step else f"epoch {self.epoch}"

    def begin_epoch(self) -> list[Tensor]:
        """The list to which the loop adds what it keeps of a step; not empty where a run goes on in one."""
        self._since = time.perf_counter()
        return self.step_losses

    def end_epoch(self) -> None:
        self.count_time()
        self._since = None
        self.epoch += 1
        self.step_losses = []

    def count_time(self) -> None:
        """Add the time since this was last done, or since the epoch began, to the training time."""
        if self._since is not None:
            now = time.perf_counter()
            self.train_seconds += now - self._since
            self._since = now

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

    def is_stale(self, patience: int | None) -> bool:
        """Whether ``patience`` epochs have gone by without a better score."""
        return (
            patience is not None
            and self.improved_epoch is not None
            and self.epoch - self.improved_epoch >= patience
        )

    def restore_best(self, model: nn.Module) -> None:
        if self.best_weights:
            model.load_state_dict(self.best_weights)

    def summary(self) -> dict[str, Any]:
        """What ``results.json`` says of the epochs."""
        return {"epochs": self.epoch, "best_epoch": self.best_epoch, "validation": self.best_score}

    def state_dict(self) -> dict[str, Any]:
        """All of it, but for what each process has of its own."""
        return {name: getattr(self, name) for name in STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises KeyError or TypeError for anything but what :meth:`state_dict` gives."""
        for name, kinds in STATE.items():
            if type(state_dict[name]) not in kinds:
                raise TypeError(f"`{name}` is of the type {type(state_dict[name]).__name__}")
            setattr(self, name, state_dict[name])


STATE: dict[str, tuple[type, ...]] = {
    "epoch": (int,),
    "skipped": (int,),
    "train_seconds": (float,),
    "best_score": (float, type(None)),
    "best_epoch": (int, type(None)),
    "improved_epoch": (int, type(None)),
    "best_weights": (dict,),
}


class Rehearsed(Exception):  # noqa: N818 - nothing is wrong
    """Ends a training with ``--dry-run``, when it has taken the steps of which the time is told."""

    def __init__(self, bar: EpochBar, network: nn.Module, seconds: float) -> None:
        super().__init__("--dry-run")
        self.bar, self.network, self.seconds = bar, network, seconds


class EpochBar:
    """How far a training is, on standard error: on a terminal a bar of steps, else a line an epoch.

    Of the first process only. Its steps are the batches of all epochs.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        config: TrainOptions,
        epochs: int,
        progress: Progress,
        dataset: HierarchicalDataset,
        batches: int,
    ) -> None:
        self.accelerator, self.config, self.progress, self.dataset = accelerator, config, progress, dataset
        self.epochs, self.batches = epochs, batches
        self.name = f"{config.label} on {dataset.name}"
        self.is_shown = accelerator.is_main_process and not QUIET.get()
        self.since, self.first = time.perf_counter(), progress.epoch
        self.bar: tqdm[Any] = tqdm(
            total=epochs * batches,
            initial=progress.epoch * batches + progress.step,
            unit=" steps",
            smoothing=0.05,  # steps and what is between epochs alike
            dynamic_ncols=True,
            disable=None if self.is_shown else True,
        )
        self._begin()
        self._rehearsed: list[float] = []

    def step(self, network: nn.Module, batches: int) -> None:
        """A step of so many batches is done. Raises :class:`Rehearsed` where that was all to be done."""
        self.bar.update(min(batches, (self.progress.epoch + 1) * self.batches - self.bar.n))
        if self.config.dry_run:
            if self.accelerator.device.type == "cuda":
                torch.cuda.synchronize()
            self._rehearsed.append(time.perf_counter())
            if len(self._rehearsed) > REHEARSED:
                first, *_, last = self._rehearsed  # the first step is slower than others
                raise Rehearsed(self, network, (last - first) / REHEARSED / batches)

    def epoch(self, figures: str) -> None:
        """An epoch is done, with these figures."""
        done = self.progress.epoch
        self.bar.set_postfix_str(figures, refresh=False)
        self.bar.update(done * self.batches - self.bar.n)
        self._begin()
        if self.bar.disable and self.is_shown:
            seconds = time.perf_counter() - self.since
            left = seconds / max(done - self.first, 1) * (self.epochs - done)
            times = f"{tqdm.format_interval(seconds)}, {tqdm.format_interval(left)} left"
            print(f"{self.name}: epoch {done} of {self.epochs}, {figures} ({times})", file=sys.stderr)

    def close(self) -> None:
        self.bar.close()

    def _begin(self) -> None:
        of = min(self.progress.epoch + 1, self.epochs)
        self.bar.set_description(f"{self.name}, epoch {of} of {self.epochs}")


REHEARSED = 2
"""Steps of ``--dry-run`` whose time is taken, after a first one."""


def epoch_bar(
    accelerator: Accelerator,
    config: TrainOptions,
    epochs: int,
    progress: Progress,
    dataset: HierarchicalDataset,
    rows: int,
    notes: Sequence[str] = (),
) -> EpochBar:
    """A bar of the epochs over so many ``rows``, below the notes of the data set and others."""
    for note in (*dataset.notes, *notes) if accelerator.is_main_process else ():
        tell(f"note: {note}")
    batches = math.ceil(rows / config.batch_size)
    progress.bar = EpochBar(accelerator, config, epochs, progress, dataset, batches)
    return progress.bar


def show(bar: EpochBar, record: dict[str, Any], *names: str) -> None:
    """An epoch is done: the bar moves on, with those of the ``names`` that the record has."""
    bar.epoch(", ".join(f"{name} {record[name]:.4f}" for name in names if name in record))


def take_step(
    accelerator: Accelerator,
    network: nn.Module,
    optimizer: Any,
    config: TrainOptions,
    progress: Progress,
    batches: int = 1,
) -> bool:
    """Step along the gradients, clipped as ``--clip-norm`` says; False for a step that is left out.

    The gradients are of so many ``batches``.

    With ``--skip-bad-steps N`` that is one whose gradients are not finite. Raises FloatingPointError when
    more than N have been left out. Under fp16 such steps are the business of the scaler, as always.
    """
    if config.clip_norm is not None or config.skip_bad_steps:
        norm = accelerator.clip_grad_norm_(network.parameters(), config.clip_norm or math.inf)
        is_bad = config.skip_bad_steps and accelerator.scaler is None and not torch.as_tensor(norm).isfinite()
        if is_bad:
            progress.skipped += batches
            if progress.skipped > config.skip_bad_steps * batches:
                raise FloatingPointError(
                    f"The gradients are not finite in epoch {progress.epoch + 1}, step {progress.step + 1}; "
                    f"`--skip-bad-steps` lets {config.skip_bad_steps} such steps pass, of the whole run."
                )
            return False
    optimizer.step()
    if progress.bar:
        progress.bar.step(network, batches)
    return True


def mean_loss(step_losses: Tensor) -> float:
    """The mean of the losses (steps,) of an epoch, less steps that were left out."""
    is_finite = step_losses.isfinite()
    return (step_losses if is_finite.all() else step_losses[is_finite]).mean().item()


def check_finite(step_losses: Tensor, progress: Progress, folder: RunFolder, *weights: Tensor) -> None:
    """Raise FloatingPointError, naming the step, unless losses (steps,) of an epoch and weights are finite.

    As many losses as batches were left out may be not.
    """
    is_wrong = ~step_losses.isfinite()
    if int(is_wrong.sum()) > progress.skipped:
        step = int(is_wrong.nonzero()[0])
        raise FloatingPointError(
            f"The training loss is {step_losses[step].item()} in epoch {progress.epoch + 1}, "
            f"step {step + 1}. {REMEDIES}; {_where_to_go_on(folder)}."
        )
    check_weights(progress, folder, *weights)


def check_weights(progress: Progress, folder: RunFolder, *weights: Tensor) -> None:
    """Raise FloatingPointError if a weight is not finite."""
    if weights and not torch.stack([weight.detach().isfinite().all() for weight in weights]).all():
        raise FloatingPointError(
            f"A weight of the network is not finite after {progress.where}. {REMEDIES}; "
            f"{_where_to_go_on(folder)}."
        )


def _where_to_go_on(folder: RunFolder) -> str:
    return f"the last checkpoint is {last_checkpoint(folder.checkpoints) or 'none'}"


def agreed(value: float | Tensor, accelerator: Accelerator) -> float:
    """The value of the first process: the last bits of a validation figure may differ between processes."""
    local = torch.as_tensor(value, dtype=torch.float64).reshape(1).to(accelerator.device)
    together: Any = accelerator.gather(local)
    return together[0].item()


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that a run goes on from: their names are in the order of time."""
    return max(folder.glob("epoch-*"), default=None)
