"""Sizes of images: as a model looks at them."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as images_of

from hmc_shared.data.image_table import BAND, ImageTable
from hmc_shared.resizing import Resize

LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
LONGEST = 16  # sides: a model's square is one, and its neighbours do not reach that far
MARGIN = 0.875  # of the shorter side, as ImageNet is evaluated: 224 of 256 pixels
BICUBIC = InterpolationMode.BICUBIC


def resize_and_crop(image: Tensor, input_shape: tuple[int, ...], resize: Resize) -> Tensor:
    """An image of any size, (3, height, width) uint8, to the square of a model; grey for one channel.

    Args:
        image: of any size.
        input_shape: (channels, height, width) of the model.
        resize: "squash" keeps all of it and not the ratio of its sides, "pad" keeps both, with black beside
            it, "crop" takes the middle, as CLIP does: all three bicubic, without aliasing. "imagenet" takes
            MARGIN of the middle, bilinear. Of an image that is longer than LONGEST times its shorter side
            these two enlarge only the middle: 20,000 x 1 pixels would become gigabytes.
    """
    channels, height, width = input_shape
    if resize in ("crop", "imagenet"):
        longest = LONGEST * min(image.shape[1:])
        for axis in (1, 2):
            cut = (image.shape[axis] - longest + 1) // 2
            if cut > 0:
                image = image.narrow(axis, cut, image.shape[axis] - 2 * cut)
    if channels == 1:  # not torchvision's rgb_to_grayscale: its weights do not add up to 1
        rows = max(1, BAND // image.shape[2])
        grey = [(part * LUMA).sum(0, keepdim=True).round().to(torch.uint8) for part in image.split(rows, 1)]
        image = torch.cat(grey, 1)
    ratios = height / image.shape[1], width / image.shape[2]
    scale = {"pad": min(ratios), "crop": max(ratios), "imagenet": max(ratios) / MARGIN}.get(resize)
    size = [height, width]
    if scale is not None:
        size = [max(1, round(scale * side)) for side in image.shape[1:]]
    how = InterpolationMode.BILINEAR if resize == "imagenet" else BICUBIC
    # center_crop adds black where there is too little.
    return images_of.center_crop(images_of.resize(image, size, how, antialias=True), [height, width])


def some_images(
    inputs: ImageTable | Tensor, input_shape: tuple[int, ...], resize: Resize, count: int = 64
) -> Tensor:
    """At most ``count`` raw images from all over a split, (n, channels, height, width)."""
    rows = torch.linspace(0, len(inputs) - 1, min(count, len(inputs))).long()
    if isinstance(inputs, Tensor):
        return inputs[rows]
    return torch.stack([resize_and_crop(inputs[row], input_shape, resize) for row in rows.tolist()])
