"""``hcal predict``: the classes of new images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from hmc_shared import options


@dataclass(frozen=True)
class PredictConfig:
    """Write the predicted class of each level, and its probability, for every image."""

    run: Annotated[str, tyro.conf.Positional]
    """Run folder, or the folder of a saved model."""
    inputs: Annotated[list[str], tyro.conf.Positional]
    """Image files and folders of images; or one .npy file: raw images (n, channels, height, width), uint8, or
    raw vectors (n, F)."""
    decode: Literal["independent", "path"] | None = None
    """The best node of each level, or the best path; default: that of the run."""
    output: str | None = None
    """File for the result as CSV; default: standard output."""


def predict(config: PredictConfig) -> tuple[list[str], Any, Any, Any]:
    """Names of the inputs, the classes' hierarchy, probabilities (n, C) and predicted nodes (n, L).

    Raises ValueError, naming the file, for one that cannot be read or does not fit the model.
    """
    import torch

    from hcal.methods import load_model
    from hmc_shared.runs import open_run
    from hmc_shared.tables import read_array
    from hmc_shared.vision.files import find_images, read_image

    model = load_model(open_run(config.run)[0])
    if config.inputs and config.inputs[0].endswith(".npy"):
        if len(config.inputs) > 1:
            raise ValueError(f"one .npy file can be given. Found {len(config.inputs)} inputs.")
        names, raw = read_array(config.inputs[0])
        try:
            return names, model.hierarchy, *model.predict(raw, decode=config.decode)
        except ValueError as error:
            raise ValueError(f"{config.inputs[0]}: {error}") from error
    if len(model.input_shape) != 3:
        raise ValueError(f"{config.run} takes vectors, so a .npy file. Found {' '.join(config.inputs)}.")
    files = find_images(config.inputs)
    probabilities, nodes = [], []
    for start in range(0, len(files), 64):
        images = [read_image(path, model.input_shape, model.crop) for path in files[start : start + 64]]
        found = model.predict(torch.stack(images), decode=config.decode)
        probabilities.append(found[0])
        nodes.append(found[1])
    return [str(path) for path in files], model.hierarchy, torch.cat(probabilities), torch.cat(nodes)


def command(argv: list[str]) -> None:
    from hmc_shared.tables import write_table

    config = tyro.cli(PredictConfig, args=argv, prog="hcal predict")
    names, hierarchy, probabilities, nodes = predict(config)
    levels = range(hierarchy.num_levels)
    header = ["file", *(f"{what}_{depth}" for depth in levels for what in ("level", "probability"))]
    table = []
    for name, row, path in zip(names, probabilities.tolist(), nodes.tolist(), strict=True):
        cells = [(hierarchy.names[node], f"{row[node]:.6g}") if node >= 0 else ("", "") for node in path]
        table.append([name, *(cell for pair in cells for cell in pair)])
    write_table(config.output, header, table)


if __name__ == "__main__":
    options.main(command, prog="python -m hcal.predict")
