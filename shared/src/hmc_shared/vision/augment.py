"""Random changes of images, one by one in the processes that read them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torchvision.transforms import InterpolationMode, v2


def random_crop(
    size: int, *, min_scale: float, flip: bool, bicubic: bool = False
) -> Callable[[Tensor], Tensor]:
    """From an image (3, height, width) uint8 to a random part of it, (3, size, size), and its mirror image.

    The part has at least the share ``min_scale`` of the area; with ``flip``, half of them are mirrored.
    """
    how = InterpolationMode.BICUBIC if bicubic else InterpolationMode.BILINEAR
    part = v2.RandomResizedCrop(size, scale=(min_scale, 1.0), interpolation=how, antialias=True)
    return v2.Compose([part, v2.RandomHorizontalFlip(0.5 if flip else 0.0)])
