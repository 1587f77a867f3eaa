"""Statistics and sizes of images, and how a network is evaluated on a split of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as images_of

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.image_batches import image_batches
from hmc_shared.data.image_table import ImageTable

IMAGENET_MEAN = 255 * torch.tensor([0.485, 0.456, 0.406])
IMAGENET_STD = 255 * torch.tensor([0.229, 0.224, 0.225])
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
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


def input_statistics(dataset: HierarchicalDataset) -> tuple[Tensor, Tensor] | None:
    """Mean and scale that normalise raw inputs, by channel or feature; None for vectors that need none.

    Those of the training images if they are small, of ImageNet for photographs, of the training rows for
    vectors.
    """
    inputs = dataset.train.inputs
    if dataset.kind == "image":
        return channel_statistics(inputs) if isinstance(inputs, Tensor) else (IMAGENET_MEAN, IMAGENET_STD)
    if dataset.feature_mean is None or dataset.feature_scale is None:
        return None
    return dataset.feature_mean, dataset.feature_scale


def resize_and_crop(image: Tensor, input_shape: tuple[int, ...], crop: float) -> Tensor:
    """An image of any size, (3, height, width) uint8, to the square that a model looks at.

    Its shorter side becomes the model's over ``crop``, and the centre is cut out; grey for one channel.
    """
    channels, height, width = input_shape
    if channels == 1:  # not torchvision's rgb_to_grayscale: its weights do not add up to 1
        image = (image * LUMA).sum(0, keepdim=True).round().to(torch.uint8)
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


def evaluation_batches(
    inputs: ImageTable | Tensor, input_shape: tuple[int, ...], crop: float, *, batch_size: int, workers: int
) -> Iterator[Tensor]:
    """The inputs of a split in order, nothing random: small images or vectors as they are, photographs cut.

    Args:
        inputs: (n, ...) of any kind, or a table of photographs, which ``workers`` processes read.
        input_shape, crop: of :func:`resize_and_crop`, which brings photographs to uint8 of that shape.
        batch_size: rows at most; of photographs no more than 64.
        workers: 0 to read in this process.

    Yields (b, ...) tensors.
    """
    if isinstance(inputs, Tensor):
        yield from inputs.split(batch_size)
        return
    transform = partial(resize_and_crop, input_shape=input_shape, crop=crop)
    order = torch.arange(len(inputs)).split(min(batch_size, 64))
    yield from image_batches(inputs, order, transform, seed=0, epoch=0, workers=workers)


@torch.no_grad()
def score_logits(model: Any, inputs: Any, batch_size: int = 512, workers: int = 0) -> Tensor:
    """What ``model.logits`` says of the inputs of a split, (n, C) float32 on the CPU, in evaluation mode.

    ``inputs`` are raw images, a table of images, or standardised vectors; ``workers`` processes read a table.
    """
    model.eval()
    device = model.input_mean.device
    parts = evaluation_batches(inputs, model.input_shape, model.crop, batch_size=batch_size, workers=workers)
    batches = (part.to(device) for part in parts)
    return torch.cat([model.logits(model.normalize(x) if x.ndim == 4 else x).cpu() for x in batches])
