"""What ``predict`` of every method is given: a table, an array, image files. Read, checked, scored."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hmc_shared.cli.commands import PredictOptions
from hmc_shared.data.formats.features import read_table
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import shown
from hmc_shared.model import HierarchicalModel, load_model_of
from hmc_shared.predict.write import write_predictions
from hmc_shared.runs.read import open_run

TABLES = (".csv", ".tsv", ".npy", ".parquet")


@dataclass(frozen=True)
class Predictions:
    """What a model says of n inputs."""

    ids: list[str]
    """Their names."""
    hierarchy: Hierarchy
    probabilities: Tensor
    """(n, C) float32, calibrated."""
    labels: Tensor
    """(n, C) bool, ancestors included."""
    left_out: tuple[str, ...] = ()
    """A message for each image that could not be decoded."""

    def check_complete(self) -> None:
        """Name the images that were left out on standard error. Raises OSError, for the exit code, if any."""
        for message in self.left_out:
            print(f"left out: {message}", file=sys.stderr)
        if self.left_out:
            total = len(self.left_out) + len(self.ids)
            raise OSError(f"{len(self.left_out)} of {total} images were left out")


def predict(config: PredictOptions) -> Predictions:
    """The predictions of a saved model for files.

    Images that cannot be decoded are left out, unless that are all. Raises ValueError, naming the file, for
    what cannot be read or does not fit the model.
    """
    model = load_model_of(config.library, open_run(config.run)[0])
    config.apply_to(model)
    ids, logits, left_out = score_files(model, config.inputs, config.run)
    return Predictions(
        ids,
        model.hierarchy,
        model.to_probabilities(logits),
        model.to_labels(logits, config.min_confidence),
        tuple(left_out),
    )


def command(config: PredictOptions) -> None:
    """Write what :func:`predict` gives. Raises OSError at the end if an image was left out."""
    result = predict(config)
    write(config, result)
    result.check_complete()


def write(config: PredictOptions, result: Predictions) -> None:
    """Write predictions to a file or to standard output, as :func:`write_predictions` does."""
    write_predictions(
        config.output,
        result.ids,
        result.hierarchy,
        result.probabilities,
        result.labels,
        as_json=config.json,
    )


def score_files(
    model: HierarchicalModel, inputs: Sequence[str], run: str
) -> tuple[list[str], Tensor, list[str]]:
    """Of one table or array, or of image files and folders: names of the samples, and their logits (n, C).

    And a message for each image that cannot be decoded.
    """
    if not inputs:
        raise ValueError("the inputs should be a table, an array, or images. Found none.")
    first = Path(inputs[0])
    if first.suffix.lower() in TABLES:
        if len(inputs) > 1:
            raise ValueError(f"one {first.suffix} file can be read at a time. Found {len(inputs)} inputs.")
        ids, raw = read_table(first, model.decision.features)
        if repeated := [name for name, count in Counter(ids).items() if count > 1]:
            note = f"{first} names several rows {shown(repeated[0])}"
            print(f"warning: {note}; results are in the order of the rows.", file=sys.stderr)
        try:
            return ids, model.logits_of(raw), []
        except ValueError as error:
            raise ValueError(f"{first}: {error}") from error
    if not model.takes_images:
        raise ValueError(f"{run} takes vectors, so a .csv, .tsv, .parquet or .npy file. Found {first}.")
    from hmc_shared.vision.image_files import find_images, read_batches  # torchvision: only for images

    files = find_images(inputs)
    ids, logits, left_out = [], [], []
    for read, images in read_batches(files, model.input_shape, model.crop, left_out):
        ids += map(str, read)
        logits.append(model.logits_of(images))
    if not ids:
        raise ValueError(left_out[0])
    return ids, torch.cat(logits), left_out
