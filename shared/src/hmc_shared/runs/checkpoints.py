"""Where a run can go on: written whole or not at all, checked before it is read, never a pickle that runs."""

from __future__ import annotations

import io
import json
import random
import shutil
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from hmc_shared.cli.commands import resume_command
from hmc_shared.cli.parse import to_yaml
from hmc_shared.cli.stopping import STOP, Stopped
from hmc_shared.data.storage.sources import sha256
from hmc_shared.messages import reason, shown
from hmc_shared.network_files import read_tensors
from hmc_shared.object_files import read_json
from hmc_shared.runs.files import replacing
from hmc_shared.runs.progress import Progress, check_weights, last_checkpoint

if TYPE_CHECKING:
    from accelerate import Accelerator  # the methods depend on it, this package does not

    from hmc_shared.cli.train_options import TrainOptions
    from hmc_shared.runs.folder import RunFolder

MANIFEST = "checkpoint.json"
"""Written last: epoch, step, processes, and the SHA-256 of every other file of the checkpoint."""
PARTIAL = "partial"
AGREE_EVERY = 8
"""Steps after which several processes ask each other whether to stop: they have to at the same step."""


class Part(Protocol):
    """What a checkpoint holds: a network, an optimiser, anything with a state."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state_dict: Any, /) -> Any: ...


class Checkpoints:
    """The checkpoints of a run, by epochs and minutes and when a signal asks the run to stop.

    Args:
        accelerator: its processes write and read together.
        folder: of the run.
        config: its ``--resume``, ``--checkpoint-every`` and ``--checkpoint-minutes``.
        progress: of the run.
        **parts: what else has a state that training changes, by name; the random states are added.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        folder: RunFolder,
        config: TrainOptions,
        progress: Progress,
        **parts: Part,
    ) -> None:
        self.accelerator, self.folder, self.config, self.progress = accelerator, folder, config, progress
        self.parts: dict[str, Part] = {"progress": progress, **parts}
        self._saved_at = time.monotonic()
        self._steps = 0

    def resume(self) -> None:
        """Go on from the last checkpoint where ``--resume`` says so, and write the options of the run.

        Raises ValueError, naming the file, for a checkpoint that is damaged, incomplete or of another number
        of processes.
        """
        checkpoint = last_checkpoint(self.folder.checkpoints) if self.config.resume else None
        if checkpoint:
            self._load(checkpoint)
        if self.accelerator.is_main_process:
            shutil.rmtree(self.folder.checkpoints / PARTIAL, ignore_errors=True)
            self.folder.write_config(to_yaml(self.config))
            self.folder.forget_epochs_from(self.progress.epoch)
        STOP.is_awaited = True

    def after_step(self) -> None:
        """Write a checkpoint if it is time for one, or if a signal has come, which then ends the run."""
        self._steps += 1
        if self.accelerator.num_processes > 1 and self._steps % AGREE_EVERY:
            return
        stop, is_time = self._agreed()
        if stop or is_time:
            self.save()
        if stop:
            raise self._stopped(stop)

    def after_epoch(self) -> None:
        """Write a checkpoint if it is the turn of this epoch, or as after a step."""
        stop, is_time = self._agreed()
        if stop or is_time or self.progress.epoch % self.config.checkpoint_every == 0:
            self.save()
        if stop:
            raise self._stopped(stop)

    def after_training(self) -> None:
        """Write the last checkpoint: from here on a signal stops at once."""
        self.save()
        STOP.is_awaited = False
        if STOP.number:
            raise self._stopped(STOP.number)

    def save(self) -> None:
        """Write ``epoch-<n>``, or ``epoch-<n>-step-<m>`` within an epoch, and drop those before.

        Raises FloatingPointError if a weight is not finite: such a checkpoint would be worth nothing.
        """
        final = self.folder.checkpoints / self.progress.place
        if final.is_dir():
            return
        self.progress.count_time()
        check_weights(self.progress, self.folder, *self._weights())
        partial = self.folder.checkpoints / PARTIAL
        try:
            self._write(partial)
            if self.accelerator.is_main_process:
                earlier = list(self.folder.checkpoints.glob("epoch-*"))
                partial.rename(final)
                for old in earlier:
                    shutil.rmtree(old)
        except OSError:  # such as a full disk, which what there is of it should not keep full
            shutil.rmtree(partial, ignore_errors=True)
            raise
        self.accelerator.wait_for_everyone()
        self._saved_at = time.monotonic()

    def _write(self, folder: Path) -> None:
        main = self.accelerator.is_main_process
        if main:
            shutil.rmtree(folder, ignore_errors=True)  # what a killed run has left
            folder.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        own = {"random": random_states(self.accelerator.device), "step_losses": self.progress.step_losses}
        _write_part(folder / self._own_file, own)
        if main:
            for name, part in self.parts.items():
                _write_part(folder / f"{name}.pt", self._bare(part).state_dict())
        self.accelerator.wait_for_everyone()
        if main:
            files = {path.name: sha256(path) for path in sorted(folder.iterdir())}
            content = {
                "epoch": self.progress.epoch,
                "step": self.progress.step,
                "processes": self.accelerator.num_processes,
                "files": files,
            }
            with replacing(folder / MANIFEST) as file:
                file.write((json.dumps(content, indent=2) + "\n").encode())

    def _load(self, folder: Path) -> None:
        names = [*(f"{name}.pt" for name in self.parts), self._own_file]
        check_manifest(folder, names, self.accelerator.num_processes)
        for name, part in self.parts.items():
            with _fitting(path := folder / f"{name}.pt"):
                load_state(self._bare(part), _read_part(path))
        with _fitting(path := folder / self._own_file):
            own = _read_part(path)
            restore_random_states(own["random"], self.accelerator.device)
            self.progress.step_losses = [loss.to(self.accelerator.device) for loss in own["step_losses"]]
        if self.progress.place != folder.name:
            raise ValueError(f"{folder} is of another point of a run: {self.progress.place}.")

    @property
    def _own_file(self) -> str:
        return f"process-{self.accelerator.process_index}.pt"

    def _bare(self, part: Part) -> Any:
        """A part without what several processes wrap around a network."""
        return self.accelerator.unwrap_model(part) if isinstance(part, torch.nn.Module) else part

    def _weights(self) -> list[torch.Tensor]:
        networks = [part for part in self.parts.values() if isinstance(part, torch.nn.Module)]
        return [weight for network in networks for weight in network.parameters()]

    def _agreed(self) -> tuple[int, bool]:
        """The signal that came, or 0, and whether it is time for a checkpoint: of any process."""
        is_time = time.monotonic() - self._saved_at > 60 * self.config.checkpoint_minutes
        asked = (STOP.number or 0, int(is_time))
        if self.accelerator.num_processes > 1:
            local = torch.tensor([asked], device=self.accelerator.device)
            together: Any = self.accelerator.gather(local)
            asked = tuple(together.amax(0).tolist())
        return asked[0], bool(asked[1])

    def _stopped(self, number: int) -> Stopped:
        STOP.number, STOP.is_awaited = None, False
        text = f"stopped by {signal.Signals(number).name} after {self.progress.where}; the run goes on with\n"
        return Stopped(number, text + resume_command(self.folder.whole))


