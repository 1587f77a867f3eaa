"""A plan: data sets x methods x seeds, each a run in its run folder; a grid of options; a search."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from hmc_shared.cli.bounds import LARGEST_SEED
from hmc_shared.cli.parse import option_words
from hmc_shared.messages import counted, listed, shown
from hmc_shared.methods import PUBLISHED, installed_methods
from hmc_shared.study.places import (
    ENGINE_OPTIONS,
    check_label,
    check_metric,
    check_option,
    folded,
    folder_of,
    is_word,
    references,
    suffix_of,
)
from hmc_shared.study.plan_file import Place, PlanFile
from hmc_shared.study.programs import check_command, check_train_options, lacks, options_of, takes_for_all
from hmc_shared.study.shipped import find_plan

DEMO = "demo"
"""As ``methods``: what installed packages offer for ``hmc demo``."""
LARGEST = 10_000
"""Runs of a plan."""


@dataclass(frozen=True)
class Search:
    """How options are chosen: the same budget for every method, on the validation split."""

    trials: int | None = None
    seconds: float | None = None
    """Of all trials of a method together; the trial that passes it is the last."""
    seed: int = 0
    """Of every trial, and of what is tried."""
    prune: bool = True
    """Stop a trial whose validation curve lies below the median of those before."""
    storage: str | None = None
    """URL of a database; default: a file in the study's folder."""

    @property
    def budget(self) -> str:
        return counted(self.trials, "trial") if self.trials else f"{self.seconds:g} s"


@dataclass(frozen=True)
class Run:
    """One run of a study, less the folder in which it lies."""

    dataset: str
    label: str
    seed: int
    words: tuple[str, ...]
    """Program and options, less seed and folder; {data set/label} stands for the folder of a run."""
    processes: int = 1
    search: Search | None = None
    """Chooses more options first."""
    method: str = ""
    """The label, less what the grid adds to it."""
    grid: tuple[tuple[str, Any], ...] = ()
    """The options of the grid, with their values here."""
    references: tuple[tuple[str, str], ...] = ()
    """What stands in ``words`` for the folder of a run, and that run's place, less its seed."""
    folder: str = ""
    """In place of the usual folder below the study's, for the one run of its method."""

    @property
    def place(self) -> str:
        """Its folder below the study's, which is also its name."""
        return self.folder or f"{self.dataset}/{self.label}/seed-{self.seed}"

    @property
    def needs(self) -> list[str]:
        """Places of runs that have to be finished before."""
        return [f"{place}/seed-{self.seed}" for _, place in self.references]

    def words_in(self, study: str) -> list[str]:
        """Program and options, with the folders of other runs below that of the study."""
        words = list(self.words)
        for text, place in self.references:
            words = [word.replace(text, f"{study}/{place}/seed-{self.seed}") for word in words]
        return words


@dataclass(frozen=True)
class Plan:
    name: str
    about: str
    metrics: tuple[str, ...]
    runs: tuple[Run, ...]
    """In the order in which they start: the first seed of all before the second."""
    missing: Mapping[str, str]
    """Labels that cannot run here, and how to install them."""


