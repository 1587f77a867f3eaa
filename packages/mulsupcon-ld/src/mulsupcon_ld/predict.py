"""``mulsupcon-ld predict``: the labels of new feature vectors or images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from hmc_shared.cli import options


@dataclass(frozen=True)
class PredictConfig:
    """Write the labels, and the calibrated probability of every class, for each row of a table or each image.

    Labels are those at the threshold that was best in validation. A run of --protocol paper has none: they
    are the classes with probability 1/2 or more, or, where samples have one path each, the path to the most
    probable leaf. With a hierarchy, no class is more probable than its parent.
    """

    run: Annotated[str, tyro.conf.Positional]
    """Run folder, or the folder of a saved model."""
    inputs: Annotated[list[str], tyro.conf.Positional]
    """Raw features, one row a sample: one .csv with a header, .parquet, or .npy. A column named "id" names
    the rows; an empty cell or "?" is a missing value; a model that was trained on a table with named columns
    looks for these. For models of images: image files and folders of images, or one .npy file (n, channels,
    height, width) with values 0 to 255."""
    min_confidence: float | None = None
    """Label only what is at least this probable: the deepest such class and its ancestors, or all such
    classes where samples may have several paths. A row without any gets no label."""
    calibrate: bool = True
    """Give the probabilities that the validation split calibrated."""
    output: str | None = None
    """File for the result: id, labels separated by ";", a column for each class; default: standard output."""
    json: bool = False
    """Write JSON instead of CSV: of each row the most specific labels, with their paths and probabilities."""


def predict(config: PredictConfig) -> tuple[list[str], Any, Any, Any]:
    """Names of the inputs, the classes' hierarchy, probabilities (n, C) float32, and labels (n, C) bool.

    Raises ValueError, naming the file, for one that cannot be read or does not fit the model.
    """
    import torch

    from hmc_shared.data.formats.table_file import read_table
    from hmc_shared.predict.decision import check_inputs, load_decision
    from hmc_shared.runs.read import open_run
    from hmc_shared.vision.image_files import find_images, read_batches
    from hmc_shared.vision.pixels import score_logits
    from mulsupcon_ld.methods import load_model

    folder, _ = open_run(config.run)
    model = load_model(folder)
    decision = load_decision(folder, model.hierarchy, calibrate=config.calibrate)
    takes_images = len(model.input_shape) == 3
    first = config.inputs[0]
    if Path(first).suffix in (".csv", ".npy", ".parquet"):
        if len(config.inputs) > 1:
            raise ValueError(f"one table can be given. Found {len(config.inputs)} inputs.")
        ids, raw = read_table(first, decision.features)
        try:
            inputs = check_inputs(raw, model.input_shape)
        except ValueError as error:
            raise ValueError(f"{first}: {error}") from error
        logits = score_logits(model, inputs if takes_images else model.normalize(inputs), batch_size=64)
    elif takes_images:
        files = find_images(config.inputs)
        ids = list(map(str, files))
        batches = read_batches(files, model.input_shape, model.crop)
        logits = torch.cat([score_logits(model, images) for images in batches])
    else:
        raise ValueError(f"{config.run} takes vectors, so a .csv, .parquet or .npy file. Found {first}.")
    return (
        ids,
        model.hierarchy,
        decision.probabilities(logits),
        decision.labels(logits, config.min_confidence),
    )


def command(argv: list[str]) -> None:
    config = tyro.cli(PredictConfig, args=argv, prog="mulsupcon-ld predict")

    from hmc_shared.predict.write import write_predictions  # after the options: --help needs no torch

    write_predictions(config.output, *predict(config), as_json=config.json)


if __name__ == "__main__":
    options.main(command, prog="python -m mulsupcon_ld.predict")
