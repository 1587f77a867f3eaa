"""The network: an encoder, a projection to embeddings, a layer that generates label distributions."""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hmc_shared.model import HierarchicalModel, model_card
from hmc_shared.resizing import Resize
from mulsupcon_ld.networks import build_encoder, build_projection

CARD = model_card(
    "mulsupcon-ld",
    """# {{ model_name | default("Multi-label classifier", true) }}

Trained with `mulsupcon-ld`:

```python
from mulsupcon_ld import load_model

model = load_model("path/to/this/folder")
probabilities = model.predict_proba(inputs)  # features (n, F), NaN where missing, or uint8 images; (n, C)
labels = model.predict(inputs)  # (n, C) bool
model.hierarchy.names  # the C classes
```

`config.json` holds the classes and the options of the network, `model.safetensors` the weights, the
statistics that normalise the inputs and the calibration, `decision.json` how labels are chosen. How it was
trained and what it scores is in the `results.json` of its run folder. The model in the folder `pretrained` of
a run is that before the fine-tuning: its `distributions(inputs)` are the recovered label distributions.
""",
    ["multi-label-classification", "contrastive-learning"],
)


class MulSupCon(HierarchicalModel, **CARD):
    """Embeddings for the contrastive losses, and one logit for each class (Sections 3.2 and 4).

    The layer ``fc`` generates the label distributions, D = softmax(fc(r)), in pre-training and classifies,
    by a sigmoid, after it. Its input r is the encoder's representation, which the paper leaves open (its
    Algorithm 1 has an undefined q): the projection is not needed for classification.

    Args:
        hierarchy: the C classes; without edges, plain labels.
        input_shape: (F,) of vectors, or (channels, height, width) of images.
        encoder: "mlp", or a network of :func:`hmc_shared.vision.encoders.image_encoder`.
        stem, max_pool, width, dropout: of :func:`mulsupcon_ld.networks.build_encoder`.
        projection: "mlp" or "linear".
        dim: d, dimension of the embeddings.
        distribution_of: what ``fc`` takes, "representation" or "embedding".
        coherent: score a class by the best of itself and its descendants.
        resize: how an image of any size becomes the square that a prediction looks at.
    """

    library = "mulsupcon_ld"
    method = "mulsupcon-ld"
    batch_size = 512

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
        distribution_of: Literal["representation", "embedding"] = "representation",
        coherent: bool = True,
        resize: Resize = "crop",
    ) -> None:
        super().__init__(hierarchy, input_shape, coherent=coherent, resize=resize)
        self.on_embedding = distribution_of == "embedding"
        self.encoder, size = build_encoder(
            encoder, self.input_shape, stem=stem, max_pool=max_pool, width=width, dropout=dropout
        )
        self.projection = build_projection(projection, size, dim)
        self.fc = nn.Linear(dim if self.on_embedding else size, len(hierarchy))

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Unit embeddings z (B, d) and logits (B, C) of normalised inputs (B, ...), both float32.

        The labels of the training, which networks of :mod:`mulsupcon_ld.baselines` see, are not used.
        """
        representation = self.encoder(inputs)
        z = F.normalize(self.projection(representation).float(), dim=1)
        return z, self.fc(z if self.on_embedding else representation).float()

    def logits(self, inputs: Tensor) -> Tensor:
        return self.constrained(self(inputs)[1])

    def distributions(self, inputs: Any, batch_size: int | None = None) -> Tensor:
        """Label distributions D (n, C), rows that sum to 1, of raw inputs as for :meth:`predict`.

        They mean what the paper calls so in the model of a run's folder ``pretrained`` only: the fine-tuning
        goes on with the same layer.
        """
        is_constrained, self.is_constrained = self.is_constrained, False  # of fc itself
        try:
            return self.logits_of(inputs, batch_size).softmax(1)
        finally:
            self.is_constrained = is_constrained
