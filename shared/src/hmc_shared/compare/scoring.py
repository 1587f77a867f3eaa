"""Score one finished run: recomputes every number from the predictions."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hmc_shared.metrics import head_medium_tail
from hmc_shared.metrics.ranking import Pooled
from hmc_shared.metrics.summary import Measured, measure
from hmc_shared.predict.decision import load_decision
from hmc_shared.runs.read import Run, load_hierarchy, load_predictions, load_run

TOLERANCE = 1e-6
"""A stored metric that differs from the recomputed one by more than this is reported."""
RECALL = np.linspace(0, 1, 501)
"""Where the precision of a run is kept: what is drawn, and averaged over seeds."""
ORIGIN = ("finished", "device", "git_commit", "versions", "command")
"""What a run says of how it came about."""
RUNS_AT_A_TIME = 8
"""Runs that are in memory at most, one for each processor."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Level:
    """One depth of the hierarchy, over its evaluated classes."""

    depth: int
    classes: int
    present: int
    """Classes with at least one positive test sample."""
    au_prc: float
    """AU(PRC) over all entries of this depth's evaluated classes; NaN without positives."""
    map: float
    """Mean AP of the classes that are present."""
    accuracy: float
    """``accuracy_level_<depth>``; NaN if samples have several classes in a level."""


@dataclass(frozen=True)
class Group:
    """The evaluated classes with many (head), some or few (tail) training positives."""

    name: str
    classes: int
    present: int
    map: float


@dataclass(frozen=True)
class Evaluation:
    """Everything measured on one set of predictions."""

    samples: int
    classes: int
    """Evaluated classes."""
    threshold: float | Mapping[str, float]
    """Of the scores; or of each class, by its name."""
    metrics: Mapping[str, float]
    """As :func:`hmc_shared.metrics.summarize` returns them."""
    levels: tuple[Level, ...]
    """The depths that have an evaluated class."""
    groups: tuple[Group, ...]
    """Head, medium and tail; empty if the training counts are not known."""


@dataclass(frozen=True)
class ScoredRun:
    """What the comparison keeps of a run: small, so that many runs fit in memory."""

    path: Path
    method: str
    seed: int
    dataset: str
    protocol: str
    options: Mapping[str, Any]
    evaluation: Evaluation
    curve: np.ndarray
    """Precision of all evaluated entries pooled at each recall of :data:`RECALL`, NaN without positives: the
    points of the whole curve that a plot shows, however long that is."""
    costs: Mapping[str, float]
    """``parameters``, ``train_seconds``, ``peak_memory_mib`` as the run reports them, else NaN."""
    origin: Mapping[str, Any]
    """:data:`ORIGIN` as the run reports it, else None."""
    fingerprint: Mapping[str, str]
    """What runs on the same data share: checksum, hierarchy, ids, targets and so on."""
    notes: tuple[str, ...]
    """One line if stored metrics differ from the recomputed ones."""


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``function`` of each item, in order: NumPy and zlib work on several at a time, as Python waits."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, RUNS_AT_A_TIME)) as pool:
        yield from pool.map(function, items)


def score_run(path: str | Path) -> ScoredRun:
    """Read and score one run folder. Raises ValueError that names the file and what is wrong with it."""
    run = load_run(path)
    data, seconds = run.results["dataset"], run.results.get("seconds") or {}
    evaluation, pooled = _evaluate(run, run.path / "predictions.npz")
    return ScoredRun(
        path=run.path,
        method=run.results["method"],
        seed=run.results["seed"],
        dataset=data["name"],
        protocol=run.results["protocol"],
        options=run.results.get("config") or {},
        evaluation=evaluation,
        curve=pooled.precision_at(RECALL),
        costs={
            "parameters": _number(run.results.get("parameters")),
            "train_seconds": _number(seconds.get("train")),
            "peak_memory_mib": _number(run.results.get("peak_memory_mib")),
        },
        origin={key: run.results.get(key) for key in ORIGIN},
        fingerprint={
            "dataset checksum": data["checksum"],
            "hierarchy": run.hierarchy.checksum,
            "test ids": _digest("\0".join(run.ids.tolist()).encode()),
            "test targets": _digest(
                np.packbits(run.targets.astype(bool)).tobytes()
                + (b"" if run.unknown is None else np.packbits(run.unknown).tobytes())
            ),
            "evaluated classes": _digest(run.evaluated.tobytes()),
            "training counts": _digest(run.train_counts.astype(np.int64).tobytes()),
        },
        notes=_differences(run, evaluation.metrics),
    )


