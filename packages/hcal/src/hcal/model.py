"""HCAL: features and a prototype for each class on a sphere; the nearest one of each level is predicted."""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torch.nn import functional as F

from hcal.decoding import (
    best_nodes,
    best_paths,
    level_log_odds,
    level_nll,
    path_log_odds,
    path_nll,
)
from hcal.encoders import build_encoder
from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_descendants
from hmc_shared.predict.calibration import fit_temperatures
from hmc_shared.predict.decision import check_inputs

MODEL_CARD = """---
{{ card_data }}
---

# {{ model_name | default("Hierarchical classifier", true) }}

Trained with `hcal`. For each level of its tree of classes it names a node, and gives every class a
probability that does not exceed its parent's:

```python
from hcal.methods import load_model

model = load_model("path/to/this/folder")
probabilities, nodes = model.predict(images)  # uint8 (n, channels, height, width)
model.hierarchy.names  # the classes
```

`hcal predict path/to/this/folder photo.jpg` does the same for files. `config.json` holds the tree and the
options of the network, `model.safetensors` the weights, the statistics of the inputs and the calibration. How
it was trained and what it scores is in the `results.json` of its run folder.
"""

CARD = {
    "library_name": "hcal",
    "model_card_template": MODEL_CARD,
    "tags": ["hierarchical-multi-label-classification", "image-classification"],
    "license": "apache-2.0",
    "coders": {Hierarchy: (Hierarchy.to_json, Hierarchy.from_json)},
}


