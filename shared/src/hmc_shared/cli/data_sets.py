"""Options of the command ``hmc datasets``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hmc_shared.cli.metavars import Codes, Columns, File, Folder, Levels, Name
from hmc_shared.unsure import Blank, Uncertain

Positional = tyro.conf.Positional


@dataclass(frozen=True, kw_only=True)
class SetOptions:
    """What says how a data set is read, beside its name."""

    levels: Annotated[str | None, Levels] = None
    """Columns of labels of a data set hf:PATH, table:PATH or a table labels:PATH, coarse to fine, with
    commas between them."""
    uncertain: Uncertain = "refuse"
    """What -1 is in a column of 0 and 1 of a table labels:PATH; default: an error that names the line."""
    blank: Blank = "refuse"
    """What an empty cell is in such a column: in CheXpert, negative."""
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
class ExportSet(SetOptions):
    """Write a data set as a folder of Arrow tables with its hierarchy.json; `--dataset hf:DIR` reads it."""

    name: Annotated[str, Positional, Name]
    """Data set to write."""
    folder: Annotated[Path, Positional, Folder]
    """New folder."""
