"""Options of the commands ``hmc study`` and ``hmc demo``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
import yaml

from hmc_shared.cli.parse import readable

Positional = tyro.conf.Positional
PlanName = tyro.conf.arg(metavar="PLAN")
Folder = tyro.conf.arg(metavar="DIR")
Names = tyro.conf.arg(metavar="NAME [NAME ...]", help_behavior_hint="")
Numbers = tyro.conf.arg(metavar="N [N ...]", help_behavior_hint="")


@dataclass(frozen=True)
class StudyOptions:
    plan: Annotated[str, Positional, PlanName]
    """A YAML file, or the name of a shipped plan (`hmc study list`)."""
    dataset: Annotated[tuple[str, ...], Names] = ()
    """Data sets of the plan to keep, or others in their place."""
    methods: Annotated[tuple[str, ...], Names] = ()
    """Labels of the plan to keep; default: all."""
    seeds: Annotated[tuple[int, ...], Numbers] = ()
    """Seeds in place of the plan's."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE [...]", help_behavior_hint="")] = ()
    """Options of `train` for every run, such as epochs=1."""
    data_dir: Annotated[Path | None, Folder] = None
    """Folder of the data sets; default: the environment variable HMC_DATA."""
    output: Annotated[Path | None, Folder] = None
    """Folder of the study; default: runs/<name of the plan>."""

    @property
    def options(self) -> dict[str, Any]:
        """Those of ``--set`` and ``--data-dir``. Raises ValueError for text that is no NAME=VALUE."""
        options: dict[str, Any] = {}
        for text in self.set:
            name, equals, value = text.partition("=")
            found = _value(value)
            if not name or not equals or isinstance(found, dict):
                raise ValueError(f"`--set` should be NAME=VALUE, such as epochs=1. Found {text!r}.")
            options[name.replace("-", "_")] = found
        return options | ({"data_dir": str(self.data_dir)} if self.data_dir else {})


def _value(text: str) -> Any:
    """As in a plan: a number, true or false, null, a list, or text, as which what is no YAML counts."""
    try:
        value = yaml.safe_load(text)
        is_float = isinstance(value, str) and value[:1] in "+-.0123456789"
        return float(value) if is_float else value  # 1e-3, which YAML 1.1 takes for text
    except (yaml.YAMLError, ValueError):
        return text


@dataclass(frozen=True)
class RunStudy(StudyOptions):
    """Run what is left of a study, then compare all of it.

    A run that fails is kept with its log, and the others go on. After Ctrl-C the same command goes on.
    Several starts of one study on one disk share the work.
    """

    jobs: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Runs at a time; default: one for each GPU, or for each core, four at most."""
    on: Literal["local", "ray"] = "local"
    """Where to run: processes of this machine; or tasks of Ray, which needs hmc-shared[cluster]."""
    address: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS")] = None
    """Address of a running Ray cluster, or auto; default: start Ray on this machine."""


@dataclass(frozen=True)
class StudyStatus(StudyOptions):
    """Show what of a study is done, running, waiting or failed, and how long the rest will take."""


@dataclass(frozen=True)
class StudyReport(StudyOptions):
    """Compare the finished runs of a study, and write report.html and the tables."""

    pictures: Annotated[Path | None, Folder] = None
    """Folder of the data sets, from which report.html takes the images of hard samples."""


@dataclass(frozen=True)
class StudyList:
    """List the plans that the installed packages ship."""


@dataclass(frozen=True)
class Demo:
    """Train every installed method on the embedded handwritten digits, and compare them.

    The same as `hmc study run demo`.
    """

    output: Annotated[Path, Folder] = Path("runs/demo")
    """Folder for the runs, their logs, report.html, compare.md, compare.csv, compare.json and the plots."""
    seeds: Annotated[tuple[int, ...], Numbers] = (0, 1, 2)
    """Seeds; each method is run once with each."""
    jobs: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Runs at a time; default: one for each GPU, or for each core, four at most."""


Command = (
    Annotated[readable(RunStudy), tyro.conf.subcommand("run")]
    | Annotated[readable(StudyStatus), tyro.conf.subcommand("status")]
    | Annotated[readable(StudyReport), tyro.conf.subcommand("report")]
    | Annotated[readable(StudyList), tyro.conf.subcommand("list")]
)


@dataclass(frozen=True)
class Study:
    """Run a plan: data sets x methods x seeds, every method treated alike."""

    command: tyro.conf.OmitSubcommandPrefixes[Command]
