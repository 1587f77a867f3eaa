"""``hlstm predict``: coherent probabilities for new feature vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from hmc_shared import options


@dataclass(frozen=True)
class PredictConfig:
    """Write the probability of every class for each row of a table; no class exceeds its parent."""

    run: Annotated[str, tyro.conf.Positional]
    """Run folder, or the folder of a saved model."""
    table: Annotated[str, tyro.conf.Positional]
    """Raw features, one row a sample: .npy, or .csv with a header. In a .csv, a column named "id" names the
    rows; an empty cell or "?" is a missing value."""
    output: str | None = None
    """File for the result as CSV: id, then a column for each class; default: standard output."""


def predict(config: PredictConfig) -> tuple[list[str], tuple[str, ...], Any]:
    """Row ids, class names, and coherent probabilities (n, C) float32.

    Raises ValueError, naming file and line, for a table that is not readable or has another width.
    """
    from hlstm.methods import load_model
    from hmc_shared.runs import open_run
    from hmc_shared.tables import read_table

    model = load_model(open_run(config.run)[0])
    ids, features = read_table(config.table)
    try:
        probabilities = model.predict(features)
    except ValueError as error:
        raise ValueError(f"{config.table}: {error}") from error
    return ids, model.hierarchy.names, probabilities


def command(argv: list[str]) -> None:
    from hmc_shared.tables import write_table

    config = tyro.cli(PredictConfig, args=argv, prog="hlstm predict")
    ids, names, probabilities = predict(config)
    table = zip(ids, probabilities.tolist(), strict=True)
    write_table(config.output, ["id", *names], ([name, *(f"{p:.6g}" for p in row)] for name, row in table))


if __name__ == "__main__":
    options.main(command, prog="python -m hlstm.predict")
