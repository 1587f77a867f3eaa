"""``hlstm predict``: coherent probabilities for new feature vectors."""

from __future__ import annotations

import csv
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
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

    model = load_model(open_run(config.run)[0])
    ids, features = read_table(Path(config.table))
    try:
        probabilities = model.predict(features)
    except ValueError as error:
        raise ValueError(f"{config.table}: {error}") from error
    return ids, model.hierarchy.names, probabilities


def read_table(path: Path) -> tuple[list[str], Any]:
    """Row ids, and features (n, F) float32 with NaN for missing values."""
    import numpy as np

    if not path.is_file():
        raise ValueError(f"{path} should be a .csv or .npy file. Found no file there.")
    if path.suffix == ".npy":
        features = np.load(path, allow_pickle=False).astype(np.float32)
        return [str(i) for i in range(len(features))], features
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        id_column = header.index("id") if "id" in header else None
        ids, rows = [], []
        for cells in reader:
            if len(cells) != len(header):
                raise ValueError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells, but the header has {len(header)}."
                )
            ids.append(cells.pop(id_column) if id_column is not None else str(len(ids)))
            try:
                rows.append([float("nan") if cell.strip() in ("", "?") else float(cell) for cell in cells])
            except ValueError as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    width = len(header) - (id_column is not None)
    return ids, np.asarray(rows, dtype=np.float32).reshape(len(rows), width)


def command(argv: list[str]) -> None:
    config = tyro.cli(PredictConfig, args=argv, prog="hlstm predict")
    ids, names, probabilities = predict(config)
    with ExitStack() as stack:
        file = sys.stdout
        if config.output:
            file = stack.enter_context(open(config.output, "w", newline="", encoding="utf-8"))
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", *names])
        for name, row in zip(ids, probabilities.tolist(), strict=True):
            writer.writerow([name, *(f"{value:.6g}" for value in row)])


if __name__ == "__main__":
    options.main(command, prog="python -m hlstm.predict")
