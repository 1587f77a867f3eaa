"""CLIP itself as a classifier: zero-shot with fixed prompts, and CoOp with learned ones."""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hmc_shared import Hierarchy
from hmc_shared.resizing import Resize
from hp_dval.clip import image_tower
from hp_dval.model import CARD, ImageTextClassifier


class ClipClassifier(ImageTextClassifier, **CARD):
    """Cosines of a CLIP's image embedding and the embeddings of texts: the global view alone.

    Zero-shot (Radford et al. 2021) the texts are those of the template. With learned vectors shared over the
    classes and before their names it is CoOp (Zhou et al. 2022, "unified context", class token at the end).

    Args:
        hierarchy, input_shape, prompt_length, scale, coherent, resize: as of
            :class:`hp_dval.model.HPDVAL`.
        clip_config: open_clip's configuration of the CLIP, whose image tower this model holds.
        dim, text_width: of the CLIP.
    """

    method = "clip"
    num_tokens = 1

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        clip_config: dict[str, Any],
        dim: int = 512,
        text_width: int = 512,
        prompt_length: int = 4,
        scale: float = 100.0,
        coherent: bool = True,
        resize: Resize = "squash",
    ) -> None:
        super().__init__(
            hierarchy,
            input_shape,
            views=1,
            dim=dim,
            text_width=text_width,
            prompt_length=prompt_length,
            alpha=1.0,
            k=1,
            scale=scale,
            coherent=coherent,
            resize=resize,
        )
        self.image_tower = image_tower(clip_config)

    def features(self, images: Tensor) -> Tensor:
        return self.image_tower.visual(images).unsqueeze(1)

    def normalize(self, raw: Tensor) -> Tensor:
        return self.image_tower.preprocess(raw)
