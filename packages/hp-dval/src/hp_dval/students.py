"""Vision transformers that give all of their tokens: the students of HP-DVAL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import VisionTransformer

from hmc_shared.vision.encoders import TIMM, Colour
from hp_dval.clip import TokenTower

SMALL = "small"
CLIP = "clip"


class Student(nn.Module):
    """Class token and patch tokens (B, 1 + N, D) of normalised images (B, 1 or 3, size, size).

    Args:
        name: "small", "clip", a vision transformer of torchvision ("vit_b_16"), or "timm:" and the name of
            one of timm.
        image_size: side of the images, in pixels.
        patch_size, width, layers, heads: of "small"; the hidden layers are four times as wide.
        clip_config: of "clip", open_clip's configuration of the CLIP whose image tower this is; images of any
            size are resampled to what it takes.

    The tokens are those after the last layer normalisation, which all of these networks end with.

    Raises ValueError for an unknown name, a network that has no class token, and sizes that do not fit.
    """

    def __init__(
        self,
        name: str,
        image_size: int,
        *,
        patch_size: int = 4,
        width: int = 96,
        layers: int = 4,
        heads: int = 4,
        clip_config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.colour = Colour()  # ViTs take three channels
        self.network: Any
        try:
            if name == SMALL:
                self.network = VisionTransformer(image_size, patch_size, layers, heads, width, 4 * width)
            elif name == CLIP and clip_config:
                self.network = TokenTower(clip_config)
                image_size = self.network.tower.image_size[0]
            elif name.startswith(TIMM) and ":" not in name.removeprefix(TIMM):  # not timm:hf-hub:NAME
                # Without its classifier; its position embeddings fit the image size.
                self.network = timm.create_model(
                    name.removeprefix(TIMM), num_classes=0, global_pool="token", img_size=image_size
                )
            elif name in models.list_models(module=models) and name.startswith("vit"):
                self.network = models.get_model(name, weights=None, image_size=image_size)
            else:
                raise ValueError("no such name")
            self.num_prefix_tokens = 1
            if name.startswith(TIMM):
                self.num_prefix_tokens = self.network.num_prefix_tokens
            elif name != CLIP:
                self.network.heads = nn.Identity()
            with torch.no_grad():
                shape = self.eval()(torch.zeros(1, 3, image_size, image_size)).shape
            self.train()
        except (ValueError, AssertionError, AttributeError, RuntimeError, TypeError, IndexError) as error:
            raise ValueError(
                f"`--student` should be {SMALL}, {CLIP}, a vision transformer of torchvision such as "
                f"vit_b_16, or {TIMM} and the name of one of timm, with a class token, for images of "
                f"{image_size} pixels that its patches divide. Found {name!r}: "
                f"{' '.join(str(error).split())[:200]}"
            ) from error
        self.num_patches, self.num_features = shape[1] - 1, shape[2]
        side = round(self.num_patches**0.5)
        self.grid = (side, side)

    def forward(self, images: Tensor) -> Tensor:
        images, network = self.colour(images), self.network
        if isinstance(network, TokenTower):
            return network(images)
        if not isinstance(network, VisionTransformer):
            tokens = network.forward_features(images)
            # Registers stand between the class token and the patches.
            return torch.cat([tokens[:, :1], tokens[:, self.num_prefix_tokens :]], dim=1)
        patches = network.conv_proj(images).flatten(2).transpose(1, 2)  # (B, N, D)
        return network.encoder(
            torch.cat([network.class_token.expand(images.shape[0], -1, -1), patches], dim=1)
        )
