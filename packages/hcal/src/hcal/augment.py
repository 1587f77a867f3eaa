"""Augmentation of a whole batch of small images at once, on their device.

What is drawn for an image is a row of uniform numbers (:func:`draw`), so that it does not depend on how the
batch is dealt out over processes.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


def draw(rows: int, generator: Generator) -> Tensor:
    """(rows, 4) uniform in [0, 1), on the generator's device: shift down, shift right, flip, rotation."""
    return torch.rand(rows, 4, generator=generator, device=generator.device)


def augment(images: Tensor, drawn: Tensor, *, padding: int, flip: bool, rotation: float) -> Tensor:
    """Random crop of the padded image, mirror image, rotation.

    Args:
        images: (B, channels, height, width), uint8.
        drawn: (B, 4) of :func:`draw`.
        padding: pixels of black border on each side, from which a window of the old size is cut.
        flip: mirror where the third number is below 1/2.
        rotation: largest angle in degrees, either way; 0: none.

    Returns images of the same shape with values 0 to 255: uint8, or float32 after a rotation.
    """
    shift = (drawn[:, :2] * (2 * padding + 1)).long() - padding
    images = shift_and_flip(images, shift, drawn[:, 2] < (0.5 if flip else 0.0), padding)
    return rotate(images, (2 * drawn[:, 3] - 1) * rotation) if rotation else images


def shift_and_flip(images: Tensor, shift: Tensor, flipped: Tensor, padding: int) -> Tensor:
    """Move each image by ``shift`` (B, 2), down and right, at most ``padding`` pixels, then mirror some.

    What comes in is black. Pixels are moved as they are, by one gather.
    """
    height, width = images.shape[2:]
    down, right = shift.unsqueeze(2).unbind(1)  # (B, 1) each
    rows = torch.arange(height, device=images.device) + padding - down  # (B, height)
    columns = torch.arange(width, device=images.device).expand(len(images), -1)
    columns = torch.where(flipped.unsqueeze(1), width - 1 - columns, columns) + padding - right
    padded = F.pad(images, (padding,) * 4)
    sample = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn images counter-clockwise by angles (B,) about their centres; bilinear, black outside; float32."""
    height, width = images.shape[2:]
    angle = degrees * (math.pi / 180)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # Where an output pixel comes from, in coordinates from -1 to 1 on either axis: hence the sides' ratio.
    rows = [cos, -sin * (height / width), zero, sin * (width / height), cos, zero]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False)
