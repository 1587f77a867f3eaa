"""``hcal predict``: the classes of new images or vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hmc_shared.cli import options


@dataclass(frozen=True)
class PredictConfig:
    """Write the predicted class of each level, and its calibrated probability, for every input."""

    run: Annotated[str, tyro.conf.Positional]
    """Run folder, or the folder of a saved model."""
    inputs: Annotated[list[str], tyro.conf.Positional]
    """Image files and folders of images; or one .npy file: raw images (n, channels, height, width), uint8.
    For models of vectors: one .csv with a header, .parquet, or .npy file, a row for each sample."""
    decode: Literal["independent", "path"] | None = None
    """The best node of each level, or the best path; default: that of the run."""
    min_confidence: float | None = None
    """Answer with the deepest class that is at least this probable, and its ancestors, whatever --decode is.
    The levels below stay empty, and so does a row without any such class."""
    calibrate: bool = True
    """Give the probabilities that the validation split calibrated."""
    output: str | None = None
    """File for the result: of each level the class and its probability; default: standard output."""
    json: bool = False
    """Write JSON instead of CSV: of each input the most specific classes, with their paths, and all
    probabilities."""


def predict(config: PredictConfig) -> tuple[list[str], Any, Any, Any]:
    """Names of the inputs, the classes' hierarchy, probabilities (n, C), nodes of the levels (n, L).

    A node is -1 where there is none. Raises ValueError, naming the file, for one that cannot be read or does
    not fit the model.
    """
    import torch

    from hcal.methods import load_model
    from hmc_shared.data.formats.table_file import read_table
    from hmc_shared.metrics import level_targets
    from hmc_shared.predict.decision import confident_labels, load_decision
    from hmc_shared.runs.read import open_run
    from hmc_shared.vision.image_files import find_images, read_batches

    folder, _ = open_run(config.run)
    model = load_model(folder)
    if not config.calibrate:
        model.level_temperature.fill_(1.0)
        model.path_temperature.fill_(1.0)
    first = config.inputs[0]
    if Path(first).suffix in (".csv", ".npy", ".parquet"):
        if len(config.inputs) > 1:
            raise ValueError(
                f"one {Path(first).suffix} file can be given. Found {len(config.inputs)} inputs."
            )
        names, raw = read_table(first, load_decision(folder, model.hierarchy).features)
        try:
            probabilities, nodes = model.predict(raw, decode=config.decode)
        except ValueError as error:
            raise ValueError(f"{first}: {error}") from error
    elif len(model.input_shape) == 3:
        files = find_images(config.inputs)
        names = list(map(str, files))
        batches = read_batches(files, model.input_shape, model.crop)
        parts = [model.predict(images, decode=config.decode) for images in batches]
        probabilities, nodes = (torch.cat(of_all) for of_all in zip(*parts, strict=True))
    else:
        found = " ".join(config.inputs)
        raise ValueError(f"{config.run} takes vectors, so a .csv, .parquet or .npy file. Found {found}.")
    if config.min_confidence is not None:
        sure = confident_labels(probabilities, model.hierarchy, config.min_confidence, single_path=True)
        nodes = torch.from_numpy(level_targets(sure, model.hierarchy))
    return names, model.hierarchy, probabilities, nodes


def command(argv: list[str]) -> None:
    config = tyro.cli(PredictConfig, args=argv, prog="hcal predict")

    from hmc_shared.predict.write import (
        write_predictions,  # after the options: --help needs no torch
        write_table,
    )

    names, hierarchy, probabilities, nodes = predict(config)
    if config.json:
        labels = (nodes.unsqueeze(2) == nodes.new_tensor(range(len(hierarchy)))).any(1)  # (n, C)
        write_predictions(config.output, names, hierarchy, probabilities, labels, as_json=True)
        return
    levels = range(hierarchy.num_levels)
    header = ["file", *(f"{what}_{depth}" for depth in levels for what in ("level", "probability"))]
    table = []
    for name, row, path in zip(names, probabilities.tolist(), nodes.tolist(), strict=True):
        cells = [(hierarchy.names[node], f"{row[node]:.6g}") if node >= 0 else ("", "") for node in path]
        table.append([name, *(cell for pair in cells for cell in pair)])
    write_table(config.output, header, table)


if __name__ == "__main__":
    options.main(command, prog="python -m hcal.predict")
