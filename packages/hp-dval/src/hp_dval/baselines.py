"""CLIP itself as a classifier: zero-shot with fixed prompts, CoOp with learned ones, means of images."""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hmc_shared.resizing import Resize
from hp_dval.clip import image_tower
from hp_dval.config import Context
from hp_dval.model import CARD, ImageTextClassifier


class ClipClassifier(ImageTextClassifier, **CARD):
    """Cosines of a CLIP's image embedding and the embeddings of texts: the global view alone.

    Zero-shot (Radford et al. 2021) the texts are those of the template. With learned vectors shared over the
    classes and before their names it is CoOp (Zhou et al. 2022, "unified context", class token at the end),
    or with vectors of each class ("class-specific context"). With means of images instead of texts it is a
    classifier of class prototypes.

    Args:
        hierarchy, input_shape, prompt_length, context, scale, coherent, resize: as of
            :class:`hp_dval.model.HPDVAL`.
        clip_config: open_clip's configuration of the CLIP, whose image tower this model holds.
        dim, text_width: of the CLIP.
    """

    method = "clip"
    num_tokens = 1
    offset: Tensor
    """(C,): what is added to the logits of each class, 0 unless it was fitted."""

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
            views=1,
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
        self.image_tower = image_tower(clip_config)
        self.register_buffer("offset", torch.zeros(len(hierarchy)))

    def features(self, images: Tensor) -> Tensor:
        return self.image_tower.visual(images).unsqueeze(1)

    def scores(self, tokens: Tensor, text: Tensor) -> Tensor:
        return super().scores(tokens, text) + self.offset

    def normalize(self, raw: Tensor) -> Tensor:
        return self.image_tower.preprocess(raw)


def fitted_offset(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """(C,) b for which the mean over rows of sigmoid(z + b) is the share of positives, of each class.

    It is the intercept of a logistic regression with slope 1, with the greatest likelihood. The share is
    (positives + 1/2) / (rows + 1), so that a class of none or all has one, too.

    Args:
        logits: (n, C).
        targets: (n, C) bool.
        known: (n, C) bool, the rows that count for each class; None: all.
    """
    logits = logits.double()
    counted = torch.ones_like(logits) if known is None else known.double()
    rows = counted.sum(0)
    share = (targets.double().sum(0) + 0.5) / (rows + 1)
    low, high = share.logit() - logits.amax(0), share.logit() - logits.amin(0)
    for _ in range(60):  # halved each time: the mean rises with b
        middle = (low + high) / 2
        is_low = (torch.sigmoid(logits + middle) * counted).sum(0) < share * rows
        low, high = torch.where(is_low, middle, low), torch.where(is_low, high, middle)
    return ((low + high) / 2).float()


def prototypes(features: Tensor, targets: Tensor, text: Tensor) -> Tensor:
    """(C, D_e) unit directions from the mean image to the mean image of each class; its text without any.

    Nearest class means (Mensink et al. 2013), from which the mean of all rows is taken off, as in SimpleShot
    (Wang et al. 2019): what all images have in common tells no class from another.

    Args:
        features: unit image embeddings (n, D_e).
        targets: (n, C) bool.
        text: (C, D_e), for classes without a row.
    """
    counts = targets.sum(0).unsqueeze(1)
    means = targets.to(features).T @ features / counts.clamp(min=1)
    return torch.where(counts > 0, F.normalize(means - features.mean(0), dim=1), text)
