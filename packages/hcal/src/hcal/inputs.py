"""From the images of a split to normalised batches on the device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor

from hcal.augment import augment, draw
from hcal.config import Config
from hcal.model import LevelClassifier

IMAGENET_MEAN = 255 * torch.tensor([0.485, 0.456, 0.406])
IMAGENET_STD = 255 * torch.tensor([0.229, 0.224, 0.225])
CROP = 0.875  # of the shorter side of a photograph, in prediction: 224 of 256 pixels


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (channels,) float32 of uint8 images (n, channels, height, width), exact."""
    values = torch.arange(256, dtype=torch.float64)
    channels = images.cpu().transpose(0, 1).flatten(1)
    counts = torch.stack([torch.bincount(channel, minlength=256) for channel in channels]).double()
    total = counts.sum(1)
    mean = counts @ values / total
    deviation = (counts @ values.square() / total - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(deviation > 0, deviation, 1.0).float()


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
    for step, (rows, weights) in enumerate(order):
        generator.manual_seed((config.seed * 1_000_003 + epoch) * 1_000_003 + step)
        if len(rows) == 1:  # batch normalisation needs two
            rows, weights = rows.repeat(2), torch.cat([weights, torch.zeros(1)])
        rows, weights = rows.to(device), weights.to(device)
        batch = inputs[rows]
        if batch.ndim == 4:
            places = torch.arange(len(rows), device=device) * world + rank  # in the global batch
            drawn = draw(config.batch_size, generator)[places % config.batch_size]
            batch = augment(
                batch, drawn, padding=config.crop_padding, flip=config.flip, rotation=config.rotation
            )
            batch = model.normalize(batch)
        yield batch, paths[rows].masked_fill(weights.unsqueeze(1) == 0, -1)


def score_logits(model: LevelClassifier, inputs: Any, batch_size: int = 512) -> Tensor:
    """Uncalibrated logits (n, C) float32 on the CPU of the inputs of a split, in evaluation mode."""
    model.eval()
    device = model.input_mean.device
    with torch.no_grad():
        logits = []
        for rows in inputs.split(batch_size):
            rows = rows.to(device)
            logits.append(model.logits(model.normalize(rows) if rows.ndim == 4 else rows).cpu())
    return torch.cat(logits)
