"""``hlstm predict``: coherent labels and probabilities for new feature vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from hmc_shared.cli import options


@dataclass(frozen=True)
class PredictConfig:
    """Write the labels, and the calibrated probability of every class, for each row of a table.

    No class exceeds its parent. Labels are the classes with probability 1/2 or more, ancestors included;
    where the training samples had one path each, the path to the most probable leaf.
    """

    run: Annotated[str, tyro.conf.Positional]
    """Run folder, or the folder of a saved model."""
    table: Annotated[str, tyro.conf.Positional]
    """Raw features, one row a sample: .csv with a header, .parquet, or .npy. A column named "id" names the
    rows; an empty cell or "?" is a missing value. A model that was trained on a table with named columns
    looks for these, and leaves out others."""
    min_confidence: float | None = None
    """Label only what is at least this probable: the deepest such class and its ancestors, or all such
    classes where samples may have several paths. A row without any gets no label."""
    calibrate: bool = True
    """Give the probabilities that the validation split calibrated."""
    output: str | None = None
    """File for the result: id, labels separated by ";", a column for each class; default: standard output."""
    json: bool = False
    """Write JSON instead of CSV: of each row the most specific labels, with their paths, and all
    probabilities."""


def predict(config: PredictConfig) -> tuple[list[str], Any, Any, Any]:
    """Row ids, the classes' hierarchy, probabilities (n, C) float32 and labels (n, C) bool.

    Raises ValueError, naming file and line, for a table that is not readable or has other columns.
    """
    from hlstm.methods import load_model
    from hlstm.train import score
    from hmc_shared.data.formats.table_file import read_table
    from hmc_shared.predict.decision import check_inputs, load_decision
    from hmc_shared.runs.read import open_run

    folder, _ = open_run(config.run)
    model = load_model(folder)
    decision = load_decision(folder, model.hierarchy, calibrate=config.calibrate)
    ids, features = read_table(config.table, decision.features)
    try:
        logits = score(model, model.normalize(check_inputs(features, (model.num_features,))))
    except ValueError as error:
        raise ValueError(f"{config.table}: {error}") from error
    return (
        ids,
        model.hierarchy,
        decision.probabilities(logits),
        decision.labels(logits, config.min_confidence),
    )


def command(argv: list[str]) -> None:
    config = tyro.cli(PredictConfig, args=argv, prog="hlstm predict")

    from hmc_shared.predict.write import write_predictions  # after the options: --help needs no torch

    write_predictions(config.output, *predict(config), as_json=config.json)


if __name__ == "__main__":
    options.main(command, prog="python -m hlstm.predict")
