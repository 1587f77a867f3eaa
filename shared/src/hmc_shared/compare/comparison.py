"""Compare finished runs: recompute their metrics, group them by data set and protocol, average over seeds."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import filter as matching
from functools import cached_property
from glob import glob
from itertools import pairwise
from pathlib import Path
from typing import Any

from hmc_shared.compare.scoring import ScoredRun, in_threads, score_run
from hmc_shared.metrics.severity import KS
from hmc_shared.runs.read import SELECTION

DEFAULT_METRICS = ("au_prc", "map", "f1_micro", "accuracy_leaf", "hvr", "incoherent")
LOWER_IS_BETTER = frozenset(
    {
        *("hvr", "hvr_levels", "hvr_relations", "incoherent", "ap_variance", "coverage_error"),
        *("ranking_loss", "smin", "tree_error", "mistake_severity", *(f"distance_at_{k}" for k in KS)),
    }
)
NOT_RANKED = frozenset({"map_classes", "map_absent"})
COSTS = ("parameters", "train_seconds", "peak_memory_mib")

# Options about where and how a run reads and writes, which change no result. Runs that differ in any other
# option are never averaged.
_NO_SETTINGS = frozenset(
    {
        *("seed", "output_dir", "data_dir", "config", "resume", "overwrite", "checkpoint_every"),
        *("workers", "cache_gib", "checkpoint_minutes", "test"),
    }
)


@dataclass(frozen=True)
class Statistic:
    """One number for each seed's run."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Arithmetic mean; NaN if any value is NaN."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float:
        """Sample standard deviation (divisor n - 1); NaN for a single value."""
        mean, n = self.mean, len(self.values)
        return math.sqrt(sum((v - mean) ** 2 for v in self.values) / (n - 1)) if n > 1 else math.nan


@dataclass(frozen=True)
class Row:
    """The runs of one method with the same options: one for each seed."""

    label: str
    """The method, and the options in which its rows differ if it has several."""
    method: str
    """Its name, or in a study its label."""
    runs: tuple[ScoredRun, ...]
    """Sorted by seed."""

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.seed for run in self.runs)

    def metric(self, name: str) -> Statistic:
        """NaN for a run that has no such metric."""
        return Statistic(tuple(run.evaluation.metrics.get(name, math.nan) for run in self.runs))

    def cost(self, name: str) -> Statistic:
        return Statistic(tuple(run.costs[name] for run in self.runs))


@dataclass(frozen=True)
class Grid:
    """Rows of a table that differ in the values of one or two options."""

    options: tuple[str, ...]
    cells: Mapping[tuple[str, tuple[Any, ...]], Row]
    """By method and values of the options."""

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(method for method, _ in self.cells))

    def values(self, number: int) -> list[Any]:
        """Of an option, in the order of the rows."""
        return list(dict.fromkeys(values[number] for _, values in self.cells))

    def metric(self, name: str, method: str, values: tuple[Any, ...]) -> Statistic:
        """NaN where there is no row."""
        row = self.cells.get((method, values))
        return row.metric(name) if row else Statistic((math.nan,))


@dataclass(frozen=True)
class ComparisonTable:
    """The methods of one data set and one protocol: what may be compared with each other."""

    dataset: str
    protocol: str
    metrics: tuple[str, ...]
    """The columns; the first one orders the rows, best first."""
    rows: tuple[Row, ...]
    missing: tuple[tuple[str, str], ...] = ()
    """Rows without runs: a label, and the reason or what to do about it."""
    grids: tuple[Grid, ...] = ()
    """What is drawn over the values of options."""

    @property
    def title(self) -> str:
        return f"{self.dataset}, protocol {self.protocol}"

    @property
    def caption(self) -> str:
        evaluation = self.rows[0].runs[0].evaluation
        return f"{evaluation.samples} test samples, {evaluation.classes} evaluated classes"

    @property
    def all_metrics(self) -> tuple[str, ...]:
        """Every metric that some run has, in the order of ``summarize``."""
        return tuple(
            dict.fromkeys(name for row in self.rows for run in row.runs for name in run.evaluation.metrics)
        )

    @cached_property
    def best(self) -> frozenset[tuple[str, str]]:
        """(row label, metric) of the best mean of each column; means that agree to four digits are tied.

        A column whose rows are all tied has no best, and neither has one that does not measure quality.
        """
        winners = set()
        for name in self.metrics:
            means = {row.label: round(row.metric(name).mean, 4) for row in self.rows}
            known = [mean for mean in means.values() if not math.isnan(mean)]
            if name in NOT_RANKED or len(set(known)) < 2:
                continue
            top = min(known) if name in LOWER_IS_BETTER else max(known)
            winners |= {(label, name) for label, mean in means.items() if mean == top}
        return frozenset(winners)


