"""DualCoOp: a positive and a negative prompt of each class, compared region by region."""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hmc_shared import Hierarchy
from hmc_shared.resizing import Resize
from hp_dval.clip import TokenTower
from hp_dval.config import Context
from hp_dval.model import CARD, ImageTextClassifier

SHARPNESS = 0.2
"""Of the weights of regions, as a share of the scale: 20 beside 100."""


class DualCoOp(ImageTextClassifier, **CARD):
    """Two prompts of each class (Sun et al. 2022), "is there" and "is not there", on regions of the image.

    A region j has cosines p_j and n_j with both texts; w = softmax_j(20 p_j); the logit is
    100 sum_j w_j (p_j - n_j), whose sigmoid is the paper's softmax over both. Its loss is ASL, for which
    ``--loss asl`` has its exponents. Regions are the patches of CLIP's ViT, of whose last attention they keep
    their own values alone, as those of the paper's ResNet do behind the attention pooling.

    Args:
        hierarchy, input_shape, prompt_length, context, scale, coherent, resize: as of
            :class:`hp_dval.model.HPDVAL`.
        clip_config: open_clip's configuration of the CLIP, whose image tower this model holds.
        dim, text_width: of the CLIP.

    Raises ValueError for an image tower that is no ViT with a class token.
    """

    method = "dualcoop"
    views = ("positive prompts", "negative prompts")
    projection: Tensor
    """(width, D_e): from the tokens of the tower to embeddings."""

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        clip_config: dict[str, Any],
        dim: int = 512,
        text_width: int = 512,
        prompt_length: int = 4,
        context: Context = "shared",
        scale: float = 100.0,
        coherent: bool = True,
        resize: Resize = "squash",
    ) -> None:
        super().__init__(
            hierarchy,
            input_shape,
            views=2,
            dim=dim,
            text_width=text_width,
            prompt_length=prompt_length,
            context=context,
            alpha=1.0,
            k=1,
            scale=scale,
            coherent=coherent,
            resize=resize,
        )
        self.image_tower = TokenTower(clip_config, own_values=True).requires_grad_(False).eval()
        with torch.no_grad():
            shape = self.image_tower(torch.zeros(1, 3, *self.image_tower.tower.image_size)).shape
        self.num_tokens = shape[1]
        self.register_buffer("projection", torch.zeros(shape[2], dim))

    def features(self, images: Tensor) -> Tensor:
        return self.image_tower(images) @ self.projection

    def normalize(self, raw: Tensor) -> Tensor:
        return self.image_tower.tower.preprocess(raw)

    def scores(self, tokens: Tensor, text: Tensor) -> Tensor:
        with torch.autocast(tokens.device.type, enabled=False):
            scale = self.log_scale.exp()
            positive, negative = torch.einsum("bnd,vcd->vbcn", tokens[:, 1:].float(), text.float())
            weights = (SHARPNESS * scale * positive).softmax(2)
            return scale * (weights * (positive - negative)).sum(2)