@dataclass(frozen=True)
class Overrides:
    """What the command line says in place of the plan."""

    datasets: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    """Labels to keep."""
    seeds: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Of every run."""


def read_plan(name: str, overrides: Overrides | None = None, study: Path | None = None) -> Plan:
    """A plan by its path, or the name of a shipped one.

    A run that others need may be left out by ``overrides`` if it is finished in the folder ``study``, by
    default runs/<name of the plan>.

    Raises ValueError, with file and line, for a plan that is wrong: its form, an option that the command does
    not have, a value out of bounds, a run that is there twice.
    """
    path = find_plan(name)
    return _Reader(PlanFile(path), overrides or Overrides()).plan(path.stem, study or Path("runs", path.stem))


Level = tuple[Any, Place, Collection[str]]
"""Options, where they stand, and which of them may not be set there."""


class _Reader:
    def __init__(self, file: PlanFile, overrides: Overrides) -> None:
        self.file, self.overrides = file, overrides
        self.methods = {method.label: method for method in installed_methods()}
        self.folders: dict[str, str] = {}
        """Of all data sets, by name."""
        self.names: dict[str, str] = {}
        """The other way round, folded."""
        self.runs: dict[str, tuple[int, Run]] = {}
        """By place, each with the number of its seed."""
        self.folded: dict[str, str] = {}
        """Folded place of each run to its place."""
        self.stands: dict[str, Place] = {}
        """Of each run, by place, where its method stands."""
        self.short_folders: dict[str, str] = {}
        """By method, where the plan asks for one."""
        self.count = 0
        self.labels: set[str] = set()
        self.missing: dict[str, str] = {}
        self.checked: set[tuple[Any, ...]] = set()

    def plan(self, name: str, study: Path) -> Plan:
        content = self.file.content
        for number, metric in enumerate(content.get("metrics", ())):
            self._at(("metrics", number), check_metric, metric)
        self._read()
        if unknown := [name for name in self.overrides.methods if name not in self.labels]:
            raise ValueError(
                f"`--methods` should be of {listed(sorted(self.labels), 30)}. Found {listed(unknown)}."
            )
        runs = [run for _, run in sorted(self.runs.values(), key=lambda pair: pair[0])]
        times = Counter(run.method for run in runs)
        runs = [
            replace(
                run,
                references=tuple(references(run.words, self.folders, self.labels, run.dataset).items()),
                folder=self.short_folders.get(run.method, "") if times[run.method] == 1 else "",
            )
            for run in runs
        ]
        self._check_needs(runs, study)
        return Plan(
            name, content.get("about", ""), tuple(content.get("metrics", ())), tuple(runs), self.missing
        )

    def _read(self) -> None:
        """Find the runs of all parts."""
        content = self.file.content
        parts: list[tuple[dict[str, Any], dict[str, Place]]] = []
        self._name_folders(content.get("datasets", ()), ("datasets",))
        for number, part in enumerate(content.get("parts", [{}])):
            where: dict[str, Place] = {key: (key,) for key in content}
            where |= {key: ("parts", number, key) for key in part}
            parts.append(({**content, **part}, where))
            self._name_folders(part.get("datasets", ()), ("parts", number, "datasets"))
        named = set(self.folders)
        for name in self.overrides.datasets:
            try:
                self._name_folder(name)
            except ValueError as error:
                raise ValueError(f"`--dataset`: {error}") from error
        for seed in self.overrides.seeds:
            if not 0 <= seed <= LARGEST_SEED:
                raise ValueError(f"`--seeds` should be from 0 to {LARGEST_SEED}. Found {seed}.")
        for part, where in parts:
            for turn, run in self._runs(part, where, named):
                if (like := self.folded.setdefault(folded(run.place), run.place)) != run.place:
                    said = f"{like} and {run.place} are one folder on some disks: name one otherwise."
                    raise self.file.error(self.stands[run.place], said)
                _, there = self.runs.setdefault(run.place, (turn, run))
                if there != run:  # else two parts share it
                    said = f"{run.place} stands in the plan twice, with other options or another search."
                    raise self.file.error(where["methods"], said)

    def _at(self, place: Place, check: Callable[..., Any], *values: Any) -> Any:
        """What a check returns; what it refuses is told with the line."""
        try:
            return check(*values)
        except ValueError as error:
            raise self.file.error(place, str(error)) from error

    def _name_folders(self, datasets: Any, place: Place) -> None:
        for name, key, _ in _entries(datasets):
            self._at((*place, key), self._name_folder, name)

    def _name_folder(self, name: str) -> None:
        folder = folder_of(name)
        other = self.names.setdefault(folded(folder), name)
        if other != name:
            where = "" if self.folders[other] == folder else " on some disks"
            said = f"the data sets {shown(other)} and {shown(name)} have one folder{where}, {folder}."
            raise ValueError(said)
        self.folders[name] = folder

    def _runs(
        self, part: dict[str, Any], where: Mapping[str, Place], named: Collection[str]
    ) -> Iterator[tuple[int, Run]]:
        """The runs of a part, each with the number of its seed; ``named``: the data sets of the plan."""
        for key in ("datasets", "methods"):
            if key not in part:
                raise self.file.error(where.get("parts", ()), f"`{key}` is missing.")
        methods = part["methods"]
        if isinstance(methods, str):
            if methods != DEMO:
                said = f"`methods` should be a list, a mapping, or {DEMO}. Found {shown(methods)}."
                raise self.file.error(where["methods"], said)
            methods = self._demo_methods()
        datasets = {name: (key, content) for name, key, content in _entries(part["datasets"])}
        if asked := self.overrides.datasets:  # what stands in another part is not for this one
            kept = [name for name in asked if name in datasets or name not in named]
            datasets = {name: datasets.get(name, (name, None)) for name in kept}
        seeds = self.overrides.seeds or part.get("seeds", [0])
        grid = part.get("grid", {})
        self.count += max(len(datasets), 1) * len(methods) * len(seeds) * prod(map(len, grid.values()))
        if self.count > LARGEST:
            place = where.get("grid", where["methods"])
            raise self.file.error(place, f"a plan should have {LARGEST} runs at most. Found {self.count}.")
        search = Search(**part["search"]) if "search" in part else None
        combinations = self._combinations(grid, where.get("grid", ()))
        for method, key, content in _entries(methods):
            of_method = (*where["methods"], key)
            command, options, processes = self._method(method, content, of_method)
            of_search = search if not isinstance(content, dict) or content.get("search", True) else None
            for dataset, (at, of_dataset) in datasets.items():
                for suffix, of_grid in combinations:
                    label = method + suffix
                    self._at(of_method, check_label, label)
                    self.labels |= {method, label}
                    if self.overrides.methods and not {method, label} & set(self.overrides.methods):
                        continue
                    if why := lacks(command[0]):
                        self.missing[label] = why
                    of_dataset_at = (*where["datasets"], at)
                    levels: list[Level] = [
                        ({"dataset": dataset}, of_dataset_at, ()),
                        (part.get("options"), where.get("options", ()), ENGINE_OPTIONS),
                        (of_dataset, of_dataset_at, ENGINE_OPTIONS - {"dataset"}),
                        (options, (*of_method, "options"), ENGINE_OPTIONS),
                        (of_grid, where.get("grid", ()), ENGINE_OPTIONS),
                        (self.overrides.options, (), ENGINE_OPTIONS),
                    ]
                    words, values = self._words(command, levels), tuple(of_grid.items())
                    for turn, seed in enumerate(seeds):
                        folder = self.folders[dataset]
                        run = Run(folder, label, seed, words, processes, of_search, method, values)
                        self.stands.setdefault(run.place, of_method)
                        yield turn, run

    def _combinations(self, grid: Mapping[str, list[Any]], place: Place) -> list[tuple[str, dict[str, Any]]]:
        """Every combination of the grid's values, with what it adds to the label."""
        for name, values in grid.items():
            suffixes: set[str] = set()
            for number, value in enumerate(values):
                suffix = suffix_of(name, value)
                if suffix in suffixes:
                    said = f"two values of {shown(name)} have one label, {shown(suffix)}."
                    raise self.file.error((*place, name, number), said)
                suffixes.add(suffix)
        return [
            ("".join(map(suffix_of, grid, values)), dict(zip(grid, values, strict=True)))
            for values in product(*grid.values())
        ]

    def _method(self, label: str, content: Any, place: Place) -> tuple[tuple[str, ...], dict[str, Any], int]:
        """Command, options and processes of a method."""
        content = {"command": content} if isinstance(content, str) else content or {}
        if folder := content.get("folder"):
            folder = self._at((*place, "folder"), folder_of, folder)
            if folded(folder) in self.names:
                raise self.file.error((*place, "folder"), f"{shown(folder)} is the folder of a data set.")
            self.short_folders[label] = folder
        command = content.get("command")
        if command is None and label in PUBLISHED and lacks(label):
            command = f"{label} train"  # a row that says how to install it
        if command is None and label not in self.methods:
            known = listed(sorted(self.methods), 40) or "none"
            said = f"give {shown(label)} a `command`: it is no method that is installed ({known})."
            raise self.file.error(place, said)
        try:
            words = shlex.split(command if command is not None else self.methods[label].command)
        except ValueError as error:
            raise self.file.error(
                place, f"the command of {shown(label)} is not readable: {error}."
            ) from error
        if not words or not words[0] or not all(map(is_word, words)):
            said = "not readable" if words and words[0] else "empty"
            raise self.file.error(place, f"the command of {shown(label)} is {said}.")
        for name, _ in options_of(words[1:]):
            if name.removeprefix("no_") in ENGINE_OPTIONS:
                self._at((*place, "command"), check_option, name, None)
        self._at((*place, "command"), check_command, words)
        return tuple(words), content.get("options") or {}, content.get("processes", 1)

    def _demo_methods(self) -> dict[str, Any]:
        """The longest first; and those of the published packages that are not installed, as missing."""
        here = [method for method in self.methods.values() if method.demo is not None]
        here.sort(key=lambda method: -method.demo_minutes)
        self.missing |= {name: why for name in PUBLISHED if (why := lacks(name))}
        return {method.label: shlex.join(method.demo_command) for method in here}

    def _words(self, command: tuple[str, ...], levels: list[Level]) -> tuple[str, ...]:
        """The command with its options; of an option that is set twice the later one holds."""
        options: dict[str, Any] = {}
        for level, place, taken in levels:
            here: set[str] = set()
            for name, value in (level or {}).items():
                option = name.replace("-", "_")
                if level is self.overrides.options and not takes_for_all(command, option):
                    continue
                key = (command, place, name, repr(value))
                try:
                    if option in here:
                        raise ValueError(f"{shown(option)} stands here twice.")
                    if key not in self.checked:  # once, not for every combination
                        check_option(name, value, taken)
                        check_train_options(command, option, value)
                except ValueError as error:
                    if level is self.overrides.options:
                        raise ValueError(f"`--set {name}`: {error}") from error
                    raise self.file.error((*place, name), str(error)) from error
                self.checked.add(key)
                here.add(option)
                options[option] = value
        return (*command, *(word for name, value in options.items() for word in option_words(name, value)))

    def _check_needs(self, runs: list[Run], study: Path) -> None:
        """Raise ValueError for a run that would wait for ever; what needs a missing run is missing itself."""
        labels = {run.place: run.label for run in runs}
        for run in runs:
            for place in run.needs:
                if place not in labels and not (study / place / "results.json").is_file():
                    said = f"{run.place} needs the run {place}, {self._why(place)}."
                    raise self.file.error(self.stands[run.place], said)
        try:
            TopologicalSorter({run.place: run.needs for run in runs}).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1][::-1]
            said = f"runs wait for each other: {' needs '.join(circle[:4])}."
            raise self.file.error(self.stands[circle[0]], said) from error
        while more := {
            run.label: f"needs {place}, which is not installed"
            for run in runs
            for place in run.needs
            if run.label not in self.missing and labels.get(place) in self.missing
        }:
            self.missing |= more

    def _why(self, place: str) -> str:
        """Why a run that is needed is not there."""
        whole = _Reader(self.file, replace(self.overrides, datasets=(), methods=()))
        whole._read()
        if place in whole.runs:
            return "which is not finished, and `--methods` or `--dataset` leaves it out"
        return "which the plan has not"


def _entries(content: Any) -> list[tuple[str, str | int, Any]]:
    """Name, key and content of each entry of a mapping, or of a list of names."""
    if isinstance(content, dict):
        return [(name, name, value) for name, value in content.items()]
    return [(name, number, None) for number, name in enumerate(content)]