@dataclass(frozen=True)
class Appendix:
    """A table of words that belongs to a comparison, such as the budgets of a search."""

    title: str
    text: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    is_long: bool = False
    """Left out where a terminal shows the comparison, folded in HTML."""


@dataclass(frozen=True)
class Comparison:
    tables: tuple[ComparisonTable, ...]
    notes: tuple[str, ...]
    """One line each: unfinished runs, and stored metrics that differ from the recomputed ones."""
    appendices: tuple[Appendix, ...] = ()


def find_runs(paths: Iterable[str | Path]) -> tuple[list[Path], list[Path]]:
    """Run folders in and below ``paths`` (folders or globs): the finished ones and the unfinished ones.

    A folder with ``results.json`` is a finished run; one with ``config.yaml`` but no run in it is
    unfinished. Raises ValueError for a path that does not exist and a glob that matches nothing.
    """
    finished: dict[Path, Path] = {}
    unfinished: dict[Path, Path] = {}
    for pattern in map(str, paths):
        matches = [pattern] if Path(pattern).exists() else sorted(glob(pattern, recursive=True))
        if not matches:
            raise ValueError(f"There is no run folder {pattern!r}, and no folder that it matches as a glob.")
        for match in map(Path, matches):
            done, open_ = _search(match.parent if match.name == "results.json" else match)
            finished |= {folder.resolve(): folder for folder in done}  # a run named twice counts once
            unfinished |= {folder.resolve(): folder for folder in open_}
    return sorted(finished.values()), sorted(unfinished.values())


def _search(top: Path) -> tuple[list[Path], list[Path]]:
    finished: list[Path] = []
    started: list[Path] = []
    for current, folders, files in os.walk(top):
        if "results.json" in files:
            finished.append(Path(current))
            folders.clear()  # no run inside a run
        elif "config.yaml" in files and "validation.json" not in files:  # which is a trial of a search
            started.append(Path(current))
            folders[:] = [name for name in folders if name != SELECTION]  # a part of the run
        folders[:] = [name for name in folders if not name.startswith(".")]
    return finished, [folder for folder in started if not any(folder in run.parents for run in finished)]


def compare(
    paths: Iterable[str | Path], metrics: Sequence[str] = (), labels: Mapping[Path, str] | None = None
) -> Comparison:
    """Score all runs below ``paths`` and arrange them in a table for each (data set, protocol).

    ``metrics`` are names as in ``results.json``, with or without ``test/``, or patterns like
    ``accuracy_level_*``; by default those of ``DEFAULT_METRICS`` that the data have. ``labels`` names the
    rows of run folders, which are else named by :func:`study_label`, or method and differing options. Raises
    ValueError if there is no finished run, a run is damaged, runs of one data set do not share their data, a
    seed is there twice, or a metric is unknown.
    """
    paths = list(paths)
    if not paths:
        raise ValueError("There is no run to compare: name run folders, before any option.")
    folders, unfinished = find_runs(paths)
    notes = [f"{folder} is not finished (no results.json): skipped." for folder in unfinished]
    if not folders:
        where = " ".join(map(str, paths))
        raise ValueError(f"There is no finished run (a folder with results.json) in: {where}.")
    runs = list(in_threads(score_run, folders))
    notes += [note for run in runs for note in run.notes]
    by_dataset: dict[str, list[ScoredRun]] = defaultdict(list)
    by_table: dict[tuple[str, str], list[ScoredRun]] = defaultdict(list)
    for run in runs:
        by_dataset[run.dataset].append(run)
        by_table[run.dataset, run.protocol].append(run)
    for group in by_dataset.values():
        _refuse_other_data(group, but="training counts")  # a protocol may train on more samples
    for group in by_table.values():
        _refuse_other_data(group)
    asked = _known_names(metrics, runs)
    tables = [_table(*key, by_table[key], asked, labels or {}) for key in sorted(by_table)]
    return Comparison(tuple(tables), tuple(notes))


