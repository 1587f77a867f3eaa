"""Convolutional networks: a batch of images to one row of features each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import BasicBlock

SMALL_RESNETS = {"resnet8": 1, "resnet14": 2, "resnet20": 3, "resnet32": 5, "resnet56": 9}
"""Blocks in each of the three stages."""
FEW = 16
"""Channels below which a shortcut is a :class:`FewChannels`."""


def image_encoder(
    name: str, channels: int, *, stem: str = "imagenet", max_pool: bool = True, width: int | None = None
) -> tuple[nn.Module, int]:
    """The encoder, newly initialised, and the number of its features.

    Args:
        name: "resnet8" to "resnet56" for small images, or a classification network of torchvision.
        channels: of the images.
        stem: first layer of a torchvision ResNet: "imagenet", or "cifar" for a 3x3 convolution, stride 1.
        max_pool: whether a torchvision ResNet keeps its max-pooling.
        width: channels of the first stage of a small ResNet; default 16.

    Raises ValueError for an unknown or unsuitable name.
    """
    if name in SMALL_RESNETS:
        encoder = SmallResNet(channels, width or 16, SMALL_RESNETS[name])
        return encoder, encoder.num_features
    if name not in models.list_models(module=models):
        raise ValueError(
            f"`encoder` should, for images, be one of {', '.join(SMALL_RESNETS)}, or a classification "
            f"network of torchvision. Found {name!r}."
        )
    if channels not in (1, 3):
        raise ValueError(f"{name} takes images with 1 or 3 channels. Found {channels}.")
    return torchvision_backbone(name, stem, max_pool)


class SmallResNet(nn.Module):
    """ResNet for small images (He et al. 2016, Section 4.2): three stages of w, 2w and 4w channels.

    Shortcuts that change the shape are 1x1 convolutions with batch normalisation, as in torchvision.
    """

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, 1, blocks)
        self.layer2 = _stage(width, 2 * width, 2, blocks)
        self.layer3 = _stage(2 * width, 4 * width, 2, blocks)
        self.num_features = 4 * width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(images)))
        return self.layer3(self.layer2(self.layer1(x))).mean((2, 3))


class FewChannels(nn.Conv2d):
    """A 1x1 convolution of few channels with a stride, which leaves out the pixels before it convolves.

    The same numbers; but torch's own backward pass writes past its memory on a CPU in channels-last.
    """

    def forward(self, input: Tensor) -> Tensor:
        height, width = self.stride
        return nn.functional.conv2d(input[:, :, ::height, ::width], self.weight, self.bias)


def _stage(inside: int, outside: int, stride: int, blocks: int) -> nn.Sequential:
    shortcut = None
    if inside != outside:
        kind = nn.Conv2d if inside >= FEW else FewChannels
        shortcut = nn.Sequential(kind(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
    first = BasicBlock(inside, outside, stride, shortcut)
    return nn.Sequential(first, *[BasicBlock(outside, outside) for _ in range(blocks - 1)])


def torchvision_backbone(name: str, stem: str, max_pool: bool) -> tuple[nn.Module, int]:
    """A network of torchvision, newly initialised, without its last linear layer."""
    network = models.get_model(name, weights=None)
    linear = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear or isinstance(network, models.GoogLeNet | models.Inception3):  # with auxiliary outputs
        raise ValueError(f"`encoder` should end in one linear layer. Found {name!r}, which does not.")
    last: nn.Linear = network.get_submodule(linear[-1])  # type: ignore[assignment]
    parent, _, child = linear[-1].rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    if isinstance(network, models.ResNet):
        if stem == "cifar":
            network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        if not max_pool:
            network.maxpool = nn.Identity()  # type: ignore[assignment]
    elif stem == "cifar" or not max_pool:
        raise ValueError(f"`stem` and `max_pool` are options of the ResNets of torchvision. Found {name!r}.")
    return nn.Sequential(Colour(), network), last.in_features


class Colour(nn.Module):
    """Repeats the one channel of grey images."""

    def forward(self, images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1)
