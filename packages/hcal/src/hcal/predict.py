"""``hcal predict``: the classes of new images."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hmc_shared import options

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")


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

    model = load_model(open_run(config.run)[0])
    if config.inputs and config.inputs[0].endswith(".npy"):
        if len(config.inputs) > 1:
            raise ValueError(f"one .npy file can be given. Found {len(config.inputs)} inputs.")
        names, raw = read_array(Path(config.inputs[0]))
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


def find_images(inputs: Sequence[str]) -> list[Path]:
    """The files, and all image files below the folders, sorted inside each. ValueError if there is none."""
    files: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise ValueError(f"{path} should hold images. Found none.")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise ValueError(f"{path} should be an image or a folder. Found nothing there.")
    return files


def read_image(path: Path, input_shape: tuple[int, ...], crop: float) -> Any:
    """An image file as (channels, height, width) uint8, brought to the model's size as in evaluation."""
    import torch

    from hmc_shared.data.images import decode
    from hmc_shared.vision.pixels import resize_and_crop

    try:
        pixels = decode(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    return resize_and_crop(torch.from_numpy(pixels).permute(2, 0, 1), input_shape, crop)


def read_array(path: Path) -> tuple[list[str], Any]:
    """Row numbers as names, and the array of a .npy file."""
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is not readable as an array: {error}") from error
    return [str(row) for row in range(len(array))], array


def command(argv: list[str]) -> None:
    config = tyro.cli(PredictConfig, args=argv, prog="hcal predict")
    names, hierarchy, probabilities, nodes = predict(config)
    levels = range(hierarchy.num_levels)
    with ExitStack() as stack:
        file = sys.stdout
        if config.output:
            file = stack.enter_context(open(config.output, "w", newline="", encoding="utf-8"))
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["file", *(f"{what}_{depth}" for depth in levels for what in ("level", "probability"))]
        )
        for name, row, path in zip(names, probabilities.tolist(), nodes.tolist(), strict=True):
            cells = [(hierarchy.names[node], f"{row[node]:.6g}") if node >= 0 else ("", "") for node in path]
            writer.writerow([name, *(cell for pair in cells for cell in pair)])


if __name__ == "__main__":
    options.main(command, prog="python -m hcal.predict")
