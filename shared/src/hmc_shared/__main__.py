"""The command `hmc`: data sets, studies, and runs compared and evaluated from their folders."""

# Torch, datasets and matplotlib take seconds to import: only the functions below the options do so.
from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from hmc_shared.cli.blend import Blend
from hmc_shared.cli.commands import CertainOptions, PredictOptions, exit_codes
from hmc_shared.cli.commands import Command as Program
from hmc_shared.cli.embed import Embed
from hmc_shared.cli.peer import Peer
from hmc_shared.cli.rollup import Rollup
from hmc_shared.cli.version import distribution_version
from hmc_shared.compare.output import terminal_width, warn, write_reports, wrote
from hmc_shared.study.options import Demo, Study

if TYPE_CHECKING:
    from hmc_shared.data import HierarchicalDataset

Positional = tyro.conf.Positional
Name = tyro.conf.arg(metavar="NAME")
File = tyro.conf.arg(metavar="FILE")
Folder = tyro.conf.arg(metavar="DIR")
Paths = tyro.conf.arg(metavar="PATH [PATH ...]", help_behavior_hint="")
Columns = tyro.conf.arg(metavar="COLUMN [COLUMN ...]", help_behavior_hint="")
Codes = tyro.conf.arg(metavar="CODE [CODE ...]", help_behavior_hint="")
Names = tyro.conf.arg(metavar="NAME [NAME ...]", help_behavior_hint="")


@dataclass(frozen=True, kw_only=True)
class SetOptions:
    """What says how a data set is read, beside its name."""

    levels: str | None = None
    """Columns of labels of a data set hf:PATH or table:PATH, coarse to fine, with commas between them."""
    features: Annotated[tuple[str, ...], Columns] = ()
    """Columns of such a data set to take as features; default: all of numbers."""
    drop: Annotated[tuple[str, ...], Columns] = ()
    """Columns to leave out."""
    categorical: Annotated[tuple[str, ...], Columns] = ()
    """Columns of words to take, each word of the training rows as a feature."""
    evidence: Annotated[tuple[str, ...], Codes] = ()
    """Evidence codes that count in a .gaf file beside a table; default: all."""
    data_dir: Annotated[Path | None, Folder] = None
    """Folder with the files of sets that are not embedded; default: the environment variable HMC_DATA."""


@dataclass(frozen=True)
class Datasets(SetOptions):
    """List the data sets, or describe one.

    With `export NAME DIR` write one as a folder that `--dataset hf:DIR` reads.
    """

    name: Annotated[str | None, Positional, tyro.conf.arg(metavar="[NAME]")] = None
    """Data set to describe, also hf:PATH, folder:PATH, labels:PATH or table:PATH; without it, all are
    listed."""
    plot: Annotated[Path | None, File] = None
    """Picture of the described set, .svg, .png or .pdf."""


@dataclass(frozen=True)
class Export(SetOptions):
    """Write a data set as a folder of Arrow tables with its hierarchy.json; `--dataset hf:DIR` reads it."""

    name: Annotated[str, Positional, Name]
    """Data set to write."""
    folder: Annotated[Path, Positional, Folder]
    """New folder."""


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
    pictures: Annotated[Path | None, Folder] = None
    """Folder of the data sets, from which report.html takes the images that were hard; nothing outside it is
    read, whatever a run says."""


@dataclass(frozen=True)
class Evaluate:
    """Recompute all metrics of one run folder, or of any predictions.npz with its hierarchy.json.

    Or, with `--truth` and `--obo`, Fmax, weighted Fmax and Smin of predictions of terms as CAFA takes them.
    """

    path: Annotated[Path, Positional]
    """Run folder, or .npz file with the arrays scores (n, C) and targets (n, C); or, with --truth, lines of
    target, term and score."""
    hierarchy: Annotated[Path | None, File] = None
    """Hierarchy as JSON; default: the hierarchy.json beside the predictions."""
    threshold: Annotated[float | None, tyro.conf.arg(metavar="SCORE")] = None
    """A class is predicted if its score is at least this; default: the stored threshold, else 0."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print JSON instead of text."""
    target_error: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """Instead, what answers as deep as is certain give on the test split of a run, of which at most this
    share is wrong; beside a fixed threshold."""
    confidence: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.9
    """With --target-error, the probability that it is kept."""
    curve: Annotated[Path | None, File] = None
    """With --target-error, CSV of risk over coverage and depth on the test split."""
    truth: Annotated[Path | None, File] = None
    """Annotations: lines of target and term, or a .gaf file."""
    obo: Annotated[Path | None, File] = None
    """Ontologies in the OBO format. Needs the extra `go`: pip install 'hmc-shared[go]'."""
    train_annotations: Annotated[Path | None, File] = None
    """Annotations of training samples, from which the information of terms is taken."""
    ia: Annotated[Path | None, File] = None
    """Instead, lines of term and information."""
    evidence: Annotated[tuple[str, ...], Codes] = ()
    """Evidence codes that count in .gaf files; default: all."""
    relations: Annotated[tuple[str, ...], Names] = ("is_a", "part_of")
    """What makes a term a child of another."""
    step: Annotated[float | None, tyro.conf.arg(metavar="SCORE")] = None
    """Try the thresholds STEP, 2 STEP, ... below 1, as cafaeval does; default: all thresholds."""
    roots: tyro.conf.FlagCreatePairsOff[bool] = False
    """Count the roots of the ontologies, as cafaeval does without -no_orphans."""
    on_error: Literal["refuse", "skip"] = "refuse"
    """Refuse terms that the ontologies do not have, or leave them out."""


