"""Encoders, from a batch of inputs to representations, and the projection to embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from hmc_shared.vision.encoders import image_encoder


def build_encoder(
    name: str,
    input_shape: Sequence[int],
    *,
    stem: str = "imagenet",
    max_pool: bool = True,
    width: int | None = None,
    dropout: float = 0.0,
) -> tuple[nn.Module, int]:
    """The encoder and the size of its representations.

    Args:
        name: "mlp", or a network of :func:`hmc_shared.vision.encoders.image_encoder`.
        input_shape: (F,) of vectors, or (channels, height, width) of images.
        stem, max_pool: of that function.
        width: channels of the first stage (small ResNets, default 16), or units of the mlp's outer layers
            (256), half of those in the middle.
        dropout: of the mlp.

    Raises ValueError for an unknown or unsuitable name, for images given to the mlp and the reverse.
    """
    if (name == "mlp") != (len(input_shape) == 1):
        rule = "be 'mlp'" if len(input_shape) == 1 else "be an image encoder"
        raise ValueError(f"`encoder` should {rule} for inputs of shape {tuple(input_shape)}. Found {name!r}.")
    if name != "mlp":
        channels, *size = input_shape
        return image_encoder(name, channels, stem=stem, max_pool=max_pool, width=width, size=size)
    outer = width or 256
    sizes = [input_shape[0], outer, 2 * outer, outer]
    layers: list[nn.Module] = []
    for inside, outside in pairwise(sizes):
        layers += [nn.Linear(inside, outside), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers), outer


class WithLabels(nn.Module):
    """A network around one that takes inputs and labels, as ``nn.Sequential`` is around one of inputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, labels: Tensor) -> object:
        return self.network(inputs, labels)


def build_projection(kind: str, size: int, dim: int) -> nn.Module:
    """From representations of ``size`` numbers to embeddings of ``dim``, not yet scaled to length 1.

    "mlp" is that of MulSupCon's public code: Linear, batch normalisation, ReLU, dropout 0.1, Linear.
    """
    if kind == "linear":
        return nn.Linear(size, dim)
    hidden = size // 2 if size >= 512 else 256
    return nn.Sequential(
        nn.Linear(size, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, dim)
    )