def _refuse_other_data(runs: Sequence[ScoredRun], but: str = "") -> None:
    first = runs[0]
    for run in runs[1:]:
        for what, value in run.fingerprint.items():
            expected = first.fingerprint[what]
            if what != but and value != expected:
                raise ValueError(
                    f"Runs of the data set {first.dataset!r} should share their {what}. "
                    f"Found {expected[:12]} in {first.path} and {value[:12]} in {run.path}."
                )


def _known_names(metrics: Sequence[str], runs: Sequence[ScoredRun]) -> tuple[str, ...]:
    known = dict.fromkeys(name for run in runs for name in run.evaluation.metrics)
    names: list[str] = []
    for name in (metric.removeprefix("test/") for metric in metrics):
        matches = matching(known, name)
        if not matches:
            raise ValueError(f"`--metrics` should be among {', '.join(known)}. Found {name!r}.")
        names += matches
    return tuple(dict.fromkeys(names))


def _table(
    dataset: str,
    protocol: str,
    runs: Sequence[ScoredRun],
    asked: tuple[str, ...],
    labels: Mapping[Path, str],
) -> ComparisonTable:
    present = {name for run in runs for name in run.evaluation.metrics}
    metrics = tuple(name for name in asked or DEFAULT_METRICS if name in present)
    rows = _rows(runs, labels)
    if metrics:
        sign = 1 if metrics[0] in LOWER_IS_BETTER else -1
        key = {row.label: sign * row.metric(metrics[0]).mean for row in rows}
        rows.sort(key=lambda row: math.inf if math.isnan(key[row.label]) else key[row.label])
    return ComparisonTable(dataset, protocol, metrics, tuple(rows))


def _rows(runs: Sequence[ScoredRun], labels: Mapping[Path, str]) -> list[Row]:
    """Group the runs of a table by their labels, those of a study by place, others by method and options."""
    methods: dict[str, dict[frozenset[tuple[str, str]], list[ScoredRun]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for run in runs:
        # What has a label is one row: options may name folders by their seed.
        label, settings = labels.get(run.path), frozenset[tuple[str, str]]()
        if label is None:
            label = study_label(run.path)
            settings = frozenset({("folder", str(run.path.parent))}) if label else _settings(run)
        methods[label or run.method][settings].append(run)
    rows = []
    for method, groups in sorted(methods.items()):
        shared = frozenset.intersection(*groups)
        for settings, members in groups.items():
            different = ", ".join(f"{name}={value}" for name, value in sorted(settings - shared))
            label = f"{method} ({different or 'other options not set'})" if len(groups) > 1 else method
            members.sort(key=lambda run: run.seed)
            for one, other in pairwise(members):
                if one.seed == other.seed:
                    raise ValueError(
                        f"Seed {one.seed} of {label!r} on {one.dataset!r} (protocol {one.protocol}) should "
                        f"be there once. Found {one.path} and {other.path}."
                    )
            rows.append(Row(label, method, tuple(members)))
    return rows


def study_label(run: Path) -> str | None:
    """The label of a run's method in the study to which it belongs, by its record there; None without one."""
    place = Path(os.path.abspath(run))
    if len(place.parents) < 4:
        return None
    dataset, label = place.parents[1].name, place.parent.name
    is_recorded = (place.parents[2] / "logs" / dataset / label / f"{place.name}.json").is_file()
    return label if is_recorded else None


def _settings(run: ScoredRun) -> frozenset[tuple[str, str]]:
    return frozenset(
        (name, value if isinstance(value, str) else json.dumps(value, sort_keys=True))
        for name, value in run.options.items()
        if name not in _NO_SETTINGS
    )
