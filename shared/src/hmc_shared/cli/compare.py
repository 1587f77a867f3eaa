"""Options of the commands that score and compare finished runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from hmc_shared.cli.bounds import check, check_output
from hmc_shared.cli.metavars import Codes, File, Folder, Name, Names, Paths, RunFolder

Positional = tyro.conf.Positional


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
    """Folder of the data sets, from which report.html takes the images of hard samples; nothing outside it is
    read, whatever a run says."""


@dataclass(frozen=True)
class Report:
    """Write one finished run as an HTML page: metrics and what they mean, learning curves, classes, samples.

    The page needs no network and no other file.
    """

    run: Annotated[Path, Positional, RunFolder]
    """Run folder, of any method, of `hmc blend` or `hmc peer`."""
    output: Annotated[Path | None, File] = None
    """The page; default: report.html in the run folder."""
    pictures: Annotated[Path | None, Folder] = None
    """Folder of the data sets, from which images of hard samples are taken; nothing outside it is read."""

    def __post_init__(self) -> None:
        check_output(self.output)
        is_page = self.output is None or self.output.suffix.lower() in (".html", ".htm")
        check(self, "output", is_page, "end in .html")  # and is no file of a run


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
    """Instead, score answers that are as deep as is certain, of which at most this share is wrong, beside
    those of a fixed threshold, on the test split of a run."""
    confidence: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.9
    """Probability with which --target-error holds."""
    curve: Annotated[Path | None, File] = None
    """With --target-error, CSV of risk over coverage and depth on the test split."""
    truth: Annotated[Path | None, File] = None
    """Annotations: lines of target and term, or a .gaf file."""
    obo: Annotated[Path | None, File] = None
    """Ontologies in the OBO format. Needs the extra `go`: pip install 'hmc-shared[go]'."""
    train_annotations: Annotated[Path | None, File] = None
    """Annotations of training samples, by which terms are weighted for weighted Fmax and Smin."""
    ia: Annotated[Path | None, File] = None
    """Instead of those, the weights: lines of term and information content."""
    evidence: Annotated[tuple[str, ...], Codes] = ()
    """Evidence codes that count in .gaf files; default: all."""
    relations: Annotated[tuple[str, ...], Names] = ("is_a", "part_of")
    """Relations that make a term a child of another."""
    step: Annotated[float | None, tyro.conf.arg(metavar="SCORE")] = None
    """Try the thresholds STEP, 2 STEP, ... below 1, as cafaeval does; default: all thresholds."""
    roots: tyro.conf.FlagCreatePairsOff[bool] = False
    """Count the roots of the ontologies, as cafaeval does without -no_orphans."""
    on_error: Literal["refuse", "skip"] = "refuse"
    """Refuse terms that the ontologies do not have, or leave them out."""

    def __post_init__(self) -> None:
        check_output(self.curve, "curve")


@dataclass(frozen=True)
class Ranks:
    """Rank methods over many data sets, with the Friedman and Nemenyi tests.

    Needs the extra `stats`: pip install 'hmc-shared[stats]'.
    """

    paths: Annotated[tuple[str, ...], Positional, Paths]
    """Run folders, folders with runs below them, or globs; seeds of a method are averaged first."""
    metric: Annotated[str, Name] = "au_prc"
    """Metric to rank by, with or without test/."""
    methods: Annotated[tuple[str, ...], Names] = ()
    """Methods to rank, by default all."""
    missing: Literal["drop", "last"] = "drop"
    """Leave out data sets that lack one of the methods, or rank it last there, as the HLSTM paper does."""
    plot: Annotated[Path | None, File] = None
    """Critical-difference diagram, .svg, .png or .pdf."""


@dataclass(frozen=True)
class Difference:
    """Say how much two runs differ on the same test samples, with an interval by the paired bootstrap."""

    first: Annotated[Path, Positional, Folder]
    """Run folder."""
    second: Annotated[Path, Positional, Folder]
    """Run folder to subtract from the first."""
    metric: Annotated[str, Name] = "au_prc"
    """Metric to compare, with or without test/."""
    resamples: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """Draws of test samples, with replacement."""
    level: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.95
    """Coverage of the interval."""
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Seed of the draws."""
