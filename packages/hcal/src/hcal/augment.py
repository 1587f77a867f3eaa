"""Augmentation of a whole batch of small images at once, on their device.

What is sampled for an image is a row of uniform numbers (:func:`sample`), so that it does not depend on how
the batch is dealt out over processes.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


def sample(rows: int, generator: Generator) -> Tensor:
    """(rows, 4) uniform in [0, 1), on the generator's device: shift down, shift right, flip, rotation."""
    return torch.rand(rows, 4, generator=generator, device=generator.device)


def augment(images: Tensor, numbers: Tensor, *, padding: int, flip: bool, rotation: float) -> Tensor:
    """Random crop of the padded image, mirror image, rotation: one after the other, but in one gather.

    Every pixel is one of the old ones or black, as with torchvision's ``RandomCrop``,
    ``RandomHorizontalFlip`` and ``RandomRotation``, which takes the nearest pixel, too.

    Args:
        images: (B, channels, height, width), uint8.
        numbers: (B, 4) of :func:`sample`.
        padding: pixels of black border on each side, from which a window of the old size is cut.
        flip: mirror where the third number is below 1/2.
        rotation: largest angle in degrees, either way, about the centre of the window; black comes in.

    Returns images of the same shape and type.
    """
    channels, height, width = images.shape[1:]
    down, right = ((numbers[:, :2] * (2 * padding + 1)).floor() - padding).view(-1, 2, 1, 1).unbind(1)
    mirror = torch.where(numbers[:, 2] < (0.5 if flip else 0.0), -1.0, 1.0).view(-1, 1, 1)
    angle = ((2 * numbers[:, 3] - 1) * math.radians(rotation)).view(-1, 1, 1)
    cos, sin = angle.cos(), angle.sin()

    # Rotation: where an output pixel comes from, seen from the centre; counter-clockwise if positive.
    y = torch.arange(height, device=images.device).unsqueeze(1) - (height - 1) / 2
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    from_y, from_x = cos * y + sin * x, cos * x - sin * y  # (B, height, width)
    inside = (from_y.abs() < height / 2) & (from_x.abs() < width / 2)

    # Mirror and crop: row and column of that pixel in the padded image, whose first pixel is always black.
    border = padding + 1
    row = (from_y + (height / 2 - down + border)).floor()
    column = (mirror * from_x + (width / 2 - right + border)).floor()
    place = torch.where(inside, row * (width + 2 * border) + column, 0).long()
    padded = F.pad(images, (border,) * 4).flatten(2)
    return padded.gather(2, place.flatten(1).unsqueeze(1).expand(-1, channels, -1)).view_as(images)
