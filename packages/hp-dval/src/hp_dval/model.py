"""The network: a student ViT, one embedding layer for all tokens, learned prompts, scores of two views."""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hmc_shared.model import HierarchicalModel, check_inputs, model_card
from hmc_shared.resizing import Resize
from hmc_shared.vision.stages import encoder_groups
from hp_dval.clip import TokenTower
from hp_dval.config import Context
from hp_dval.students import Student

CARD = model_card(
    "hp-dval",
    """# {{ model_name | default("Multi-label image classifier", true) }}

Trained with `hp-dval`:

```python
from hp_dval import load_model

model = load_model("path/to/this/folder")
probabilities = model.predict_proba(images)  # uint8 (n, channels, height, width); (n, C)
labels = model.predict(images)  # (n, C) bool
model.hierarchy.names  # the C classes
```

`config.json` holds the classes and the options of the network, `model.safetensors` the weights, the learned
prompts, the embeddings of their texts and the calibration, `decision.json` how labels are chosen: the text
tower of the CLIP is not needed any more. How it was trained and what it scores is in the `results.json` of
its run folder.
""",
    ["multi-label-classification", "image-classification", "long-tailed-recognition", "clip"],
)

MOST_PATCHES = 32
"""k of the paper."""
Prompter = Callable[[Tensor], Tensor]
"""From learned vectors of V views, (V, M, width) or (V, C, M, width), to unit text embeddings (V, C, D_e)."""


class Outputs(NamedTuple):
    """What ``forward`` returns."""

    logits: Tensor
    """(B, C) float32: scores times the scale."""
    text: Tensor | None
    """(V, C, D_e): the unit text embeddings of the views; None if there are none, or each image its own."""
    class_embedding: Tensor | None
    """(B, D_e) float32, of the class token, not normalised; None if tokens were given, or no CLIP is used."""


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


class ImageClassifier(HierarchicalModel, **CARD):
    """What all networks of this package have in common; ``forward`` gives :class:`Outputs`."""

    library = "hp_dval"
    batch_size = 128
    num_tokens: int
    """1 + N: the class token and the patches, where prompts are tuned."""
    dim: int
    """D_e, of their embeddings."""

    @property
    def encoder(self) -> nn.Module:
        """What is trained on images, and may start from weights."""
        raise NotImplementedError

    def normalize(self, raw: Tensor) -> Tensor:
        if isinstance(self.encoder, TokenTower):
            return self.encoder.tower.preprocess(raw)
        return (raw.float() - self.input_mean) / self.input_scale

    def tokens(self, images: Tensor) -> Tensor:
        """Unit embeddings (B, num_tokens, dim) float32 of normalised images, for the prompt tuning."""
        raise NotImplementedError

    def alignment_groups(self, learning_rate: float, layer_decay: float) -> list[dict[str, Any]]:
        """What is trained on images, as groups of an optimiser, each with its ``lr``."""
        return []

    def prompt_parameters(self) -> list[nn.Parameter]:
        """What is trained in the prompt tuning."""
        return []

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Take note of how far the stage is, its epochs counted from 0."""

    def keep_texts(self, prompter: Prompter) -> None:
        """Take over the text embeddings of the learned prompts, if there are any, for predictions."""

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits (B, C) of images or tokens, no class above its parent if the model is coherent."""
        return self.constrained(self(inputs).logits)

    def logits_of(self, inputs: Any, batch_size: int | None = None) -> Tensor:
        """As of :class:`HierarchicalModel`; ViTs of open_clip do not take a batch of no images."""
        raw = check_inputs(inputs, self.input_shape)
        return super().logits_of(raw, batch_size) if len(raw) else torch.zeros(0, len(self.hierarchy))


