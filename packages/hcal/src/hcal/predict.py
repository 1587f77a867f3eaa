"""``hcal predict``: a class and a probability for each level, for new images or vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import torch

from hcal.config import PredictConfig
from hmc_shared.cli.commands import PredictOptions
from hmc_shared.predict import inputs
from hmc_shared.predict.write import Predictions, write_table


def command(config: PredictConfig) -> None:
    """Write the predicted class of each level and its probability; with ``--json`` as all methods do.

    Raises OSError at the end if an image was left out.
    """
    inputs.command(config, inputs.write if config.json else write_levels)


def write_levels(config: PredictOptions, blocks: Iterable[Predictions]) -> None:
    """Write predictions as CSV: of each level the class and its probability."""
    waiting = iter(blocks)
    first = next(waiting)
    levels = range(first.hierarchy.num_levels)
    header = ["file", *(f"{what}_{depth}" for depth in levels for what in ("level", "probability"))]
    write_table(config.output, header, _rows(chain([first], waiting)))


def _rows(blocks: Iterable[Predictions]) -> Iterator[list[str]]:
    for block in blocks:
        names, labels = block.hierarchy.names, block.labels
        nodes = torch.stack(
            [
                labels[:, level.start : level.stop].int().argmax(1) + level.start
                for level in block.hierarchy.levels
            ],
            1,
        )
        nodes = nodes.masked_fill(~labels.gather(1, nodes), -1)  # (n, L)
        rows = zip(block.ids, block.probabilities.numpy(), nodes.tolist(), strict=True)
        for sample, row, path in rows:
            cells = [(names[node], f"{row[node]:.6g}") if node >= 0 else ("", "") for node in path]
            yield [sample, *(cell for pair in cells for cell in pair)]