@dataclass(frozen=True)
class Ranks:
    """Rank methods over many data sets: average ranks, the tests of Friedman and Nemenyi.

    Needs the extra `stats`: pip install 'hmc-shared[stats]'.
    """

    paths: Annotated[tuple[str, ...], Positional, Paths]
    """Run folders, folders with runs below them, or globs; seeds of a method are averaged first."""
    metric: Annotated[str, tyro.conf.arg(metavar="NAME")] = "au_prc"
    """What is ranked, with or without test/."""
    methods: Annotated[tuple[str, ...], Names] = ()
    """Methods to rank, by default all."""
    missing: Literal["drop", "last"] = "drop"
    """Leave out data sets that lack one of the methods, or rank it last there, as the HLSTM paper does."""
    plot: Annotated[Path | None, File] = None
    """Critical-difference diagram, .svg, .png or .pdf."""


@dataclass(frozen=True)
class Difference:
    """Compare two runs on the same test samples: an interval of their difference, by the paired bootstrap."""

    first: Annotated[Path, Positional, Folder]
    """Run folder."""
    second: Annotated[Path, Positional, Folder]
    """Run folder; positive differences mean that the first has more."""
    metric: Annotated[str, tyro.conf.arg(metavar="NAME")] = "au_prc"
    """What is compared, with or without test/."""
    resamples: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """Draws of test samples, with replacement."""
    level: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.95
    """Coverage of the interval."""
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Seed of the draws."""


Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Study, tyro.conf.subcommand("study")]
    | Annotated[Peer, tyro.conf.subcommand("peer")]
    | Annotated[Blend, tyro.conf.subcommand("blend")]
    | Annotated[Embed, tyro.conf.subcommand("embed")]
    | Annotated[PredictOptions, tyro.conf.subcommand("predict")]
    | Annotated[Rollup, tyro.conf.subcommand("rollup")]
    | Annotated[Datasets, tyro.conf.subcommand("datasets")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Ranks, tyro.conf.subcommand("ranks")]
    | Annotated[Difference, tyro.conf.subcommand("difference")]
)


COMMANDS = {
    "peer": Program("train another library's classifier", Peer, "hmc_shared.peers:command"),
    "blend": Program("mix finished runs", Blend, "hmc_shared.blend:command"),
}
"""What a plan of `hmc study` may name."""


def main() -> None:
    """Entry point of the console script."""
    exit_codes(lambda: run(sys.argv[1:]), "hmc")


def run(argv: list[str]) -> None:
    """Parse and run one command line. Raises ValueError for bad input."""
    if argv == ["--version"]:
        print(f"hmc {distribution_version('hmc-shared')}")
        return
    if argv[:2] == ["datasets", "export"]:
        export(tyro.cli(Export, prog="hmc datasets export", args=argv[2:]))
        return
    command = tyro.cli(Command, prog="hmc", description=__doc__, args=argv)  # pyright: ignore
    match command:
        case Demo():
            import_module("hmc_shared.study.commands").demo(command)
        case Study():
            import_module("hmc_shared.study.commands").study(command)
        case Peer():
            import_module("hmc_shared.peers").command(command)
        case Blend():
            import_module("hmc_shared.blend").command(command)
        case Embed():
            import_module("hmc_shared.embed.command").command(command)
        case PredictOptions():
            import_module("hmc_shared.predict.inputs").command(command)
        case Rollup():
            import_module("hmc_shared.predict.leaf_scores").command(command)
        case Datasets():
            datasets(command)
        case Compare():
            compare(command)
        case Evaluate():
            evaluate(command)
        case Ranks():
            ranks(command)
        case Difference():
            difference(command)


def datasets(command: Datasets) -> None:
    from hmc_shared import data
    from hmc_shared.compare.align import align
    from hmc_shared.data.catalog import FORMATS

    if command.name is None:
        if command.plot:
            raise ValueError("`--plot` should come with the name of a data set. Found no name.")
        rows = [[name, kind, where or "not found"] for name, kind, where in data.available(command.data_dir)]
        print(align([["name", "kind", "where"], *rows], left=3))
        paths = [f"{name}:PATH, {entry.shape}" for name, entry in FORMATS.items() if " " not in name]
        print(f"\nalso {'; '.join(paths)}")
        return
    _check_plot(command.plot)
    dataset = load(command.name, command)
    print(data.describe(dataset))
    if command.plot:
        from hmc_shared.data.plot_description import plot_description

        plot_description(dataset, command.plot)
        wrote([command.plot])


def load(name: str, command: SetOptions) -> HierarchicalDataset:
    from hmc_shared import data

    names = ("levels", "features", "drop", "categorical", "evidence")
    return data.load_dataset(name, command.data_dir, **{option: getattr(command, option) for option in names})


def export(command: Export) -> None:
    from hmc_shared.data.formats.hf_export import export as write_folder

    dataset = load(command.name, command)
    write_folder(dataset, command.folder)
    wrote([command.folder])


def compare(command: Compare) -> None:
    from hmc_shared.compare import text as report
    from hmc_shared.compare.comparison import compare as compare_runs

    if command.output and command.output.is_file():
        raise ValueError(f"`--output` should be a folder. Found the file {command.output}.")
    comparison = compare_runs(command.paths, command.metrics)
    warn(comparison.notes)
    print(report.to_text(comparison, terminal_width()))
    if command.output:
        write_reports(comparison, command.output, command.pictures)


def evaluate(command: Evaluate) -> None:
    if command.truth is not None:
        evaluate_cafa(command)
        return
    for option in ("obo", "train_annotations", "ia", "evidence", "step", "roots"):
        if getattr(command, option):
            raise ValueError(f"`--{option.replace('_', '-')}` should come with `--truth`. Found no truth.")
    if command.target_error is not None:
        evaluate_certain(command)
        return
    if command.curve is not None:
        raise ValueError("`--curve` should come with `--target-error`. Found no target.")
    from hmc_shared.compare import text as report
    from hmc_shared.compare.scoring import evaluate_path

    evaluation, notes = evaluate_path(command.path, command.hierarchy, command.threshold)
    warn(notes)
    print(report.evaluation_to_json(evaluation) if command.json else report.evaluation_to_text(evaluation))


def evaluate_certain(command: Evaluate) -> None:
    from hmc_shared.compare import certain

    for option in ("hierarchy", "threshold"):
        if getattr(command, option) is not None:
            raise ValueError(f"`--{option}` should not come with `--target-error`. Found both.")
    options = CertainOptions(target_error=command.target_error, confidence=command.confidence)
    result = certain.certain(command.path, options, command.curve)
    print(certain.to_json(result) if command.json else certain.to_text(result))


def evaluate_cafa(command: Evaluate) -> None:
    from hmc_shared.compare import cafa

    for option in ("hierarchy", "threshold"):
        if getattr(command, option) is not None:
            raise ValueError(f"`--{option}` is for runs and .npz files. Found it with `--truth`.")
    if command.truth is None or command.obo is None:
        raise ValueError("`--truth` should come with `--obo`. Found no ontology.")
    found, notes = cafa.evaluate_files(
        command.path,
        command.truth,
        command.obo,
        train=command.train_annotations,
        ia=command.ia,
        evidence=command.evidence,
        relations=command.relations,
        step=command.step,
        roots=command.roots,
        skip=command.on_error == "skip",
    )
    warn(notes)
    print(cafa.to_json(found) if command.json else cafa.to_text(found))


def ranks(command: Ranks) -> None:
    from hmc_shared.compare import significance
    from hmc_shared.compare.comparison import compare as compare_runs

    _check_plot(command.plot)
    comparison = compare_runs(command.paths)
    ranking = significance.rank_methods(comparison, command.metric, command.methods, command.missing)
    warn([*comparison.notes, *ranking.notes])
    print(significance.to_text(ranking))
    if command.plot:
        significance.critical_difference_diagram(ranking, command.plot)
        wrote([command.plot])


def difference(command: Difference) -> None:
    from hmc_shared.compare.comparison import study_label
    from hmc_shared.compare.significance import paired_bootstrap

    result = paired_bootstrap(
        command.first,
        command.second,
        command.metric,
        resamples=command.resamples,
        level=command.level,
        seed=command.seed,
        progress=True,
    )
    labels = [study_label(run) for run in (command.first, command.second)]
    one, other = (f" of {label}" if label else "" for label in labels)
    print(
        f"{result.metric}: {result.first:.4f}{one} and {result.second:.4f}{other}, "
        f"difference {result.difference:+.4f}, "
        f"{100 * result.level:g} % interval {result.low:+.4f} to {result.high:+.4f} "
        f"({result.resamples - result.undefined} draws of the test samples)"
    )


def _check_plot(path: Path | None) -> None:
    if path and path.suffix not in {".svg", ".png", ".pdf"}:
        raise ValueError(f"`--plot` should end in .svg, .png or .pdf. Found {str(path)!r}.")


if __name__ == "__main__":
    main()
