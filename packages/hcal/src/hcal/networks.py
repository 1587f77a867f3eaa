"""Encoders: a batch of inputs to one row of features each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from hmc_shared.vision.encoders import image_encoder


def build_encoder(
    name: str,
    input_shape: Sequence[int],
    *,
    stem: str = "imagenet",
    max_pool: bool = True,
    width: int | None = None,
) -> tuple[nn.Module, int]:
    """The encoder and the number of its features.

    Args:
        name: "mlp", or a network of :func:`hmc_shared.vision.encoders.image_encoder`.
        input_shape: (F,) of vectors, or (channels, height, width) of images.
        stem, max_pool: of that function.
        width: channels of the first stage (small ResNets, default 16) or units of a layer (mlp, 256).

    Raises ValueError for an unknown or unsuitable name, for images given to no image encoder and the reverse.
    """
    if name == "mlp":
        return mlp(input_shape, width or 256)
    if len(input_shape) != 3:
        raise ValueError(
            f"`encoder` should be 'mlp' for inputs of shape {tuple(input_shape)}. Found {name!r}."
        )
    channels, *size = input_shape
    return image_encoder(name, channels, stem=stem, max_pool=max_pool, width=width, size=size)


def mlp(input_shape: Sequence[int], width: int) -> tuple[nn.Module, int]:
    """Two hidden layers with ReLU; images are flattened."""
    size = math.prod(input_shape)
    layers = [nn.Flatten(), nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers), width
