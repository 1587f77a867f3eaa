"""The network: an encoder, a projection to embeddings, a layer that generates label distributions."""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_descendants
from hmc_shared.predict.decision import check_inputs
from mulsupcon_ld.encoders import build_encoder, build_projection

MODEL_CARD = """---
{{ card_data }}
---

# {{ model_name | default("Multi-label classifier", true) }}

Trained with `mulsupcon-ld`:

```python
from mulsupcon_ld import MulSupCon

model = MulSupCon.from_pretrained("path/to/this/folder")
probabilities = model.predict(inputs)  # raw features (n, F), NaN where missing, or uint8 images; (n, C)
model.hierarchy.names  # the C classes
```

`config.json` holds the classes and the options of the network, `model.safetensors` the weights and the
statistics that normalise the inputs. How it was trained and what it scores is in the `results.json` of its
run folder. The model in the folder `pretrained` of a run is that before the fine-tuning: its
`distributions(inputs)` are the recovered label distributions.
"""

CARD = {
    "library_name": "mulsupcon-ld",
    "model_card_template": MODEL_CARD,
    "tags": ["multi-label-classification", "contrastive-learning"],
    "license": "apache-2.0",
    "coders": {Hierarchy: (Hierarchy.to_json, Hierarchy.from_json)},
}


class MulSupCon(nn.Module, PyTorchModelHubMixin, **CARD):
    """Embeddings for the contrastive losses, and one logit for each class (Sections 3.2 and 4).

    The layer ``fc`` generates the label distributions, D = softmax(fc(r)), in pre-training and classifies,
    by a sigmoid, after it. Its input r is the encoder's representation, which the paper leaves open (its
    Algorithm 1 has an undefined q): the projection is not needed for classification.

    Args:
        hierarchy: the C classes; without edges, plain labels.
        input_shape: (F,) of vectors, or (channels, height, width) of images.
        encoder: "mlp", or a network of :func:`hmc_shared.vision.encoders.image_encoder`.
        stem, max_pool, width, dropout: of :func:`mulsupcon_ld.encoders.build_encoder`.
        projection: "mlp" or "linear".
        dim: d, dimension of the embeddings.
        distribution_of: what ``fc`` takes, "representation" or "embedding".
        coherent: score a class by the best of itself and its descendants.
        crop: share of the shorter side of a photograph that :meth:`predict` looks at.
    """

    input_mean: Tensor
    input_scale: Tensor

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        encoder: str = "mlp",
        stem: str = "imagenet",
        max_pool: bool = True,
        width: int | None = None,
        dropout: float = 0.2,
        projection: str = "mlp",
        dim: int = 256,
        distribution_of: str = "representation",
        coherent: bool = True,
        crop: float = 1.0,
    ) -> None:
        super().__init__()
        self.hierarchy = hierarchy
        self.input_shape = tuple(input_shape)
        self.crop = crop
        self.on_embedding = distribution_of == "embedding"
        self.is_constrained = coherent and hierarchy.num_levels > 1
        statistics = (self.input_shape[0], *[1] * (len(self.input_shape) - 1))  # a feature's or a channel's
        self.register_buffer("input_mean", torch.zeros(statistics))
        self.register_buffer("input_scale", torch.ones(statistics))
        self.encoder, size = build_encoder(
            encoder, self.input_shape, stem=stem, max_pool=max_pool, width=width, dropout=dropout
        )
        self.projection = build_projection(projection, size, dim)
        self.fc = nn.Linear(dim if self.on_embedding else size, len(hierarchy))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Unit embeddings z (B, d) and logits (B, C) of normalised inputs (B, ...), both float32."""
        representation = self.encoder(inputs)
        z = F.normalize(self.projection(representation).float(), dim=1)
        return z, self.fc(z if self.on_embedding else representation).float()

    def normalize(self, raw: Tensor) -> Tensor:
        """To what ``forward`` takes, from images with values 0 to 255, or raw vectors, NaN where missing."""
        standardised = (raw.float() - self.input_mean) / self.input_scale
        if len(self.input_shape) == 1:
            return standardised.nan_to_num(nan=0.0)
        # Channels last is what convolutions are fastest in, on CPU and GPU alike.
        return standardised.contiguous(memory_format=torch.channels_last)

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits (B, C) of normalised inputs, no class above its parent if the model is coherent.

        In evaluation mode each row is scored by itself.
        """
        logits = self(inputs)[1]
        return max_over_descendants(logits, self.hierarchy) if self.is_constrained else logits

    def probabilities(self, raw: Tensor) -> Tensor:
        """Probabilities (B, C) of a raw batch (B, ...); what :mod:`hmc_shared.predict.export` takes."""
        return self.logits(self.normalize(raw)).sigmoid()

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write what ``from_pretrained`` reads: config.json, model.safetensors, a model card."""
        config = {**(self._hub_mixin_config or {}), "method": "mulsupcon-ld"}  # type: ignore[dict-item]
        return super().save_pretrained(save_directory, config=config, **options)

    def predict(self, raw: Any, batch_size: int = 1024) -> Tensor:
        """Probabilities (n, C) of raw features (n, F), NaN where missing, or of uint8 images (n, c, h, w).

        Raises ValueError for another shape, or an infinite feature.
        """
        return self._of_raw(raw, self.probabilities, batch_size)

    def distributions(self, raw: Any, batch_size: int = 1024) -> Tensor:
        """Label distributions D (n, C), rows that sum to 1, of raw inputs as for :meth:`predict`.

        They mean what the paper calls so in the model of a run's folder ``pretrained`` only: the fine-tuning
        goes on with the same layer.
        """
        return self._of_raw(raw, lambda rows: self(self.normalize(rows))[1].softmax(1), batch_size)

    @torch.no_grad()
    def _of_raw(self, raw: Any, function: Callable[[Tensor], Tensor], batch_size: int) -> Tensor:
        raw = check_inputs(raw, self.input_shape)
        device, was_training = self.input_mean.device, self.training
        self.eval()
        try:
            parts = [function(rows.to(device)) for rows in raw.split(batch_size)]
        finally:
            self.train(was_training)
        return torch.cat(parts)
