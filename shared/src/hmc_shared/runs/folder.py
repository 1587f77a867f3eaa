"""The run folder: what one training run leaves behind, written atomically and read without pickle."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from hmc_shared.cli.blend import Blend
from hmc_shared.cli.commands import command_line, launcher
from hmc_shared.cli.peer import Peer
from hmc_shared.cli.train_options import TrainOptions
from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.messages import shown
from hmc_shared.predict.decision import FILE as DECISION_FILE
from hmc_shared.predict.decision import load_decision
from hmc_shared.runs.files import naming, replacing
from hmc_shared.runs.log import read_log
from hmc_shared.runs.options import read_config
from hmc_shared.runs.progress import Progress
from hmc_shared.runs.read import SCHEMA, SELECTION
from hmc_shared.runs.samples import Samples, or_null
from hmc_shared.runs.trackers import Trackers

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None

if TYPE_CHECKING:
    from accelerate import Accelerator  # the methods depend on it, this package does not

LOCK = ".lock"
DECISION = f"model/{DECISION_FILE}"


class Results(TypedDict):
    """The content of ``results.json``; a method may add keys."""

    schema: int
    method: str
    protocol: str
    seed: int
    dataset: dict[str, Any]
    metrics: dict[str, float | None]
    calibration_error: float | None
    """Expected calibration error of the test probabilities."""
    decision: str | None
    """The file, below the run folder, that holds the threshold; None for threshold 0."""
    parameters: int
    seconds: dict[str, float]
    peak_memory_mib: float | None
    device: str
    processes: int
    finished: str
    package: str
    versions: dict[str, str]
    git_commit: str | None
    command: str | None
    launcher: str | None
    config: dict[str, Any]


class RunFolder:
    """Writer of ``config.yaml, metrics.jsonl, predictions.npz, hierarchy.json, results.json, model/``.

    Raises ValueError for a folder that is not empty, unless ``resume`` (go on there) or ``overwrite``
    (empty it; only a folder that holds a run's ``config.yaml`` is ever emptied).
    """

    trackers: Trackers | None = None
    """Told of what is logged, too."""

    def __init__(
        self, path: str | Path, *, resume: bool = False, overwrite: bool = False, is_writer: bool = True
    ) -> None:
        self.path = Path(path)
        if not is_writer:  # of several processes the first one prepares the folder
            return
        if self.path.is_file():
            raise ValueError(f"`--output-dir` should be a folder. Found the file {self.path}.")
        occupied = self.path.is_dir() and not all(map(_is_leftover, self.path.iterdir()))
        has_run = (self.path / "config.yaml").is_file()
        if occupied and not (resume or overwrite):
            raise ValueError(f"{self.path} is not empty: pass --resume to go on there, or --overwrite.")
        if occupied and not has_run:
            option = "`--resume` will not write there" if resume else "`--overwrite` will not empty it"
            raise ValueError(f"{self.path} holds no run (no config.yaml): {option}.")
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.path)
        self._is_stale = not resume

    @property
    def whole(self) -> Path:
        """The folder of the run that this one is a part of, or its own."""
        return self.path.parent if self.path.name == SELECTION else self.path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @classmethod
    def open(cls, config: TrainOptions, accelerator: Accelerator) -> RunFolder:
        """The folder of a run that begins or goes on, by its options; all processes may call this.

        Raises ValueError for an occupied folder, and for a run to resume that had other options.
        """
        with accelerator.main_process_first():
            folder = cls(
                config.run_folder,
                resume=config.resume,
                overwrite=config.overwrite,
                is_writer=accelerator.is_main_process,
            )
        folder.check_resumed(config)
        folder.trackers = Trackers(accelerator, config, folder.path)
        return folder

    def check_resumed(self, config: TrainOptions | Peer | Blend) -> None:
        """Raise ValueError for a run to resume that had other options."""
        if config.resume:
            self.check_same_options(asdict(config), free=config.free_on_resume())

    def write_config(self, text: str) -> None:
        """Write ``config.yaml``. Results of a run that goes on are taken away: they are those of before.

        With ``overwrite`` the folder is emptied here, once data and options have been found right.
        """
        if self._is_stale:
            _empty(self.path)
            self._is_stale = False
        (self.path / "results.json").unlink(missing_ok=True)
        self.write("config.yaml", text.encode())

    def check_same_options(self, options: Mapping[str, Any], *, free: Collection[str]) -> None:
        """Raise ValueError if a run to resume had other options, ``free`` ones aside; naming the first."""
        path = self.path / "config.yaml"
        if not path.is_file():  # nothing to resume is fine
            return
        before = read_config(self.path)
        for name, given in options.items():
            value = [*given] if isinstance(given, tuple) else given  # as YAML has it
            if name in before and name not in free and before[name] != value:
                raise ValueError(
                    f"`--resume` should keep the options of {path}: `{name}` is {shown(before[name])} there. "
                    f"Found {shown(value)}."
                )

    def write(self, name: str, content: bytes) -> None:
        with replacing(self.path / name) as file:
            file.write(content)

    def write_predictions(
        self,
        name: str,
        targets: Tensor,
        ids: Sequence[str],
        scores: Tensor,
        probabilities: Tensor,
        unknown: Tensor | None = None,
        **more: np.ndarray,
    ) -> None:
        """Write ``name`` as :func:`hmc_shared.runs.read.load_predictions` reads it."""
        arrays: dict[str, Any] = {
            "scores": scores.detach().float().cpu().numpy(),
            "probabilities": probabilities.float().cpu().numpy(),
            "targets": targets.cpu().numpy(),
            "ids": np.asarray(ids, dtype=np.str_),
            **({} if unknown is None else {"unknown": unknown.cpu().numpy()}),
            **more,
        }
        with replacing(self.path / name) as file:
            np.savez_compressed(file, **arrays)

    def log_epoch(self, record: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``; an undefined number, NaN, is null."""
        plain = {name: or_null(value) for name, value in record.items()}
        path = self.path / "metrics.jsonl"
        with naming(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain) + "\n")
        if self.trackers:
            self.trackers.log(plain, record["epoch"])

    def forget_epochs_from(self, epoch: int) -> None:
        """Drop the log lines of epochs that a resumed run will repeat."""
        log = self.path / "metrics.jsonl"
        records = read_log(self.path) if log.is_file() else []
        kept = [json.dumps(record) + "\n" for record in records if record["epoch"] < epoch]
        with replacing(log) as file:
            file.write("".join(kept).encode())

    def finish_trial(self, progress: Progress, accelerator: Accelerator) -> None:
        """Write ``validation.json``, all that is left of a run with ``--no-test``, and end the processes."""
        if accelerator.is_main_process:
            content = {**progress.summary(), "seconds": progress.train_seconds}
            self.write("validation.json", (json.dumps(content, indent=2) + "\n").encode())
            self._lock.release()
        accelerator.end_training()

    def finish(
        self,
        dataset: HierarchicalDataset | Samples,
        scores: Tensor,
        probabilities: Tensor | None = None,
        answers: Tensor | None = None,
        *,
        config: TrainOptions | Peer | Blend,
        parameters: int,
        seconds: Mapping[str, float],
        device: torch.device,
        processes: int = 1,
        extra: Mapping[str, Any] | None = None,
    ) -> Results:
        """Score the test split and write ``predictions.npz``, ``hierarchy.json`` and ``results.json``.

        ``scores`` (n, C) float32 are uncalibrated log-odds, by which classes are ranked; ``probabilities``
        (n, C) what the model gives for them, by default the sigmoid; ``answers`` (n, C) bool what it says,
        as the metrics of paths count it, by default the best leaf. The threshold is the saved model's, or 0.

        Returns the content of ``results.json``; its ``metrics`` are those of
        :func:`hmc_shared.metrics.summarize` with the prefix ``test/``.
        """
        tested = dataset if isinstance(dataset, Samples) else Samples.of_split(dataset, "test")
        decision = load_decision(self.model, len(tested.hierarchy))
        probabilities = scores.sigmoid() if probabilities is None else probabilities
        self.write_predictions(
            "predictions.npz",
            tested.targets,
            tested.ids,
            scores,
            probabilities,
            tested.unknown,
            evaluated=tested.evaluated.cpu().numpy(),
            train_counts=tested.train_counts.cpu().numpy(),
            information=tested.information,
            **({} if answers is None else {"answers": answers.cpu().numpy()}),
        )
        self.write("hierarchy.json", tested.hierarchy.to_json().encode())
        results: Results = {
            "schema": SCHEMA,
            "method": config.label,
            "protocol": tested.protocol or getattr(config, "protocol", "default"),
            "seed": config.seed,
            "dataset": {"name": tested.name, "checksum": tested.checksum, "sizes": dict(tested.sizes)},
            "metrics": tested.metrics(scores, decision.threshold or 0.0, answers=answers),
            "calibration_error": tested.calibration_error(probabilities),
            "decision": None if decision.threshold is None else DECISION,
            "parameters": parameters,
            "seconds": dict(seconds),
            **_origin(config.package, device, processes),
            "config": asdict(config),  # type: ignore[call-overload]
            **(extra or {}),  # type: ignore[typeddict-item]
        }
        # Last: its presence says that a run is complete.
        self.write("results.json", (json.dumps(results, indent=2) + "\n").encode())
        if self.trackers:
            self.trackers.finish(results["metrics"], (extra or {}).get("epochs") or 0)
        self._lock.release()
        return results


