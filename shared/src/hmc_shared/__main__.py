"""Data sets, studies and finished runs: train many, compare, evaluate, predict, share."""

# Torch, datasets and matplotlib take seconds to import: only the functions below the options do so.
from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from hmc_shared.cli.blend import Blend
from hmc_shared.cli.commands import CertainOptions, PredictOptions, exit_codes
from hmc_shared.cli.commands import Command as Program
from hmc_shared.cli.compare import Compare, Difference, Evaluate, Ranks, Report
from hmc_shared.cli.data_sets import Datasets, ExportSet, SetOptions
from hmc_shared.cli.embed import Embed
from hmc_shared.cli.export import Export
from hmc_shared.cli.parse import readable
from hmc_shared.cli.peer import Peer
from hmc_shared.cli.push import Push
from hmc_shared.cli.rollup import Rollup
from hmc_shared.cli.version import distribution_version
from hmc_shared.compare.output import terminal_width, warn, write_reports, wrote
from hmc_shared.study.options import Demo, Study

if TYPE_CHECKING:
    from hmc_shared.data import HierarchicalDataset

Command = (
    Annotated[readable(Demo), tyro.conf.subcommand("demo")]
    | Annotated[Study, tyro.conf.subcommand("study")]
    | Annotated[readable(Peer), tyro.conf.subcommand("peer")]
    | Annotated[readable(Blend), tyro.conf.subcommand("blend")]
    | Annotated[readable(Embed), tyro.conf.subcommand("embed")]
    | Annotated[readable(PredictOptions), tyro.conf.subcommand("predict")]
    | Annotated[readable(Export), tyro.conf.subcommand("export")]
    | Annotated[readable(Push), tyro.conf.subcommand("push")]
    | Annotated[readable(Rollup), tyro.conf.subcommand("rollup")]
    | Annotated[readable(Datasets), tyro.conf.subcommand("datasets")]
    | Annotated[readable(Compare), tyro.conf.subcommand("compare")]
    | Annotated[readable(Report), tyro.conf.subcommand("report")]
    | Annotated[readable(Evaluate), tyro.conf.subcommand("evaluate")]
    | Annotated[readable(Ranks), tyro.conf.subcommand("ranks")]
    | Annotated[readable(Difference), tyro.conf.subcommand("difference")]
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
        export = tyro.cli(readable(ExportSet), prog="hmc datasets export", args=argv[2:])
        import_module("hmc_shared.runs.missing_data").check_data_set(export)
        export_set(export)
        return
    command = tyro.cli(Command, prog="hmc", description=__doc__, args=argv)  # pyright: ignore
    import_module("hmc_shared.runs.missing_data").check_data_set(command)
    match command:  # pyright: ignore[reportMatchNotExhaustive]
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
        case Export():
            import_module("hmc_shared.predict.export").command(command)
        case Push():
            import_module("hmc_shared.push").command(command)
        case Rollup():
            import_module("hmc_shared.predict.leaf_scores").command(command)
        case Datasets():
            datasets(command)
        case Compare():
            compare(command)
        case Report():
            report_run(command)
        case Evaluate():
            evaluate(command)
        case Ranks():
            ranks(command)
        case Difference():
            difference(command)


def datasets(command: Datasets) -> None:
    from hmc_shared.compare.align import align
    from hmc_shared.data.catalog import FORMATS
    from hmc_shared.data.presence import available

    if command.name is None:
        if command.plot:
            raise ValueError("`--plot` should come with the name of a data set. Found no name.")
        rows = [[name, kind, where or "not found"] for name, kind, where in available(command.data_dir)]
        print(align([["name", "kind", "where"], *rows], left=3))
        paths = [f"{name}:PATH, {entry.shape}" for name, entry in FORMATS.items() if " " not in name]
        print(f"\nalso {'; '.join(paths)}")
        return
    _check_plot(command.plot)
    from hmc_shared.data.describe import describe

    dataset = load(command.name, command)
    print(describe(dataset))
    if command.plot:
        from hmc_shared.data.plot_description import plot_description

        plot_description(dataset, command.plot)
        wrote([command.plot])


def load(name: str, command: SetOptions) -> HierarchicalDataset:
    from hmc_shared.data import load_dataset

    names = ("levels", "features", "drop", "categorical", "evidence", "uncertain", "blank")
    return load_dataset(name, command.data_dir, **{option: getattr(command, option) for option in names})


def export_set(command: ExportSet) -> None:
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


def report_run(command: Report) -> None:
    from hmc_shared.compare.html.run_page import run_to_html

    output = command.output or command.run / "report.html"
    output.write_text(run_to_html(command.run, command.pictures), encoding="utf-8")
    wrote([output])


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
