"""Options of the command ``hmc rollup``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from hmc_shared.cli.bounds import Bounds
from hmc_shared.cli.commands import OutputOptions
from hmc_shared.cli.metavars import File, Levels


@dataclass(frozen=True, kw_only=True)
class Rollup(OutputOptions):
    """Turn any model's scores into answers that are as deep as is certain, with a guarantee.

    Probabilities of the leaves are summed up the hierarchy. Each answer goes down to the deepest class for
    which, of the answers given, at most a share is wrong. What that takes is chosen on rows with known
    classes that nothing else was fitted on.
    """

    scores: Annotated[str, tyro.conf.Positional, File]
    """Rows to answer: .csv, .tsv or .parquet with a column for each leaf, named like it, and perhaps "id"; or
    .npz with the arrays scores (n, k), classes (k,) and perhaps ids (n,). If all classes have a column, as in
    what `predict` writes, they are not summed up."""
    calibration: Annotated[str, File]
    """The same for the rows to choose on, and their classes: the column "label", or the array labels (n,)."""
    hierarchy: Annotated[str, File]
    """The classes: a hierarchy.json; a table with the columns parent and child; or, with --levels, a table
    with a column for each level."""
    levels: Annotated[str | None, Levels] = None
    """Columns of --hierarchy, coarse to fine, with commas between them."""
    target_error: Annotated[float, Bounds(0, 1, open_low=True, open_high=True)] = 0.05  # pyright: ignore
    """Largest share of the answers that may be wrong. A row may get no answer."""
    softmax: bool = False
    """Scores are logits, of which the softmax is taken first."""
    curve: Annotated[str | None, File] = None
    """Also write what each threshold gives on the calibration rows, as CSV: the share answered, the share of
    these that is wrong, the mean number of levels."""