def _is_leftover(path: Path) -> bool:
    """Whether a file or folder of a run folder is what a run leaves that was killed before it began."""
    if path.name == "checkpoints" and path.is_dir():
        return all(inside.name == "partial" for inside in path.iterdir())
    return path.name == LOCK or path.name.endswith(".partial")


def _lock(folder: Path) -> FileLock:
    """Held until the run is finished or its process ends. Raises ValueError if another process holds it."""
    lock = FileLock(folder / LOCK, timeout=0, is_singleton=True)  # of one process: it may resume its own run
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(f"{folder} is in use: another process is writing a run there.") from error
    return lock


def _empty(folder: Path) -> None:
    # config.yaml last: as long as it is there, --overwrite may go on.
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "config.yaml"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _origin(package: str, device: torch.device, processes: int) -> Any:
    """What ran where, and how it was started."""
    return {
        "peak_memory_mib": peak_memory_mib(device),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "processes": processes,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "package": package,
        "versions": _versions(package),
        "git_commit": _git_commit(),
        "command": command_line(),
        "launcher": launcher(),
    }


def processor() -> str:
    """Name of the CPU, or its machine type where the system does not tell."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory_mib(device: torch.device) -> float | None:
    """Peak memory since the process began, in MiB: the tensors on a CUDA device, else the whole process.

    None on Windows, which does not tell it by `resource`.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB on Linux


def _versions(package: str) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("hmc-shared", package, "torch", "numpy", "accelerate"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _git_commit() -> str | None:
    """The commit of the source tree that this file is in; None for an installed package."""
    where = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True, check=True
        )
        tracked = subprocess.run(
            ["git", "ls-files", __file__], cwd=where, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() if tracked.stdout else None