def evaluate_path(
    path: str | Path, hierarchy: str | Path | None = None, threshold: float | None = None
) -> tuple[Evaluation, tuple[str, ...]]:
    """Score a run folder, or any ``.npz`` of predictions with the hierarchy beside it or in another file.

    Uses the stored threshold unless ``threshold`` is set. Also returns notes, one line each, on stored
    metrics that differ from the recomputed ones. Raises ValueError that names the file and what is wrong.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"There is no run folder or .npz file {str(path)!r}.")
    file = path / "predictions.npz" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"{path} is not a run folder: it has no predictions.npz.")
    if path.is_dir() and hierarchy is None and (path / "results.json").is_file():
        run = load_run(path)
    else:
        tree = load_hierarchy(hierarchy or file.parent / "hierarchy.json")
        stored = load_decision(file.parent / "model", len(tree)).threshold or 0.0
        arrays = load_predictions(file, tree)
        run = Run(file.parent, {"metrics": {}}, hierarchy=tree, threshold=stored, **arrays)
    if threshold is not None:  # the stored metrics belong to the stored threshold
        return _evaluate(replace(run, threshold=threshold), file)[0], ()
    evaluation, _ = _evaluate(run, file)
    return evaluation, _differences(run, evaluation.metrics)


def _evaluate(run: Run, file: Path) -> tuple[Evaluation, Pooled]:
    # Counts that are all 0 are unknown, and do not make every class a tail class.
    counts = run.train_counts if run.train_counts.any() else None
    try:
        measured = measure(
            run.scores,
            run.targets,
            run.hierarchy,
            evaluated=run.evaluated,
            train_counts=counts,
            information=run.information,
            threshold=run.threshold,
            answers=run.answers,
            unknown=run.unknown,
        )
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    evaluation = Evaluation(
        samples=len(run.scores),
        classes=int(run.evaluated.sum()),
        threshold=dict(zip(run.hierarchy.names, run.threshold, strict=True))
        if isinstance(run.threshold, tuple)
        else run.threshold,
        metrics=measured.metrics,
        levels=_by_level(run, measured),
        groups=() if counts is None else _by_group(counts, run.evaluated, measured.ap),
    )
    return evaluation, measured.pooled


def _by_level(run: Run, measured: Measured) -> tuple[Level, ...]:
    levels = []
    for depth, area in measured.au_prc_of_levels.items():
        level = run.hierarchy.levels[depth]
        ap = measured.ap[level.start : level.stop]  # NaN for classes that are not evaluated
        levels.append(
            Level(
                depth=depth,
                classes=int(run.evaluated[level.start : level.stop].sum()),
                present=int((~np.isnan(ap)).sum()),
                au_prc=area,
                map=_mean_present(ap),
                accuracy=measured.metrics.get(f"accuracy_level_{depth}", math.nan),
            )
        )
    return tuple(levels)


def _by_group(train_counts: np.ndarray, evaluated: np.ndarray, ap: np.ndarray) -> tuple[Group, ...]:
    groups = []
    for name, members in head_medium_tail(train_counts).items():
        members = members & evaluated
        present = int((~np.isnan(ap[members])).sum())
        groups.append(
            Group(name, classes=int(members.sum()), present=present, map=_mean_present(ap[members]))
        )
    return tuple(groups)


def _differences(run: Run, metrics: Mapping[str, float]) -> tuple[str, ...]:
    """A note if ``results.json`` stores other values than the predictions give."""
    stored = run.results["metrics"]
    wrong = [name for name in metrics if not _agree(stored.get(f"test/{name}", metrics[name]), metrics[name])]
    if not wrong:
        return ()
    name = wrong[0]
    others = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return (
        f"{run.path / 'results.json'}: test/{name} is stored as {stored[f'test/{name}']!r}{others}, "
        f"the predictions give {metrics[name]:.6f}, which is used.",
    )


def _agree(stored: object, computed: float) -> bool:
    value = _number(stored)
    return abs(value - computed) <= TOLERANCE or (math.isnan(value) and math.isnan(computed))


def _number(value: object) -> float:
    """A reported number; NaN for anything else."""
    return float(value) if isinstance(value, int | float) else math.nan


def _mean_present(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else math.nan


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