class ImageTextClassifier(ImageClassifier, **CARD):
    """What HP-DVAL and its baselines have in common: cosines of image tokens and text embeddings.

    ``forward`` takes normalised images (B, channels, height, width), or tokens (B, 1 + N, D_e) that were
    computed before.
    """

    views: Sequence[str] = ("global prompts", "local prompts")
    """What the V texts of a class are, in words."""
    fixed_text: Tensor
    """(C, D_e): unit embeddings of the texts of the fixed prompts."""
    text: Tensor
    """(V, C, D_e): unit embeddings of the texts for the V views, global and local, which predictions use."""
    log_scale: Tensor
    """Logarithm of what scores are multiplied by."""

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        *,
        views: int,
        dim: int,
        text_width: int,
        prompt_length: int,
        context: Context,
        alpha: float,
        k: int,
        scale: float,
        coherent: bool,
        resize: Resize,
    ) -> None:
        super().__init__(hierarchy, input_shape, coherent=coherent, resize=resize)
        self.alpha, self.k, self.dim = alpha, k, dim
        sets = (views,) if context == "shared" else (views, len(hierarchy))
        self.contexts = nn.Parameter(0.02 * torch.randn(*sets, prompt_length, text_width))
        self.register_buffer("log_scale", torch.tensor(math.log(scale)))
        self.register_buffer("fixed_text", torch.zeros(len(hierarchy), dim))
        self.register_buffer("text", torch.zeros(views, len(hierarchy), dim))

    def features(self, images: Tensor) -> Tensor:
        """Embedded tokens (B, 1 + N, D_e) of normalised images, not of unit length."""
        raise NotImplementedError

    def prompt_parameters(self) -> list[nn.Parameter]:
        return [self.contexts]

    @torch.no_grad()
    def keep_texts(self, prompter: Prompter) -> None:
        self.text.copy_(prompter(self.contexts))

    def tokens(self, images: Tensor) -> Tensor:
        """Unit embeddings (B, 1 + N, D_e) float32 of normalised images."""
        return F.normalize(self.features(images).float(), dim=-1)

    def forward(self, inputs: Tensor, prompter: Prompter | None = None) -> Outputs:
        """Images or tokens to logits, by the texts of the learned prompts if there is a ``prompter``.

        Without one, by the stored text embeddings.
        """
        tokens, class_embedding = inputs, None
        if inputs.ndim == 4:
            embedded = self.features(inputs).float()
            class_embedding, tokens = embedded[:, 0], F.normalize(embedded, dim=-1)
        text = self.text if prompter is None else prompter(self.contexts)
        return Outputs(self.scores(tokens, text), text, class_embedding)

    def scores(self, tokens: Tensor, text: Tensor) -> Tensor:
        """Logits (B, C): scaled scores of unit tokens, always in float32."""
        with torch.autocast(tokens.device.type, enabled=False):
            scores = dual_view_scores(tokens.float(), text[0], text[-1], alpha=self.alpha, k=self.k)
            return scores * self.log_scale.exp()

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


class HPDVAL(ImageTextClassifier, **CARD):
    """HP-DVAL (Section III): a ViT and two linear layers that embed its class token and its patches alike.

    Args:
        hierarchy: the C classes; without edges, plain labels.
        input_shape: (channels, size, size) of images, 1 or 3 channels.
        student, patch_size, width, layers, heads, clip_config: see :class:`hp_dval.students.Student`.
        dim: D_e, of the CLIP's embeddings.
        text_width: of the CLIP's token embeddings.
        prompt_length: M.
        context: learned vectors shared over the classes, or each class its own.
        alpha, k: of :func:`dual_view_scores`; k is 32 by default, or all patches where there are fewer.
        scale: what scores are multiplied by.
        coherent: score a class by the best of itself and its descendants.
        resize: how an image of any size becomes the square that a prediction looks at.

    Raises ValueError for images that are not square, and more patches in the mean than there are.
    """

    method = "hp-dval"

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        student: str = "vit_b_16",
        patch_size: int = 4,
        width: int = 96,
        layers: int = 4,
        heads: int = 4,
        clip_config: dict[str, Any] | None = None,
        dim: int = 512,
        text_width: int = 512,
        prompt_length: int = 4,
        context: Context = "shared",
        alpha: float = 0.4,
        k: int | None = None,
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
            alpha=alpha,
            k=k or MOST_PATCHES,
            scale=scale,
            coherent=coherent,
            resize=resize,
        )
        _, height, side = self.input_shape
        if height != side:
            raise ValueError(f"`dataset` should have square images. Found {height}x{side} pixels.")
        self.student = Student(
            student,
            side,
            patch_size=patch_size,
            width=width,
            layers=layers,
            heads=heads,
            clip_config=clip_config,
        )
        if (k or 0) > self.student.num_patches:
            raise ValueError(
                f"`--k` should be at most the number of patches, {self.student.num_patches} of "
                f"{side}x{side} pixels by {student}. Found {k}."
            )
        self.num_tokens = 1 + self.student.num_patches
        self.embedding = nn.Sequential(
            nn.Linear(self.student.num_features, dim), nn.GELU(), nn.Linear(dim, dim)
        )

    @property
    def encoder(self) -> nn.Module:
        return self.student.network

    def features(self, images: Tensor) -> Tensor:
        return self.embedding(self.student(images))

    def alignment_groups(self, learning_rate: float, layer_decay: float) -> list[dict[str, Any]]:
        embedding = {"params": list(self.embedding.parameters()), "lr": learning_rate}
        return [*encoder_groups(self.encoder, learning_rate, layer_decay), embedding]
