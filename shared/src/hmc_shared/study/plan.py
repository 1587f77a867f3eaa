"""A plan: data sets x methods x seeds, each a run in its run folder; a grid of options; a search."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from hmc_shared.cli.parse import option_words
from hmc_shared.messages import listed, shown
from hmc_shared.methods import PUBLISHED, installed_methods
from hmc_shared.study.plan_file import Place, PlanFile
from hmc_shared.study.programs import check_train_options, find_program
from hmc_shared.study.shipped import find_plan

DEMO = "demo"
"""As ``methods``: what installed packages offer for ``hmc demo``."""
_REFERENCE = re.compile(r"\{([^{}/]+)/([^{}/]+)\}")
"""In an option, ``{data set/label}`` is the folder of that run with the same seed."""


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
        return f"{self.trials} trials" if self.trials else f"{self.seconds:g} s"


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

    @property
    def place(self) -> str:
        """Its folder below the study's, which is also its name."""
        return f"{self.dataset}/{self.label}/seed-{self.seed}"

    @property
    def needs(self) -> list[str]:
        """Places of runs that have to be finished before."""
        found = [match.groups() for word in self.words for match in _REFERENCE.finditer(word)]
        return [f"{dataset}/{label}/seed-{self.seed}" for dataset, label in found]

    def words_in(self, study: str) -> list[str]:
        """Program and options, with the folders of other runs below that of the study."""
        return [
            _REFERENCE.sub(lambda match: f"{study}/{match[1]}/{match[2]}/seed-{self.seed}", word)
            for word in self.words
        ]


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


def read_plan(name: str, overrides: Overrides | None = None) -> Plan:
    """A plan by its path, or the name of a shipped one.

    Raises ValueError, with file and line, for a plan that is wrong: its form, an option that the command does
    not have, a value out of bounds, a run that is there twice.
    """
    path = find_plan(name)
    return _Reader(PlanFile(path), overrides or Overrides()).plan(path.stem)


class _Reader:
    def __init__(self, file: PlanFile, overrides: Overrides) -> None:
        self.file, self.overrides = file, overrides
        self.methods = {method.label: method for method in installed_methods()}
        parts = [file.content, *file.content.get("parts", ())]
        self.named = {name for part in parts for name in part.get("datasets", ())}
        self.labels: set[str] = set()
        self.missing: dict[str, str] = {}

    def plan(self, name: str) -> Plan:
        content = self.file.content
        turns: list[tuple[int, Run]] = []
        places: dict[str, tuple[str, ...]] = {}
        for number, part in enumerate(content.get("parts", [{}])):
            where: dict[str, Place] = {key: (key,) for key in content}
            where |= {key: ("parts", number, key) for key in part}
            for turn, run in self._runs({**content, **part}, where):
                if places.get(run.place) == run.words:
                    continue  # two parts share it
                if run.place in places:
                    raise self.file.error(where["methods"], f"{run.place} stands in the plan twice.")
                places[run.place] = run.words
                turns.append((turn, run))
        runs = [run for _, run in sorted(turns, key=lambda pair: pair[0])]
        if unknown := [name for name in self.overrides.methods if name not in self.labels]:
            raise ValueError(
                f"`--methods` should be of {listed(sorted(self.labels), 30)}. Found {listed(unknown)}."
            )
        for run in runs:
            if lost := [place for place in run.needs if place not in places]:
                raise ValueError(
                    f"{self.file.path}: {run.place} needs the run {lost[0]}, which the plan has not."
                )
        return Plan(
            name, content.get("about", ""), tuple(content.get("metrics", ())), tuple(runs), self.missing
        )

    def _runs(self, part: dict[str, Any], where: Mapping[str, Place]) -> Iterator[tuple[int, Run]]:
        """The runs of a part, each with the number of its seed."""
        for key in ("datasets", "methods"):
            if key not in part:
                raise self.file.error(where.get("parts", ()), f"`{key}` is missing.")
        if part["methods"] == DEMO:
            part["methods"] = self._demo_methods()
        datasets = _as_mapping(part["datasets"])
        if asked := self.overrides.datasets:  # what stands in another part is not for this one
            kept = [name for name in asked if name in datasets or name not in self.named]
            datasets = {name: datasets.get(name) for name in kept}
        search = Search(**part["search"]) if "search" in part else None
        for number, (method, content) in enumerate(_as_mapping(part["methods"]).items()):
            key = method if isinstance(part["methods"], dict) else number
            command, options, processes = self._method(method, content, (*where["methods"], key))
            for dataset, of_dataset in datasets.items():
                for suffix, of_grid in _combinations(part.get("grid", {})):
                    label = method + suffix
                    self.labels |= {method, label}
                    if self.overrides.methods and not {method, label} & set(self.overrides.methods):
                        continue
                    levels = [
                        ({"dataset": dataset}, ("datasets",)),
                        (part.get("options"), (where.get("options", ()))),
                        (of_dataset, (*where["datasets"], dataset)),
                        (options, (*where["methods"], method, "options")),
                        (of_grid, where.get("grid", ())),
                        (self.overrides.options, ()),
                    ]
                    words = self._words(command, levels)
                    folder = re.sub(r"[^\w.+-]+", "-", dataset)
                    for turn, seed in enumerate(self.overrides.seeds or part.get("seeds", [0])):
                        values = tuple(of_grid.items())
                        yield turn, Run(folder, label, seed, words, processes, search, method, values)

    def _method(self, label: str, content: Any, place: Place) -> tuple[tuple[str, ...], dict[str, Any], int]:
        """Command, options and processes of a method; a program that is not here makes its label missing."""
        content = {"command": content} if isinstance(content, str) else content or {}
        command = content.get("command")
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
        if not words:
            raise self.file.error(place, f"the command of {shown(label)} is empty.")
        if find_program(words[0]) is None:
            is_published = words[0] in PUBLISHED
            why = (
                f"not installed: pip install {words[0]}"
                if is_published
                else f"there is no program {words[0]}"
            )
            self.missing[label] = why
        return tuple(words), content.get("options") or {}, content.get("processes", 1)

    def _demo_methods(self) -> dict[str, Any]:
        """The longest first; and those of the published packages that are not installed, as missing."""
        here = [method for method in self.methods.values() if method.demo is not None]
        here.sort(key=lambda method: -method.demo_minutes)
        self.missing |= {
            name: f"not installed: pip install {name}" for name in PUBLISHED if find_program(name) is None
        }
        return {method.label: shlex.join(method.demo_command) for method in here}

    def _words(self, command: tuple[str, ...], levels: list[tuple[Any, Place]]) -> tuple[str, ...]:
        """The command with its options; of an option that is set twice the later one holds."""
        options: dict[str, Any] = {}
        for level, place in levels:
            for name, value in (level or {}).items():
                option = name.replace("-", "_")
                try:
                    check_train_options(command, option, value)
                except ValueError as error:
                    if level is self.overrides.options:
                        raise ValueError(f"`--set {name}`: {error}") from error
                    raise self.file.error((*place, name), str(error)) from error
                options[option] = value
        return (*command, *(word for name, value in options.items() for word in option_words(name, value)))


def _as_mapping(content: Any) -> dict[str, Any]:
    """A list of names is a mapping of names to nothing."""
    return content if isinstance(content, dict) else dict.fromkeys(content)


def _combinations(grid: Mapping[str, list[Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every combination of the grid's values, with what it adds to the label."""
    for values in product(*grid.values()):
        options = dict(zip(grid, values, strict=True))
        yield "".join(f"-{name.replace('_', '-')}-{value}" for name, value in options.items()), options
