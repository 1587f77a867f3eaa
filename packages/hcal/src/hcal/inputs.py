"""From the images of a split to normalised batches on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Generator, Tensor
from torchvision.transforms import v2

from hcal.augment import augment, draw
from hcal.config import Config
from hcal.model import LevelClassifier


def random_crop(config: Config) -> Callable[[Tensor], Tensor]:
    """Augmentation of photographs: a random part, brought to ``image_size``, and its mirror image."""
    part = v2.RandomResizedCrop(config.image_size, scale=(config.min_scale, 1.0), antialias=True)
    return v2.Compose([part, v2.RandomHorizontalFlip(0.5 if config.flip else 0.0)])


def training_batches(
    model: LevelClassifier,
    inputs: Any,
    paths: Tensor,
    order: list[tuple[Tensor, Tensor]],
    config: Config,
    epoch: int,
    generator: Generator,
    *,
    rank: int,
    world: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of an epoch on the generator's device: what the network takes, augmented, and paths (B, L).

    ``order`` is what ``hmc_shared.data.batches`` yields. A row of weight 0 gets no label, -1. Before each
    batch the generator is seeded by seed and step, so that nothing of it needs saving; what is drawn from it
    is the same on all processes.
    """
    device = generator.device
    photographs: Iterator[Tensor] = iter(())
    if not isinstance(inputs, Tensor):
        from hmc_shared.data.image_batches import image_batches

        parts = [rows for rows, _ in order]
        photographs = image_batches(
            inputs, parts, random_crop(config), seed=config.seed, epoch=epoch, workers=config.workers
        )
    for step, (rows, weights) in enumerate(order):
        generator.manual_seed(((config.seed * 1_000_003 + epoch) * 1_000_003 + step) % 2**64)
        # Without waiting for the step before.
        rows, weights = rows.to(device, non_blocking=True), weights.to(device, non_blocking=True)
        if not isinstance(inputs, Tensor):
            batch = model.normalize(next(photographs).to(device, non_blocking=True))
        elif inputs.ndim == 4:
            places = torch.arange(len(rows), device=device) * world + rank  # in the global batch
            drawn = draw(config.batch_size, generator)[places % config.batch_size]
            options = {"padding": config.crop_padding, "flip": config.flip, "rotation": config.rotation}
            batch = model.normalize(augment(inputs.index_select(0, rows), drawn, **options))
        else:
            batch = inputs.index_select(0, rows)  # row by row; inputs[rows] copies number by number
        labels = paths[rows].masked_fill(weights.unsqueeze(1) == 0, -1)
        if len(rows) == 1:  # batch normalisation needs two
            batch, labels = torch.cat([batch, batch]), torch.cat([labels, torch.full_like(labels, -1)])
        yield batch, labels
