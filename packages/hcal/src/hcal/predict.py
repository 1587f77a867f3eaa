"""``hcal predict``: a class and a probability for each level, for new images or vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from hcal.config import PredictConfig
from hmc_shared.cli.commands import PredictOptions
from hmc_shared.predict import inputs
from hmc_shared.predict.write import Predictions, write_parquet, write_table


def command(config: PredictConfig) -> None:
    """Write the predicted class of each level and its probability; with ``--json`` or sets as all methods do.

    Raises OSError at the end if an image was left out.
    """
    inputs.command(config, inputs.write if config.json or config.sets else write_levels)


def write_levels(config: PredictOptions, blocks: Iterable[Predictions]) -> None:
    """Write predictions as CSV or parquet: of each level the class and its probability."""
    waiting = iter(blocks)
    first = next(waiting)
    levels = range(first.hierarchy.num_levels)
    header = ["file", *(f"{what}_{depth}" for depth in levels for what in ("level", "probability"))]
    every = chain([first], waiting)
    if config.output is not None and config.output.lower().endswith(".parquet"):
        write_parquet(config.output, (_table(header, block) for block in every))
    else:
        write_table(config.output, header, (row for block in every for row in _rows(block)))


def _rows(block: Predictions) -> Iterator[list[str]]:
    names = block.hierarchy.names
    rows = zip(block.ids, block.probabilities.numpy(), _nodes(block).tolist(), strict=True)
    for sample, row, path in rows:
        cells = [(names[node], f"{row[node]:.6g}") if node >= 0 else ("", "") for node in path]
        yield [sample, *(cell for pair in cells for cell in pair)]


def _table(header: list[str], block: Predictions) -> pa.Table:
    """The same with numbers, and null below the end of a path."""
    names = pa.array([*block.hierarchy.names, None], pa.string())
    nodes = _nodes(block)
    probabilities = block.probabilities.gather(1, nodes.clamp(min=0))
    columns: list[Any] = [pa.array(block.ids, pa.string())]
    for of_level, p in zip(nodes.T.numpy(), probabilities.T.numpy(), strict=True):
        columns += [names.take(pa.array(of_level % len(names))), pa.array(p, mask=of_level < 0)]
    return pa.table(columns, names=header)


def _nodes(block: Predictions) -> Tensor:
    """(n, L) int64: the predicted node of each level, -1 below the end of a path."""
    labels = block.labels
    best = [
        labels[:, level.start : level.stop].int().argmax(1) + level.start for level in block.hierarchy.levels
    ]
    nodes = torch.stack(best, 1)
    return nodes.masked_fill(~labels.gather(1, nodes), -1)
