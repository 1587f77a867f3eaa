"""The command `hmc`: data sets, and trained methods compared and evaluated from their run folders."""

# Torch, datasets and matplotlib take seconds to import: only the functions below the options do so.
from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from hmc_shared import options

if TYPE_CHECKING:
    from hmc_shared.compare import Comparison

Positional = tyro.conf.Positional
Name = tyro.conf.arg(metavar="NAME")
File = tyro.conf.arg(metavar="FILE")
Folder = tyro.conf.arg(metavar="DIR")
Paths = tyro.conf.arg(metavar="PATH [PATH ...]", help_behavior_hint="")
Names = tyro.conf.arg(metavar="NAME [NAME ...]", help_behavior_hint="")


@dataclass(frozen=True)
class Datasets:
    """List the data sets, or describe one.

    With `export NAME DIR` write one as a folder that `--dataset hf:DIR` reads.
    """

    name: Annotated[str | None, Positional, tyro.conf.arg(metavar="[NAME]")] = None
    """Data set to describe, also hf:PATH, folder:PATH or labels:PATH; without it, all are listed."""
    data_dir: Annotated[Path | None, Folder] = None
    """Folder with the files of sets that are not embedded; default: the environment variable HMC_DATA."""
    plot: Annotated[Path | None, File] = None
    """Picture of the described set, .svg, .png or .pdf."""


@dataclass(frozen=True)
class Export:
    """Write a data set as a folder of Arrow tables with its hierarchy.json; `--dataset hf:DIR` reads it."""

    name: Annotated[str, Positional, Name]
    """Data set to write."""
    folder: Annotated[Path, Positional, Folder]
    """New folder."""
    data_dir: Annotated[Path | None, Folder] = None
    """Folder with the files of sets that are not embedded; default: the environment variable HMC_DATA."""


@dataclass(frozen=True)
class Compare:
    """Compare finished runs: recompute all metrics from the predictions, average over seeds.

    One table for each data set and protocol. Runs on different data are refused.
    """

    paths: Annotated[tuple[str, ...], Positional, Paths]
    """Run folders, folders with runs below them, or globs."""
    metrics: Annotated[tuple[str, ...], Names] = ()
    """Columns, such as au_prc "accuracy_level_*" (with or without test/); the first orders the rows."""
    output: Annotated[Path | None, Folder] = None
    """Folder for report.html, compare.md, compare.csv, compare.json and the plots."""


@dataclass(frozen=True)
class Evaluate:
    """Recompute all metrics of one run folder, or of any predictions.npz with its hierarchy.json."""

    path: Annotated[Path, Positional]
    """Run folder, or .npz file with the arrays scores (n, C) and targets (n, C)."""
    hierarchy: Annotated[Path | None, File] = None
    """Hierarchy as JSON; default: the hierarchy.json beside the predictions."""
    threshold: Annotated[float | None, tyro.conf.arg(metavar="SCORE")] = None
    """A class is predicted if its score is at least this; default: the stored threshold, else 0."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print JSON instead of text."""


Command = (
    Annotated[Datasets, tyro.conf.subcommand("datasets")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
)


def main() -> None:
    """Entry point of the console script."""
    options.main(run, prog="hmc")


def run(argv: list[str]) -> None:
    """Parse and run one command line. Raises ValueError for bad input."""
    if argv[:2] == ["datasets", "export"]:
        export(tyro.cli(Export, prog="hmc datasets export", args=argv[2:]))
        return
    command = tyro.cli(Command, prog="hmc", description=__doc__, args=argv)  # pyright: ignore
    match command:
        case Datasets():
            datasets(command)
        case Compare():
            compare(command)
        case Evaluate():
            evaluate(command)


def datasets(command: Datasets) -> None:
    from hmc_shared import data
    from hmc_shared.report import align

    if command.name is None:
        if command.plot:
            raise ValueError("`--plot` should come with the name of a data set. Found no name.")
        found = [
            [name, source, where or "not found"] for name, source, where in data.available(command.data_dir)
        ]
        print(align([["name", "source", "found"], *found], left=3))
        print(
            "\nalso hf:PATH, a folder that `hmc datasets export` wrote; folder:PATH, nested image folders; "
            "labels:PATH, images with a labels.json"
        )
        return
    if command.plot and command.plot.suffix not in {".svg", ".png", ".pdf"}:
        raise ValueError(f"`--plot` should end in .svg, .png or .pdf. Found {str(command.plot)!r}.")
    dataset = data.load_dataset(command.name, command.data_dir)
    print(data.describe(dataset))
    if command.plot:
        data.plot_description(dataset, command.plot)
        _wrote([command.plot])


def export(command: Export) -> None:
    from hmc_shared import data

    data.export(data.load_dataset(command.name, command.data_dir), command.folder)
    _wrote([command.folder])


def compare(command: Compare) -> None:
    from hmc_shared import report
    from hmc_shared.compare import compare as compare_runs

    if command.output and command.output.is_file():
        raise ValueError(f"`--output` should be a folder. Found the file {command.output}.")
    comparison = compare_runs(command.paths, command.metrics)
    _warn(comparison.notes)
    print(report.to_text(comparison, terminal_width()))
    if command.output:
        write_reports(comparison, command.output)


def write_reports(comparison: Comparison, folder: Path) -> None:
    """Write report.html, compare.md, compare.csv, compare.json and the plots."""
    from hmc_shared import plots, report
    from hmc_shared.html_report import to_html

    folder.mkdir(parents=True, exist_ok=True)
    figures = {}
    for table in comparison.tables:
        stem = re.sub(r"[^\w.-]+", "-", f"{table.dataset}-{table.protocol}")
        names = [f"{stem}-precision-recall.svg", f"{stem}-levels.svg"]
        plots.precision_recall(table, folder / names[0])
        plots.metric_by_level(table, folder / names[1])
        figures[table.title] = names
    texts = {
        "report.html": to_html(comparison),
        "compare.md": report.to_markdown(comparison, figures),
        "compare.csv": report.to_csv(comparison),
        "compare.json": report.to_json(comparison),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    _wrote(folder / name for name in [*texts, *(name for names in figures.values() for name in names)])


def evaluate(command: Evaluate) -> None:
    from hmc_shared import report
    from hmc_shared.scoring import evaluate_path

    evaluation, notes = evaluate_path(command.path, command.hierarchy, command.threshold)
    _warn(notes)
    print(report.evaluation_to_json(evaluation) if command.json else report.evaluation_to_text(evaluation))


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None for a file or pipe, which has no limit."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _warn(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"hmc: warning: {note}", file=sys.stderr)


def _wrote(paths: Iterable[Path]) -> None:
    for path in paths:
        print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
