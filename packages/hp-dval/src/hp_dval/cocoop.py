"""CoCoOp: learned vectors that an image moves, so that each image has texts of its own."""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hmc_shared import Hierarchy
from hmc_shared.resizing import Resize
from hp_dval.clip import Clip
from hp_dval.model import CARD, ImageTextClassifier, Outputs, Prompter
from hp_dval.prompts import Prompts


class CoCoOp(ImageTextClassifier, **CARD):
    """Conditional prompts (Zhou et al. 2022b): [v_1 + b, ..., v_M + b, name] with b = h(f) of the image.

    f is CLIP's unit image embedding, h two linear layers with a ReLU between them, D_e / 16 wide. As every
    image has texts of its own, the model keeps the CLIP's text tower, and a prediction takes as many texts as
    there are classes.

    Args:
        hierarchy, input_shape, prompt_length, scale, coherent, resize: as of
            :class:`hp_dval.model.HPDVAL`.
        clip_config: open_clip's configuration of the CLIP, which this model holds, both towers.
        texts: the text of each class.

    Raises ValueError for a text tower of Hugging Face, which a saved model could not come with.
    """

    method = "cocoop"
    batch_size = 32
    num_tokens = 1
    offset: Tensor
    """(C,): what is added to the logits of each class, 0 unless it was fitted."""

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        clip_config: dict[str, Any],
        texts: list[str],
        prompt_length: int = 4,
        scale: float = 100.0,
        coherent: bool = True,
        resize: Resize = "squash",
    ) -> None:
        if "hf_model_name" in clip_config["text_cfg"] or "hf_tokenizer_name" in clip_config["text_cfg"]:
            raise ValueError("`--clip` should have a text tower and a tokeniser of open_clip for cocoop.")
        clip = Clip(clip_config)
        super().__init__(
            hierarchy,
            input_shape,
            views=1,
            dim=clip.dim,
            text_width=clip.text_width,
            prompt_length=prompt_length,
            context="shared",
            alpha=1.0,
            k=1,
            scale=scale,
            coherent=coherent,
            resize=resize,
        )
        named = {name: [text] for name, text in zip(hierarchy.names, texts, strict=True)}
        self.prompts = Prompts(clip, named, prompt_length)
        hidden = max(clip.dim // 16, 1)
        self.meta = nn.Sequential(nn.Linear(clip.dim, hidden), nn.ReLU(), nn.Linear(hidden, clip.text_width))
        self.register_buffer("offset", torch.zeros(len(hierarchy)))

    def features(self, images: Tensor) -> Tensor:
        return self.prompts.clip.encode_image(images).unsqueeze(1)

    def normalize(self, raw: Tensor) -> Tensor:
        return self.prompts.clip.preprocess(raw)

    def prompt_parameters(self) -> list[nn.Parameter]:
        return [self.contexts, *self.meta.parameters()]

    def texts_of(self, features: Tensor) -> Tensor:
        """The unit text embeddings (B, C, D_e) of images with unit embeddings (B, D_e)."""
        return self.prompts(self.contexts + self.meta(features).unsqueeze(1))

    def forward(self, inputs: Tensor, prompter: Prompter | None = None) -> Outputs:
        """As of the base; the model has its own prompts, whatever the ``prompter``."""
        features = (self.tokens(inputs) if inputs.ndim == 4 else inputs)[:, 0]
        texts = self.texts_of(features)
        with torch.autocast(features.device.type, enabled=False):
            cosines = torch.einsum("bd,bcd->bc", features.float(), texts.float())
            return Outputs(cosines * self.log_scale.exp() + self.offset, None, None)
