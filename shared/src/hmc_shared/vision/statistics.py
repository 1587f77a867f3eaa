"""Mean and deviation of pixels, by channel."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hmc_shared.data.dataset import HierarchicalDataset

IMAGENET_MEAN = 255 * torch.tensor([0.485, 0.456, 0.406])
IMAGENET_STD = 255 * torch.tensor([0.229, 0.224, 0.225])


class PixelStatistics(NamedTuple):
    """What normalises pixels with values 0 to 255: (pixel - mean) / std, each (channels,) float32."""

    mean: Tensor
    std: Tensor


def channel_statistics(images: Tensor) -> PixelStatistics:
    """Mean and deviation (channels,) float32 of uint8 images (n, channels, height, width), exact."""
    values = torch.arange(256, dtype=torch.float64)
    channels = images.cpu().transpose(0, 1).flatten(1)
    counts = torch.stack([torch.bincount(channel, minlength=256) for channel in channels]).double()
    total = counts.sum(1)
    mean = counts @ values / total
    deviation = (counts @ values.square() / total - mean.square()).clamp(min=0).sqrt()
    return PixelStatistics(mean.float(), torch.where(deviation > 0, deviation, 1.0).float())


def input_statistics(dataset: HierarchicalDataset) -> tuple[Tensor, Tensor] | None:
    """Mean and scale that normalise raw inputs, by channel or feature; None for vectors that need none.

    Those of the training images if they are small, of ImageNet for a table of images, and those that the data
    set has for vectors.
    """
    inputs = dataset.train.inputs
    if dataset.kind == "image":
        return channel_statistics(inputs) if isinstance(inputs, Tensor) else (IMAGENET_MEAN, IMAGENET_STD)
    if dataset.feature_mean is None or dataset.feature_scale is None:
        return None
    return dataset.feature_mean, dataset.feature_scale
