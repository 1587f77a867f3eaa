"""From the images of a split to normalised batches on the device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from hcal.augment import augment, sample
from hcal.config import Config
from hcal.model import LevelClassifier
from hmc_shared.data import ImageTable
from hmc_shared.data.batches import Batch, places_in_batch, sampled_batches, seed_step, weighted
from hmc_shared.data.image_batches import image_batches
from hmc_shared.vision.augment import random_crop


def training_batches(
    model: LevelClassifier,
    inputs: Tensor | ImageTable,
    paths: Tensor,
    config: Config,
    epoch: int,
    first: int,
    generator: Generator,
    *,
    of_samples: Tensor | None = None,
    rank: int,
    world: int,
) -> Iterator[Batch]:
    """The batches of an epoch on the generator's device: what the network takes, augmented, and paths (b, L).

    ``inputs`` are raw and, if a tensor, on the device. A row of weight 0 gets no label, -1, nor does the
    second row that batch normalisation needs beside a single one. Before each batch the generator is seeded;
    what is sampled from it is the same on all processes. ``first`` steps are left out: they are done already.
    Weights are those of the samples, ``of_samples`` (n,), or 1: the losses divide by their sum themselves.
    """
    device = generator.device
    classes = paths  # of which --sampling random needs the number of rows alone
    if config.sampling == "class-aware":  # the deepest of each row
        classes = paths.amax(1, keepdim=True) == torch.arange(len(model.hierarchy), device=device)
    place = {"seed": config.seed, "epoch": epoch, "rank": rank, "world": world}
    order = sampled_batches(classes, config.batch_size, config.sampling, **place)[first:]
    decoded: Iterator[Tensor] = iter(())
    if isinstance(inputs, ImageTable):
        crop = random_crop(config.image_size, min_scale=config.min_scale, flip=config.flip)
        rows_of = [rows for rows, _ in order]
        decoded = image_batches(inputs, rows_of, crop, seed=config.seed, epoch=epoch, workers=config.workers)
    for step, (rows, weights) in enumerate(order, first):
        seed_step(generator, config.seed, epoch, step)
        # Without waiting for the step before.
        rows, weights = rows.to(device, non_blocking=True), weights.to(device, non_blocking=True)
        if isinstance(inputs, ImageTable):
            raw = next(decoded).to(device, non_blocking=True)
        else:
            raw = inputs.index_select(0, rows)  # row by row; inputs[rows] copies number by number
            if model.takes_images:
                places = places_in_batch(rows, config.batch_size, rank=rank, world=world)
                numbers = sample(config.batch_size, generator)[places]
                raw = augment(
                    raw, numbers, padding=config.crop_padding, flip=config.flip, rotation=config.rotation
                )
        features = model.normalize(raw)
        labels = paths[rows].masked_fill(weights.unsqueeze(1) == 0, -1)
        if len(rows) == 1:  # batch normalisation needs two
            features = torch.cat([features, features])
            labels = torch.cat([labels, torch.full_like(labels, -1)])
        ones = torch.ones(len(labels), device=device)
        yield Batch(features, labels, weighted(ones, rows, of_samples), rows)
