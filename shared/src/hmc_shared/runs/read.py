"""Reading a run folder back, without pickle."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmc_shared.array_files import read_arrays
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import shown
from hmc_shared.metrics import is_single_path
from hmc_shared.object_files import LARGEST_JSON, read_json, read_text
from hmc_shared.predict.decision import FILE as DECISION_FILE
from hmc_shared.predict.decision import load_decision

SCHEMA = 2
"""Of the run folder: raised when what it holds changes its meaning."""

SELECTION = "selection"
"""Folder, within that of a run, of the run that chooses for it."""
VALIDATION = "validation.npz"
"""As ``predictions.npz``, of the validation split, where the run was chosen by it."""
RESERVED = "reserved.npz"
"""As ``predictions.npz``, of the validation rows that were set aside."""

_TEXT, _MAPPING, _NUMBER = (str, "text"), (dict, "a mapping"), (int | float | None, "a number or null")
_REQUIRED: dict[str, tuple[Any, str]] = {
    "method": _TEXT,
    "protocol": _TEXT,
    "seed": (int, "an integer"),
    "metrics": _MAPPING,
    "dataset": _MAPPING,
    "dataset.name": _TEXT,
    "dataset.checksum": _TEXT,
    "parameters": _NUMBER,
}
"""What every ``results.json`` holds."""


@dataclass(frozen=True)
class Run:
    """A finished run as read back: ``results`` as written, arrays as in ``predictions.npz``."""

    path: Path
    results: dict[str, Any]
    scores: np.ndarray
    targets: np.ndarray
    ids: np.ndarray
    evaluated: np.ndarray
    train_counts: np.ndarray
    information: np.ndarray
    """(C,): of the classes, by the training rows; all 0 if the run does not tell."""
    probabilities: np.ndarray
    """(n, C): calibrated, where the run has done so."""
    hierarchy: Hierarchy
    threshold: float | tuple[float, ...] = 0.0
    """Of the scores: a class is predicted at or above it. Or C of them, one for each class."""
    answers: np.ndarray | None = None
    """(n, C) bool: what ``predict`` says of the samples; None if the run does not tell."""
    unknown: np.ndarray | None = None
    """(n, C) bool: entries that no metric counts; None: all are known."""

    @property
    def is_single_path(self) -> bool:
        """Whether every sample has at most one class in each level, and all its labels are known."""
        return self.unknown is None and is_single_path(self.targets.astype(bool), self.hierarchy)

    @property
    def ranked(self) -> np.ndarray:
        """(n, C): the scores, unknown entries below all others."""
        return self.scores if self.unknown is None else np.where(self.unknown, -np.inf, self.scores)

    def counted(self, values: np.ndarray) -> np.ndarray:
        """(m,): those of values (n, C) that are known and of evaluated classes."""
        evaluated = values[:, self.evaluated]
        return evaluated.ravel() if self.unknown is None else evaluated[~self.unknown[:, self.evaluated]]

    @property
    def uncalibrated(self) -> np.ndarray:
        """(n, C) float32: the sigmoid of the scores."""
        return torch.from_numpy(self.scores.astype(np.float32)).sigmoid().numpy()


def load_run(path: str | Path) -> Run:
    """Read a run folder. Raises ValueError that names the file and what is wrong with it."""
    path = Path(path)
    if path.is_dir() and not (path / "results.json").exists():
        below = (file for depth in (1, 2, 3) for file in sorted(path.glob("*/" * depth + "results.json")))
        one = next(below, None)
        hint = f"Name one run, such as {one.parent}." if one else "A run has one once it is finished."
        raise ValueError(f"{path} has no results.json. {hint}")
    results = read_results(path)
    hierarchy = load_hierarchy(path / "hierarchy.json")
    arrays = load_predictions(path / "predictions.npz", hierarchy)
    return Run(
        path=path,
        results=results,
        hierarchy=hierarchy,
        threshold=_threshold(path, results, len(hierarchy)),
        **arrays,
    )


def read_results(folder: Path) -> dict[str, Any]:
    """The content of ``results.json``. Raises ValueError, naming the file, for what no run has written."""
    file = folder / "results.json"
    results = read_json(file)
    if results.get("schema") != SCHEMA:
        raise ValueError(f"{file}: `schema` should be {SCHEMA}. Found {shown(results.get('schema'))}.")
    values = dict(results)
    for part in ("dataset", "metrics", "seconds"):
        if isinstance(results.get(part), dict):
            values |= {f"{part}.{key}": value for key, value in results[part].items()}
    kinds = _REQUIRED | {name: _NUMBER for name in values if name.startswith(("metrics.", "seconds."))}
    for name, (kind, what) in kinds.items():
        value = values.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{file}: `{name}` should be {what}. Found {shown(value)}.")
    for name in ("seconds", "config"):
        if not isinstance(results.get(name) or {}, dict):
            raise ValueError(f"{file}: `{name}` should be a mapping. Found {shown(results[name])}.")
    return results


def _threshold(path: Path, results: dict[str, Any], classes: int) -> float | tuple[float, ...]:
    """The threshold, or one for each class, from the one file that holds it.

    Raises ValueError if that file is not there.
    """
    if not results.get("decision"):
        return 0.0
    file = path / "model" / DECISION_FILE
    if not file.is_file():
        raise ValueError(f"{file} is missing: it holds the threshold of this run. Copy it along.")
    return load_decision(file.parent, classes).threshold or 0.0


def load_hierarchy(path: str | Path) -> Hierarchy:
    """Read a ``hierarchy.json``. Raises ValueError that names the file."""
    text = read_text(path, LARGEST_JSON)
    try:
        return _hierarchy_of(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


@lru_cache(maxsize=2)
def _hierarchy_of(text: str) -> Hierarchy:
    """Once for all runs on the same classes, with what is derived from it."""
    return Hierarchy.from_json(text)


def load_predictions(path: str | Path, hierarchy: Hierarchy) -> dict[str, Any]:
    """Read the arrays of a ``predictions.npz``; only ``scores`` and ``targets`` must be there.

    Without ``train_counts`` or ``information`` all are 0, and without ``probabilities`` they are the sigmoid
    of the scores. Raises ValueError, naming the file, if it is damaged, holds pickled objects, or its types
    or shapes do not fit together or the hierarchy.
    """
    arrays = read_arrays(path)
    for name in ("scores", "targets"):
        if name not in arrays:
            raise ValueError(f"{path} has no array {name!r}.")
    n, width = arrays["targets"].shape[0] if arrays["targets"].ndim else 0, len(hierarchy)
    arrays.setdefault("ids", np.arange(n).astype(np.str_))
    arrays.setdefault("evaluated", np.ones(width, dtype=bool))
    arrays.setdefault("train_counts", np.zeros(width, dtype=np.int64))
    arrays.setdefault("information", np.zeros(width))
    has_probabilities = "probabilities" in arrays
    if not has_probabilities and arrays["scores"].dtype.kind == "f":
        arrays["probabilities"] = torch.from_numpy(arrays["scores"].astype(np.float32)).sigmoid().numpy()
    arrays.setdefault("probabilities", arrays["scores"])  # whose type is refused below
    expected = {  # shape and kinds of numpy types
        "scores": ((n, width), "f"),
        "targets": ((n, width), "biu"),
        "ids": ((n,), "Uiu"),
        "evaluated": ((width,), "b"),
        "train_counts": ((width,), "iu"),
        "information": ((width,), "f"),
        "probabilities": ((n, width), "f"),
    }
    expected |= {name: ((n, width), "b") for name in ("answers", "unknown") if name in arrays}
    for name, (shape, kinds) in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{path}: `{name}` should have shape {shape}. Found {arrays[name].shape}.")
        if arrays[name].dtype.kind not in kinds:
            raise ValueError(f"{path}: `{name}` should not be of type {arrays[name].dtype}.")
    if (missing := np.isnan(arrays["scores"])).any():
        row, column = np.argwhere(missing)[0].tolist()
        raise ValueError(
            f"{path}, row {row + 1}: `scores` should not hold NaN. "
            f"Found it for {shown(hierarchy.names[column])}."
        )
    is_probability = (arrays["probabilities"] >= 0) & (arrays["probabilities"] <= 1)
    if has_probabilities and not is_probability.all():
        value = arrays["probabilities"][~is_probability][0]
        raise ValueError(f"{path}: `probabilities` should lie in [0, 1]. Found {value}.")
    try:
        is_closed = hierarchy.has_ancestors(arrays["targets"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not is_closed:
        raise ValueError(
            f"{path}: `targets` should hold the parents of each class; they do not fit the hierarchy."
        )
    if "unknown" in arrays and (arrays["unknown"] & arrays["targets"].astype(bool)).any():
        raise ValueError(f"{path}: `unknown` should be False where `targets` are True.")
    read = {name: arrays[name] for name in expected}
    optional = {name: arrays.get(name) for name in ("answers", "unknown")}
    return read | {"ids": read["ids"].astype(np.str_)} | optional
