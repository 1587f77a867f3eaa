"""The network: a student ViT, one embedding layer for all tokens, learned prompts, scores of two views."""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_descendants
from hp_dval.clip import TokenTower
from hp_dval.students import Student

MODEL_CARD = """---
{{ card_data }}
---

# {{ model_name | default("Multi-label image classifier", true) }}

Trained with `hp-dval`:

```python
from hp_dval.methods import load_model

model = load_model("path/to/this/folder")
probabilities = model.predict(images)  # uint8 (n, channels, height, width); (n, C)
model.hierarchy.names  # the C classes
```

`config.json` holds the classes and the options of the network, `model.safetensors` the weights, the learned
prompts and the embeddings of their texts: the text tower of the CLIP is not needed any more. How it was
trained and what it scores is in the `results.json` of its run folder.
"""

CARD = {
    "library_name": "hp-dval",
    "model_card_template": MODEL_CARD,
    "tags": ["multi-label-classification", "image-classification", "long-tailed-recognition", "clip"],
    "license": "apache-2.0",
    "coders": {Hierarchy: (Hierarchy.to_json, Hierarchy.from_json)},
}

Prompter = Callable[[Tensor], Tensor]
"""From the learned vectors of V views (V, M, width) to unit text embeddings (V, C, D_e)."""


class Outputs(NamedTuple):
    """What ``forward`` returns."""

    logits: Tensor
    """(B, C) float32: scores times the scale."""
    text: Tensor
    """(V, C, D_e): the unit text embeddings of the views."""
    class_token: Tensor | None
    """(B, D) float32, before the embedding layer; None if tokens were given."""
    class_embedding: Tensor | None
    """(B, D_e) float32, not normalised; None if tokens were given."""


def dual_view_scores(
    tokens: Tensor, global_text: Tensor, local_text: Tensor, *, alpha: float, k: int
) -> Tensor:
    """Scores s (B, C) of Eq. (4) and (5), or (8) and (9).

        s_i = alpha <P_i, f_cls> + (1 - alpha) TopK_j <P_i, f_j>

    Args:
        tokens: unit embeddings (B, 1 + N, D_e) of the class token and of N patches; without patches, only
            the global view counts.
        global_text, local_text: unit text embeddings (C, D_e).
        alpha: weight of the global view.
        k: patches in the mean of the most similar ones; all if there are fewer.
    """
    global_scores = tokens[:, 0] @ global_text.T
    if alpha == 1 or tokens.shape[1] == 1:
        return global_scores
    local_scores = local_text @ tokens[:, 1:].transpose(1, 2)  # (B, C, N)
    top = local_scores.topk(min(k, local_scores.shape[2]), dim=2, sorted=False).values.mean(2)
    return alpha * global_scores + (1 - alpha) * top


