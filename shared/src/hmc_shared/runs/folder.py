"""The run folder: what one training run leaves behind, written atomically and read without pickle."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import yaml
from torch import Tensor

from hmc_shared.cli.options import command_line
from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.metrics import summarize
from hmc_shared.metrics.calibration import expected_calibration_error
from hmc_shared.predict.calibration import Calibration, fit_calibration
from hmc_shared.predict.decision import Decision
from hmc_shared.runs.read import SCHEMA


class RunFolder:
    """Writer of ``config.yaml, metrics.jsonl, predictions.npz, hierarchy.json, results.json, model/``.

    Raises ValueError for a folder that is not empty, unless ``resume`` (go on there) or ``overwrite``
    (empty it; only a folder that holds a run's ``config.yaml`` is ever emptied).
    """

    def __init__(self, path: str | Path, *, resume: bool = False, overwrite: bool = False) -> None:
        self.path = Path(path)
        if self.path.is_file():
            raise ValueError(f"`--output-dir` should be a folder. Found the file {self.path}.")
        occupied = self.path.is_dir() and any(self.path.iterdir())
        if occupied and not resume:
            if not overwrite:
                raise ValueError(f"{self.path} is not empty: pass --resume to go on there, or --overwrite.")
            if not (self.path / "config.yaml").is_file():
                raise ValueError(
                    f"{self.path} holds no run (no config.yaml): `--overwrite` will not empty it."
                )
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    def write_config(self, text: str) -> None:
        """Write ``config.yaml``. Results of a run that goes on are taken away: they are those of before."""
        (self.path / "results.json").unlink(missing_ok=True)
        with _replacing(self.path / "config.yaml") as file:
            file.write(text.encode())

    def check_same_options(self, options: Mapping[str, Any], *, free: Collection[str]) -> None:
        """Raise ValueError if a run to resume had other options, ``free`` ones aside; naming the first.

        Nothing to resume is fine, but not a folder of something else.
        """
        path = self.path / "config.yaml"
        if not path.is_file():
            if any(self.path.iterdir()):
                raise ValueError(
                    f"{self.path} holds no run (no config.yaml): `--resume` will not write there."
                )
            return
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, value in options.items():
            if name in before and name not in free and before[name] != value:
                raise ValueError(
                    f"`--resume` should keep the options of {path}: `{name}` is {before[name]!r} there. "
                    f"Found {value!r}."
                )

    def log_epoch(self, record: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``; an undefined number, NaN, is null."""
        plain = {name: or_null(value) for name, value in record.items()}
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain) + "\n")

    def forget_epochs_from(self, epoch: int) -> None:
        """Drop the log lines of epochs that a resumed run will repeat."""
        log = self.path / "metrics.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.is_file() else []
        # A killed process may leave half a line: it has no line end.
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["epoch"] < epoch]
        with _replacing(log) as file:
            file.write("".join(kept).encode())

    def finish(
        self,
        dataset: HierarchicalDataset,
        logits: Tensor,
        *,
        method: str,
        protocol: str,
        seed: int,
        config: Mapping[str, Any],
        parameters: int,
        seconds: Mapping[str, float],
        device: torch.device,
        threshold: float | None = None,
        validation_logits: Tensor | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Score the test split and write ``predictions.npz``, ``hierarchy.json`` and ``results.json``.

        ``logits`` are the scores of the test split, (n, C) float32. ``threshold`` is what validation chose,
        None for logit 0. On ``validation_logits`` (n', C) a calibration is fitted; None where nothing was
        held out, or where the logits are calibrated. It is stored with the predictions, whose scores and
        metrics it does not change, and with all else that ``predict`` needs in the model's folder.

        Returns the content of ``results.json``; its ``metrics`` are those of
        :func:`hmc_shared.metrics.summarize` with the prefix ``test/``.
        """
        hierarchy = dataset.hierarchy
        calibration = Calibration.none(hierarchy)
        if validation_logits is not None:
            held_out = dataset.validation.targets
            calibration = fit_calibration(validation_logits, held_out, hierarchy, dataset.evaluated)
        decision = Decision(hierarchy, calibration, threshold, dataset.is_single_path, dataset.feature_names)
        if self.model.is_dir():
            decision.save(self.model)
        threshold = threshold or 0.0
        scores = logits.detach().float().cpu().numpy()
        targets, counts = dataset.test.targets.cpu(), dataset.train_counts.cpu()
        metrics = summarize(
            scores,
            targets,
            dataset.hierarchy,
            evaluated=dataset.evaluated,
            train_counts=counts,
            threshold=threshold,
        )
        with _replacing(self.path / "predictions.npz") as file:
            np.savez_compressed(
                file,
                scores=scores,
                targets=targets.numpy(),
                ids=np.asarray(dataset.test.ids, dtype=np.str_),
                evaluated=dataset.evaluated.cpu().numpy(),
                train_counts=counts.numpy(),
                threshold=np.float64(threshold),
                temperature=calibration.temperature.numpy(),
                shift=calibration.shift.numpy(),
            )
        with _replacing(self.path / "hierarchy.json") as file:
            file.write(dataset.hierarchy.to_json().encode())
        splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
        results = {
            "schema": SCHEMA,
            "method": method,
            "protocol": protocol,
            "seed": seed,
            "dataset": {
                "name": dataset.name,
                "checksum": dataset.checksum,
                "sizes": {name: len(split) for name, split in splits.items()},
            },
            "metrics": {f"test/{name}": or_null(value) for name, value in metrics.items()},
            "calibration": {
                "temperature": calibration.temperature.tolist(),
                "shift": calibration.shift.tolist(),
                "test/ece_uncalibrated": self._error(dataset, logits, Calibration.none(hierarchy)),
                "test/ece": self._error(dataset, logits, calibration),
            },
            "parameters": parameters,
            "seconds": dict(seconds),
            "peak_memory_mib": peak_memory_mib(device),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
            "versions": _versions(method),
            "git_commit": _git_commit(),
            "command": command_line(),
            "config": dict(config),
            **(extra or {}),
        }
        with _replacing(self.path / "results.json") as file:  # last: its presence says that a run is complete
            file.write((json.dumps(results, indent=2) + "\n").encode())
        return results

    @staticmethod
    def _error(dataset: HierarchicalDataset, logits: Tensor, calibration: Calibration) -> float | None:
        probabilities = calibration.probabilities(logits.detach().cpu(), dataset.hierarchy).numpy()
        targets, evaluated = dataset.test.targets.cpu().numpy(), dataset.evaluated.cpu().numpy()
        return or_null(expected_calibration_error(probabilities, targets, dataset.hierarchy, evaluated))


def load_pretrained(folder: str | Path, models: Mapping[str, Any]) -> Any:
    """The model that ``save_pretrained`` wrote, of the class in ``models`` that its config.json names.

    Raises ValueError, naming the file, if it does not say which of them it is.
    """
    path = Path(folder) / "config.json"
    try:
        method = json.loads(path.read_text(encoding="utf-8"))["method"]
        with redirect_stdout(sys.stderr):  # huggingface_hub prints a line; stdout is for results
            return models[method].from_pretrained(folder)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not the configuration of a model of this package: {error}") from error


def or_null(value: Any) -> Any:
    """A metric, or what else is logged, as JSON can write it: an undefined number, NaN, is null."""
    return None if value != value else value


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory since the process began, in MiB: the tensors on a CUDA device, else the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB on Linux


def _versions(method: str) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("hmc-shared", method, "torch", "numpy", "accelerate"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


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


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of ``path`` once it is complete and on disk."""
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
