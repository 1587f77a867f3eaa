"""``mulsupcon-ld predict``: the labels of new feature vectors or images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from hmc_shared import options


@dataclass(frozen=True)
class PredictConfig:
    """Write the labels, and the probability of every class, for each row of a table or each image."""

    run: Annotated[str, tyro.conf.Positional]
    """Run folder; or the folder of a saved model, which has no threshold and gives probabilities alone."""
    inputs: Annotated[list[str], tyro.conf.Positional]
    """Raw features, one row a sample: one .npy, or .csv with a header. In a .csv, a column named "id" names
    the rows; an empty cell or "?" is a missing value. For models of images: image files and folders of
    images, or one .npy file (n, channels, height, width) with values 0 to 255."""
    output: str | None = None
    """File for the result as CSV: id, labels separated by ";", a column for each class; default: standard
    output."""


def predict(config: PredictConfig) -> tuple[list[str], tuple[str, ...], Any, Any]:
    """Names of the inputs, of the classes, probabilities (n, C) float32, and labels (n, C) bool.

    Labels are those at the threshold that the run stored, None for a bare model. Raises ValueError, naming
    the file, for one that cannot be read or does not fit the model.
    """
    import torch

    from hmc_shared.runs import open_run
    from hmc_shared.tables import read_table
    from hmc_shared.thresholds import stored_threshold
    from hmc_shared.vision.files import find_images, read_image
    from mulsupcon_ld.methods import load_model

    model = load_model(open_run(config.run)[0])
    takes_images = len(model.input_shape) == 3
    first = config.inputs[0]
    if Path(first).suffix in (".csv", ".npy"):
        if len(config.inputs) > 1:
            raise ValueError(f"one table can be given. Found {len(config.inputs)} inputs.")
        ids, raw = read_table(first)
        try:
            probabilities = model.predict(raw, batch_size=64 if takes_images else 1024)
        except ValueError as error:
            raise ValueError(f"{first}: {error}") from error
    elif takes_images:
        files = find_images(config.inputs)
        ids = list(map(str, files))
        parts = []
        for start in range(0, len(files), 64):
            images = [read_image(path, model.input_shape, model.crop) for path in files[start : start + 64]]
            parts.append(model.predict(torch.stack(images)))
        probabilities = torch.cat(parts)
    else:
        raise ValueError(f"{config.run} takes vectors, so a .csv or .npy file. Found {first}.")
    threshold = stored_threshold(config.run, model.hierarchy)
    labels = None if threshold is None else probabilities >= torch.tensor(threshold).sigmoid()
    return ids, model.hierarchy.names, probabilities, labels


def command(argv: list[str]) -> None:
    from hmc_shared.tables import write_table

    config = tyro.cli(PredictConfig, args=argv, prog="mulsupcon-ld predict")
    ids, names, probabilities, labels = predict(config)
    table = [
        [name, *(f"{p:.6g}" for p in row)] for name, row in zip(ids, probabilities.tolist(), strict=True)
    ]
    if labels is not None:
        for line, row in zip(table, labels, strict=True):
            line.insert(1, ";".join(names[label] for label in row.nonzero().flatten()))
    write_table(config.output, ["id", *(["labels"] if labels is not None else []), *names], table)


if __name__ == "__main__":
    options.main(command, prog="python -m mulsupcon_ld.predict")