class ImageTextClassifier(nn.Module, PyTorchModelHubMixin, **CARD):
    """What HP-DVAL and its baselines have in common: cosines of image tokens and text embeddings.

    ``forward`` takes normalised images (B, channels, height, width), or tokens (B, 1 + N, D_e) that were
    computed before.
    """

    method: ClassVar[str]
    num_tokens: int
    """1 + N: the class token and the patches."""
    fixed_text: Tensor
    text: Tensor
    """(V, C, D_e): unit embeddings of the texts for the V views, global and local, which predictions use."""

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        *,
        views: int,
        dim: int,
        text_width: int,
        prompt_length: int,
        alpha: float,
        k: int,
        scale: float,
        learn_scale: bool,
        coherent: bool,
        crop: float,
    ) -> None:
        super().__init__()
        self.hierarchy = hierarchy
        self.input_shape = tuple(input_shape)
        self.alpha, self.k, self.crop = alpha, k, crop
        self.is_constrained = coherent and hierarchy.num_levels > 1
        self.contexts = nn.Parameter(0.02 * torch.randn(views, prompt_length, text_width))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)), requires_grad=learn_scale)
        self.register_buffer("fixed_text", torch.zeros(len(hierarchy), dim))
        self.register_buffer("text", torch.zeros(views, len(hierarchy), dim))

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Image tokens before the embedding (B, 1 + N, D), and embedded (B, 1 + N, D_e), not normalised."""
        raise NotImplementedError

    def normalize(self, raw: Tensor) -> Tensor:
        """To what ``forward`` takes, from images with values 0 to 255."""
        raise NotImplementedError

    def alignment_parameters(self) -> list[nn.Parameter]:
        """What the alignment trains."""
        return []

    def tokens(self, images: Tensor) -> Tensor:
        """Unit embeddings (B, 1 + N, D_e) float32 of normalised images."""
        return F.normalize(self.features(images)[1].float(), dim=-1)

    def forward(self, inputs: Tensor, prompter: Prompter | None = None) -> Outputs:
        """Images or tokens to logits, by the texts of the learned prompts if there is a ``prompter``.

        Without one, by the stored text embeddings.
        """
        class_token = class_embedding = None
        tokens = inputs
        if inputs.ndim == 4:
            before, embedded = self.features(inputs)
            class_token, class_embedding = before[:, 0].float(), embedded[:, 0].float()
            tokens = F.normalize(embedded.float(), dim=-1)
        text = self.text if prompter is None else prompter(self.contexts)
        return Outputs(self.scores(tokens, text), text, class_token, class_embedding)

    def scores(self, tokens: Tensor, text: Tensor) -> Tensor:
        """Logits (B, C): scaled scores of unit tokens, always in float32."""
        with torch.autocast(tokens.device.type, enabled=False):
            scores = dual_view_scores(tokens.float(), text[0], text[-1], alpha=self.alpha, k=self.k)
            return scores * self.log_scale.exp()

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits (B, C), no class above its parent if the model is coherent; each row stands for itself."""
        logits = self(inputs).logits
        return max_over_descendants(logits, self.hierarchy) if self.is_constrained else logits

    def probabilities(self, raw: Tensor) -> Tensor:
        """Probabilities (B, C) of raw images (B, channels, height, width), for :mod:`hmc_shared.predict.export`."""
        return self.logits(self.normalize(raw)).sigmoid()

    @torch.no_grad()
    def predict(self, raw: Any, batch_size: int = 64) -> Tensor:
        """Probabilities (n, C) of raw images (n, channels, height, width), uint8.

        Raises ValueError for another shape.
        """
        raw = torch.as_tensor(raw)
        if raw.shape[1:] != self.input_shape:
            shape = ", ".join(map(str, self.input_shape))
            raise ValueError(f"`raw` should have shape (n, {shape}). Found {tuple(raw.shape)}.")
        device, was_training = self.text.device, self.training
        self.eval()
        try:
            parts = [self.probabilities(rows.to(device)) for rows in raw.split(batch_size)]
        finally:
            self.train(was_training)
        return torch.cat(parts) if parts else torch.zeros(0, len(self.hierarchy))

    @torch.no_grad()
    def response_maps(self, images: Tensor) -> Tensor:
        """Cosines (B, V, C, h, w) of the patches and the texts of each view, global and local (Fig. 6).

        Raises ValueError for a model without patches.
        """
        patches = self.tokens(images)[:, 1:]
        side = round(patches.shape[1] ** 0.5)
        if side == 0:
            raise ValueError("The model should have patch tokens. Found none: it has the global view alone.")
        return torch.einsum("bnd,vcd->bvcn", patches, self.text).unflatten(3, (side, side))

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write what :func:`hp_dval.methods.load_model` reads: config.json, model.safetensors, a card."""
        config = {**(self._hub_mixin_config or {}), "method": self.method}  # type: ignore[dict-item]
        return super().save_pretrained(save_directory, config=config, **options)


class HPDVAL(ImageTextClassifier, **CARD):
    """HP-DVAL (Section III): a ViT and two linear layers that embed its class token and its patches alike.

    Args:
        hierarchy: the C classes; without edges, plain labels.
        input_shape: (channels, size, size) of images, 1 or 3 channels.
        student, patch_size, width, layers, heads, clip_config: see :class:`hp_dval.students.Student`.
        dim: D_e, of the CLIP's embeddings.
        text_width: of the CLIP's token embeddings.
        prompt_length: M.
        activation: between the two layers, "gelu" or "relu".
        alpha, k: of :func:`dual_view_scores`.
        scale: what scores are multiplied by.
        learn_scale: whether training changes it.
        coherent: score a class by the best of itself and its descendants.
        crop: share of the shorter side of a photograph that :meth:`predict` looks at.

    Raises ValueError for images that are not square, and more patches in the mean than there are.
    """

    method = "hp-dval"
    input_mean: Tensor
    input_scale: Tensor

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        student: str = "vit_b_16",
        patch_size: int = 4,
        width: int = 96,
        layers: int = 4,
        heads: int = 4,
        clip_config: dict | None = None,
        dim: int = 512,
        text_width: int = 512,
        prompt_length: int = 4,
        activation: str = "gelu",
        alpha: float = 0.4,
        k: int = 32,
        scale: float = 100.0,
        learn_scale: bool = False,
        coherent: bool = True,
        crop: float = 1.0,
    ) -> None:
        super().__init__(
            hierarchy,
            input_shape,
            views=2,
            dim=dim,
            text_width=text_width,
            prompt_length=prompt_length,
            alpha=alpha,
            k=k,
            scale=scale,
            learn_scale=learn_scale,
            coherent=coherent,
            crop=crop,
        )
        channels, height, side = self.input_shape
        if height != side:
            raise ValueError(f"`dataset` should have square images. Found {height}x{side} pixels.")
        self.register_buffer("input_mean", torch.zeros(channels, 1, 1))
        self.register_buffer("input_scale", torch.ones(channels, 1, 1))
        self.student = Student(
            student,
            side,
            patch_size=patch_size,
            width=width,
            layers=layers,
            heads=heads,
            clip_config=clip_config,
        )
        if k > self.student.num_patches:
            raise ValueError(
                f"`--k` should be at most the number of patches, {self.student.num_patches} of "
                f"{side}x{side} pixels by {student}. Found {k}."
            )
        self.num_tokens = 1 + self.student.num_patches
        between = nn.GELU() if activation == "gelu" else nn.ReLU()
        self.embedding = nn.Sequential(
            nn.Linear(self.student.num_features, dim), between, nn.Linear(dim, dim)
        )

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        before = self.student(images)
        return before, self.embedding(before)

    def normalize(self, raw: Tensor) -> Tensor:
        if isinstance(self.student.network, TokenTower):
            return self.student.network.tower.preprocess(raw)
        return (raw.float() - self.input_mean) / self.input_scale

    def alignment_parameters(self) -> list[nn.Parameter]:
        return [*self.student.parameters(), *self.embedding.parameters(), self.log_scale]