class LevelClassifier(nn.Module, PyTorchModelHubMixin, **CARD):
    """What HCAL and its baselines have in common: a softmax over the nodes of each level.

    ``forward`` takes normalised inputs (B, ...) and returns what the losses need; ``logits_of`` turns that
    into logits (B, C), whose softmax over each level's slice is the prediction.
    """

    method: ClassVar[str]
    input_mean: Tensor
    input_scale: Tensor
    level_temperature: Tensor
    path_temperature: Tensor

    def __init__(self, hierarchy: Hierarchy, input_shape: Sequence[int], decode: str, crop: float) -> None:
        super().__init__()
        self.hierarchy = hierarchy
        self.input_shape = tuple(input_shape)
        self.decode = decode
        self.crop = crop
        statistics = (self.input_shape[0], *[1] * (len(self.input_shape) - 1))  # a feature's or a channel's
        self.register_buffer("input_mean", torch.zeros(statistics))
        self.register_buffer("input_scale", torch.ones(statistics))
        self.register_buffer("level_temperature", torch.ones(hierarchy.num_levels))
        self.register_buffer("path_temperature", torch.ones(hierarchy.num_levels))

    def logits_of(self, outputs: Tensor) -> Tensor:
        """(B, C) float32 logits of what ``forward`` returned."""
        raise NotImplementedError

    def backbones(self) -> list[nn.Module]:
        """The encoders of :func:`hcal.encoders.build_encoder`, which may start from pre-trained weights."""
        raise NotImplementedError

    def parameter_groups(self, learning_rate: float, prototype_learning_rate: float) -> list[dict[str, Any]]:
        """Groups for the optimiser, each with its ``lr``."""
        return [{"params": list(self.parameters()), "lr": learning_rate}]

    def normalize(self, raw: Tensor) -> Tensor:
        """To what ``forward`` takes, from images with values 0 to 255, or raw vectors, NaN where missing."""
        standardised = (raw.float() - self.input_mean) / self.input_scale
        if len(self.input_shape) == 1:
            return standardised.nan_to_num(nan=0.0)
        # Channels last is what convolutions are fastest in, on CPU and GPU alike.
        return standardised.contiguous(memory_format=torch.channels_last)

    def logits(self, inputs: Tensor) -> Tensor:
        """Uncalibrated logits (B, C) of normalised inputs (B, ...).

        In evaluation mode each row is scored by itself.
        """
        return self.logits_of(self(inputs)).float()

    def scores(self, logits: Tensor, decode: str | None = None) -> Tensor:
        """Log-odds (n, C) by ``decode``, default as saved, of uncalibrated logits, calibrated here."""
        hierarchy = self.hierarchy.to(logits.device)
        is_path = (decode or self.decode) == "path"
        temperature = self.path_temperature if is_path else self.level_temperature
        calibrated = logits / temperature.to(logits.device)[hierarchy.depth]
        return path_log_odds(calibrated, hierarchy) if is_path else level_log_odds(calibrated, hierarchy)

    def probabilities(self, raw: Tensor) -> Tensor:
        """Coherent probabilities (B, C) of a raw batch (B, ...); what :mod:`hmc_shared.predict.export` takes."""
        scores = self.scores(self.logits(self.normalize(raw)), "independent")
        return max_over_descendants(scores, self.hierarchy).sigmoid()

    def calibrate(self, logits: Tensor, paths: Tensor) -> None:
        """Fit the temperatures on uncalibrated logits (n, C) and true paths (n, L) of held-out samples."""
        hierarchy = self.hierarchy.to(logits.device)
        self.level_temperature.copy_(fit_temperatures(level_nll, logits, paths, hierarchy))
        self.path_temperature.copy_(fit_temperatures(path_nll, logits, paths, hierarchy))

    @torch.no_grad()
    def predict(self, raw: Any, batch_size: int = 256, decode: str | None = None) -> tuple[Tensor, Tensor]:
        """Coherent probabilities (n, C) and the predicted node of each level, (n, L) ids.

        ``raw`` is (n, channels, height, width) uint8, or raw vectors (n, F), NaN where missing. The
        probability of a node is that of its level's softmax, calibrated, or of a descendant if that has more:
        none exceeds its parent's. ``decode`` "path" names the nodes of the best path, -1 below its end;
        "independent" the best of each level, which may contradict each other; default: as saved.

        Raises ValueError for another shape, or an infinite value.
        """
        raw = check_inputs(raw, self.input_shape)
        device, was_training = self.input_mean.device, self.training
        hierarchy = self.hierarchy.to(device)
        self.eval()
        try:
            logits = [self.logits(self.normalize(rows.to(device))) for rows in raw.split(batch_size)]
        finally:
            self.train(was_training)
        joined = torch.cat(logits)
        probabilities = max_over_descendants(self.scores(joined, "independent"), hierarchy).sigmoid()
        if (decode or self.decode) == "path":
            return probabilities, best_paths(self.scores(joined, "path"), hierarchy)
        return probabilities, best_nodes(joined, hierarchy)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write what :func:`hcal.methods.load_model` reads: config.json, model.safetensors, a model card."""
        config = {**(self._hub_mixin_config or {}), "method": self.method}  # type: ignore[dict-item]
        return super().save_pretrained(save_directory, config=config, **options)


class HCAL(LevelClassifier, **CARD):
    """Encoder, projection to d dimensions, and a set of prototypes for each level.

    At every level a sample is compared by its own feature, in training and in prediction, which is what the
    paper's code does (Section 3.5 would need the labels of the test samples to average over).

    Args:
        hierarchy: the C classes, a tree.
        input_shape: (channels, height, width) of images, or (F,) of vectors.
        encoder, stem, max_pool, width: see :func:`hcal.encoders.build_encoder`.
        dim: d, dimension of features and prototypes.
        temperature: tau, what cosine similarities are divided by.
        task: "multi", or "single" for a network of its own for each level.
        decode: "independent" or "path", what ``predict`` names.
        crop: share of a photograph's shorter side that a prediction looks at; 1 for small images.
    """

    method = "hcal"

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        encoder: str = "resnet18",
        stem: str = "imagenet",
        max_pool: bool = True,
        width: int | None = None,
        dim: int = 256,
        temperature: float = 0.1,
        task: str = "multi",
        decode: str = "independent",
        crop: float = 1.0,
    ) -> None:
        super().__init__(hierarchy, input_shape, decode, crop)
        self.temperature = temperature
        self.encoders = nn.ModuleList()
        for _ in hierarchy.levels if task == "single" else "1":
            network, size = build_encoder(encoder, input_shape, stem=stem, max_pool=max_pool, width=width)
            self.encoders.append(nn.Sequential(network, nn.Linear(size, dim)))
        self.prototypes = nn.ParameterList(0.01 * torch.randn(len(level), dim) for level in hierarchy.levels)

    def forward(self, inputs: Tensor) -> Tensor:
        """Unit features (B, d), or (B, L, d) with a network for each level."""
        features = [F.normalize(encoder(inputs).float(), dim=1) for encoder in self.encoders]
        return features[0] if len(features) == 1 else torch.stack(features, dim=1)

    def logits_of(self, outputs: Tensor) -> Tensor:
        """Cosine similarity to each prototype over temperature, Eq. (5)."""
        if outputs.ndim == 2:
            similarities = outputs @ F.normalize(torch.cat(list(self.prototypes))).T
        else:
            own = zip(outputs.unbind(1), self.prototypes, strict=True)
            similarities = torch.cat([features @ F.normalize(p).T for features, p in own], dim=1)
        return similarities / self.temperature

    def backbones(self) -> list[nn.Module]:
        return [encoder[0] for encoder in self.encoders]  # type: ignore[index]

    def parameter_groups(self, learning_rate: float, prototype_learning_rate: float) -> list[dict[str, Any]]:
        """The encoder, and the prototypes of each level with twice the step size of the level below."""
        groups = [{"params": list(self.encoders.parameters()), "lr": learning_rate}]
        for height, prototypes in enumerate(reversed(self.prototypes)):  # 0: the paper's level 1, the finest
            groups.append({"params": [prototypes], "lr": prototype_learning_rate * 2**height})
        return groups


class Flat(LevelClassifier, **CARD):
    """Hard parameter sharing: one encoder, a linear layer for each level.

    The layers are one, cut into the levels' slices. Arguments as for :class:`HCAL`.
    """

    method = "flat"

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        encoder: str = "resnet18",
        stem: str = "imagenet",
        max_pool: bool = True,
        width: int | None = None,
        decode: str = "independent",
        crop: float = 1.0,
    ) -> None:
        super().__init__(hierarchy, input_shape, decode, crop)
        self.encoder, size = build_encoder(encoder, input_shape, stem=stem, max_pool=max_pool, width=width)
        self.heads = nn.Linear(size, len(hierarchy))

    def backbones(self) -> list[nn.Module]:
        return [self.encoder]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.heads(self.encoder(inputs)).float()

    def logits_of(self, outputs: Tensor) -> Tensor:
        return outputs
