"""``hcal predict``: a class and a probability for each level, for new images or vectors."""

from __future__ import annotations

import torch

from hcal.config import PredictConfig
from hmc_shared.predict.inputs import Predictions, predict, write
from hmc_shared.predict.write import write_table


def command(config: PredictConfig) -> None:
    """Write the predicted class of each level and its probability; with ``--json`` as all methods do.

    Raises OSError at the end if an image was left out.
    """
    result = predict(config)
    if config.json:
        write(config, result)
    else:
        write_levels(config, result)
    result.check_complete()


def write_levels(config: PredictConfig, result: Predictions) -> None:
    """Write predictions as CSV: of each level the class and its probability."""
    names = result.hierarchy.names
    nodes = torch.stack(
        [
            result.labels[:, level.start : level.stop].int().argmax(1) + level.start
            for level in result.hierarchy.levels
        ],
        1,
    )
    nodes = nodes.masked_fill(~result.labels.gather(1, nodes), -1)  # (n, L)
    levels = range(result.hierarchy.num_levels)
    header = ["file", *(f"{what}_{depth}" for depth in levels for what in ("level", "probability"))]
    table = []
    for sample, row, path in zip(result.ids, result.probabilities.tolist(), nodes.tolist(), strict=True):
        cells = [(names[node], f"{row[node]:.6g}") if node >= 0 else ("", "") for node in path]
        table.append([sample, *(cell for pair in cells for cell in pair)])
    write_table(config.output, header, table)
