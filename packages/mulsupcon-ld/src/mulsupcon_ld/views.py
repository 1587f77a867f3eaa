"""Random views of a sample: masks of vectors, and of images the crops and colours of SimCLR.

What is drawn for a row is given, as uniform numbers, so that it need not depend on how a batch is dealt out
over processes. Whole batches are changed at once, on their device. Only the images of a table are cropped one
by one, in the worker processes that read them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from hmc_shared.vision.augment import random_crop
from hmc_shared.vision.pixels import LUMA

TRIES = 10  # for a part that lies in the image
CROP_NUMBERS = 3 + 2 * TRIES  # place down, place right, mirror image; then area and ratio of the sides
COLOUR_NUMBERS = 6  # strength of four changes, whether at all, whether grey
CHANGES = (0.4, 0.4, 0.4)  # of brightness, contrast and saturation, as a share, either way
HUE = 0.1  # of the colour wheel, either way
CHANGED, GREY = 0.8, 0.2  # shares of the images


def mask(vectors: Tensor, drawn: Tensor, p: float) -> Tensor:
    """Vectors (B, F) with each number set to 0, its mean, with probability p.

    ``drawn`` (..., B, F) is uniform; more dimensions in front make more such vectors.
    """
    return vectors.masked_fill(drawn < p, 0.0)


def crop_small(images: Tensor, drawn: Tensor, *, min_scale: float, flip: bool) -> Tensor:
    """A random part of each image, enlarged to the old size, as torchvision's ``RandomResizedCrop`` does it.

    Its share of the area is uniform, its ratio of width to height log-uniform in 3/4 to 4/3, given that it
    fits in: the first of ten tries that does is taken. Pixels are interpolated linearly between their
    neighbours, which at the verge of the part may lie outside.

    Args:
        images: (B, channels, height, width).
        drawn: (B, CROP_NUMBERS) uniform in [0, 1).
        min_scale: smallest share of the area.
        flip: mirror half of the images.

    Returns float32 images of the same shape.
    """
    height, width = images.shape[2:]
    down, right, mirror = drawn[:, :3].unbind(1)
    area, ratio = drawn[:, 3:].unflatten(1, (-1, 2)).unbind(2)  # (B, tries)
    area = min_scale + (1 - min_scale) * area
    ratio = (height / width) * (4 / 3) ** (2 * ratio - 1)
    sides = torch.stack([area / ratio, area * ratio], dim=2).sqrt()  # (B, tries, 2), shares of the image's
    first = (sides <= 1).all(2).int().argmax(1)
    h, w = sides.take_along_dim(first.view(-1, 1, 1), 1).squeeze(1).clamp(max=1).unbind(1)
    sign = torch.where(mirror < (0.5 if flip else 0.0), -1.0, 1.0)
    none = torch.zeros_like(h)
    # From places in the result, -1 to 1 in each direction, to places in the image.
    affine = torch.stack([sign * w, none, (2 * right - 1) * (1 - w), none, h, (2 * down - 1) * (1 - h)], 1)
    grid = F.affine_grid(affine.view(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def random_crops(size: int, views: int, *, min_scale: float, flip: bool) -> Callable[[Tensor], Tensor]:
    """For ``image_batches``: from an image (3, height, width) to random parts of it, (views, 3, size, size).

    All are uint8.
    """
    return partial(_several, transform=random_crop(size, min_scale=min_scale, flip=flip), views=views)


def _several(image: Tensor, transform: Callable[[Tensor], Tensor], views: int) -> Tensor:
    return torch.stack([transform(image) for _ in range(views)])


def change_colours(images: Tensor, drawn: Tensor) -> Tensor:
    """The colour jitter of SimCLR for four of five images, and then one of five grey.

    As torchvision's ``ColorJitter(0.4, 0.4, 0.4, 0.1)`` and ``RandomGrayscale``, but always in this order:
    brightness, contrast, saturation, hue. The first three commute, unless values are cut off at 0 or 255. Of
    images without three channels only brightness and contrast change.

    Args:
        images: (B, channels, height, width), values 0 to 255.
        drawn: (B, COLOUR_NUMBERS) uniform in [0, 1).

    Returns float32 images of the same shape.
    """
    images = images.float()
    strength = 1 + (2 * drawn[:, :3] - 1) * drawn.new_tensor(CHANGES)
    brightness, contrast, saturation = strength.view(-1, 3, 1, 1, 1).unbind(1)
    turn = (HUE * (2 * drawn[:, 3] - 1)).view(-1, 1, 1)
    changed = (brightness * images).clamp(0, 255)
    changed = torch.lerp(luminance(changed).mean((2, 3), keepdim=True), changed, contrast).clamp(0, 255)
    if images.shape[1] == 3:
        changed = torch.lerp(luminance(changed), changed, saturation).clamp(0, 255)
        changed = turn_hue(changed, turn)
    is_changed, is_grey = (drawn[:, 4:] < drawn.new_tensor([CHANGED, GREY])).view(-1, 2, 1, 1, 1).unbind(1)
    changed = torch.where(is_changed, changed, images)
    return torch.where(is_grey, luminance(changed), changed) if images.shape[1] == 3 else changed


def luminance(images: Tensor) -> Tensor:
    """(B, 1, height, width) brightness of RGB images as the eye sees it; else the mean of the channels."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return (images * LUMA.to(images.device)).sum(1, keepdim=True)


def turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """RGB images (B, 3, height, width) with the hue of HSV turned; ``turn`` (B, 1, 1) is 1 for a full circle.

    Any scale of the values.
    """
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    divisor = torch.where(chroma > 0, chroma, 1.0)
    sixths = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    # Back from hue: every channel is at its full value for a third of the circle and lacks the chroma for
    # another third, with straight lines between. The three differ in where.
    start = torch.tensor([5.0, 3.0, 1.0], device=images.device).view(3, 1, 1)
    place = ((sixths + 6 * turn).unsqueeze(1) + start) % 6
    return value.unsqueeze(1) - chroma.unsqueeze(1) * torch.minimum(place, 4 - place).clamp(0, 1)
