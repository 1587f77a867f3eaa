"""Sizes of images: as a model looks at them."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as images_of

from hmc_shared.data.image_table import BAND, ImageTable

LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
LONGEST = 16  # sides: a model's square is one, and its neighbours do not reach that far
CROP = 0.875  # of the shorter side of an image of a table, in prediction: 224 of 256 pixels


def resize_and_crop(image: Tensor, input_shape: tuple[int, ...], crop: float) -> Tensor:
    """An image of any size, (3, height, width) uint8, to the square that a model looks at.

    Its shorter side becomes the model's over ``crop``, and the centre is cut out; grey for one channel. Of an
    image that is longer than LONGEST times its shorter side only the middle is enlarged: 20,000 x 1 pixels
    would become gigabytes.
    """
    channels, height, width = input_shape
    longest = LONGEST * min(image.shape[1:])
    for axis in (1, 2):
        cut = (image.shape[axis] - longest + 1) // 2
        if cut > 0:
            image = image.narrow(axis, cut, image.shape[axis] - 2 * cut)
    if channels == 1:  # not torchvision's rgb_to_grayscale: its weights do not add up to 1
        rows = max(1, BAND // image.shape[2])
        grey = [(part * LUMA).sum(0, keepdim=True).round().to(torch.uint8) for part in image.split(rows, 1)]
        image = torch.cat(grey, 1)
    scale = max(height / image.shape[1], width / image.shape[2]) / crop
    size = [round(scale * image.shape[1]), round(scale * image.shape[2])]
    return images_of.center_crop(images_of.resize(image, size, antialias=True), [height, width])


def some_images(
    inputs: ImageTable | Tensor, input_shape: tuple[int, ...], crop: float, count: int = 64
) -> Tensor:
    """At most ``count`` raw images from all over a split, (n, channels, height, width)."""
    rows = torch.linspace(0, len(inputs) - 1, min(count, len(inputs))).long()
    if isinstance(inputs, Tensor):
        return inputs[rows]
    return torch.stack([resize_and_crop(inputs[row], input_shape, crop) for row in rows.tolist()])