def check_manifest(folder: Path, names: list[str], processes: int) -> None:
    """Raise ValueError, naming the file, unless a checkpoint is as it was written, with these files."""
    path = folder / MANIFEST
    remedy = f"Delete {folder} and resume from the checkpoint before, if there is one, or begin anew."
    try:
        content = read_json(path)
        written, files = content["processes"], dict(content["files"])
        if other := [name for name in files if Path(name).name != name]:  # such as /dev/zero, without end
            raise ValueError(f"{shown(other[0])} is no file of a checkpoint")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is missing or damaged ({reason(error)}). {remedy}") from error
    if written != processes:
        raise ValueError(
            f"`--resume` needs as many processes as before: {folder} is of {shown(written)}. "
            f"Found {processes}."
        )
    for name in [*names, *files]:
        file = folder / name
        try:
            found = sha256(file)
        except (OSError, ValueError) as error:
            raise ValueError(f"{file} is missing from a checkpoint ({reason(error)}). {remedy}") from error
        if files.get(name) != found:
            raise ValueError(f"{file} is not as it was written: its checksum differs. {remedy}")


def load_state(part: Part, state: Any) -> None:
    """Give a part of a run its state. Raises an error of any type for one of anything else.

    What an optimiser itself finds at its next step only is found here: its numbers are those of other
    parameters, or its options are none.
    """
    if not isinstance(part, torch.optim.Optimizer):
        part.load_state_dict(state)
        return
    before = _kinds(part)
    part.load_state_dict(state)
    if _kinds(part) != before:
        raise ValueError("it has other options")
    for parameter, values in part.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.ndim and value.shape != parameter.shape:
                raise ValueError(f"`{name}` is of shape {tuple(value.shape)}, not {tuple(parameter.shape)}")


def _kinds(optimizer: torch.optim.Optimizer) -> list[dict[str, type]]:
    return [
        {name: float if type(value) is int else type(value) for name, value in group.items()}
        for group in optimizer.param_groups
    ]


@contextmanager
def _fitting(path: Path) -> Generator[None, None, None]:
    """What fails within it is said of the file: it holds what is not of this run."""
    try:
        yield
    except Exception as error:  # of torch, which is given anything
        text = reason(error)
        raise ValueError(
            text if text.startswith(str(path)) else f"{path} does not fit this run: {text}"
        ) from error


def random_states(device: torch.device) -> dict[str, Any]:
    """The states of all generators that a seed sets, of Python, NumPy, torch and the device."""
    kind, keys, *rest = np.random.get_state()
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if device.type != "cpu":
        states["device"] = torch.get_device_module(device).get_rng_state()
    return states


def restore_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Set what :func:`random_states` gave. Raises KeyError, TypeError or ValueError for something else."""
    kind, keys, *rest = states["numpy"]
    random.setstate(states["python"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states["device"])


def _write_part(path: Path, state: Any) -> None:
    # Not by torch's own writer, which does not report a full disk as one.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with replacing(path) as file:
        file.write(buffer.getbuffer())


def _read_part(path: Path) -> Any:
    """Raises ValueError, naming the file, for what is no part of a checkpoint; no pickle in it is run."""
    try:
        return read_tensors(path)
    except Exception as error:  # a dozen types for damaged content
        raise ValueError(f"{path} is not readable as a part of a checkpoint: {reason(error)}") from error
