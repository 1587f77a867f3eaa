"""HCAL: features and a prototype for each class on a sphere; the nearest one of each level is predicted."""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hcal.config import Decode
from hcal.decoding import (
    PathCalibration,
    best_through,
    leaf_scores,
    level_labels,
    level_log_odds,
    path_labels,
    path_scores,
)
from hcal.networks import build_encoder
from hmc_shared import Hierarchy
from hmc_shared.model import HierarchicalModel, model_card
from hmc_shared.predict.decision import confident_labels
from hmc_shared.resizing import Resize
from hmc_shared.vision.stages import encoder_groups

CARD = model_card(
    "hcal",
    """# {{ model_name | default("Hierarchical classifier", true) }}

Trained with `hcal`. For each level of its tree of classes it names a node, and gives every class a
probability that does not exceed its parent's:

```python
from hcal import load_model

model = load_model("path/to/this/folder")
probabilities = model.predict_proba(images)  # uint8 (n, channels, height, width); (n, C)
labels = model.predict(images)  # (n, C) bool, a class of each level
model.hierarchy.names  # the C classes
```

`hcal predict path/to/this/folder photo.jpg` does the same for files. `config.json` holds the tree and the
options of the network, `model.safetensors` the weights, the statistics of the inputs and the calibration. How
it was trained and what it scores is in the `results.json` of its run folder.
""",
    ["hierarchical-multi-label-classification", "image-classification"],
)


DOUBLINGS = 10
"""Times that the step size of prototypes is doubled from the finest level upwards, at most."""


class LevelClassifier(HierarchicalModel, **CARD):
    """What HCAL and its baselines have in common: a softmax over the nodes of each level.

    ``forward`` takes normalised inputs (B, ...) and returns what the losses need; ``logits_of_outputs`` turns
    that into logits (B, C), whose softmax over each level's slice is the level's own prediction.
    Probabilities of classes come from one distribution over the complete paths instead, see
    :func:`hcal.decoding.path_probabilities`: also for samples whose path ends early, they are coherent.
    """

    library = "hcal"

    def __init__(
        self, hierarchy: Hierarchy, input_shape: Sequence[int], decode: Decode, resize: Resize
    ) -> None:
        super().__init__(hierarchy, input_shape, resize=resize)
        self.decode = decode
        self.calibration = PathCalibration()

    def logits_of_outputs(self, outputs: Tensor) -> Tensor:
        """(B, C) float32 logits of what ``forward`` returned."""
        raise NotImplementedError

    def backbones(self) -> list[nn.Module]:
        """The encoders of :func:`hcal.networks.build_encoder`, which may start from pre-trained weights."""
        raise NotImplementedError

    def parameter_groups(
        self, learning_rate: float, prototype_learning_rate: float, layer_decay: float = 1.0
    ) -> list[dict[str, Any]]:
        """Groups for the optimiser, each with its ``lr``: what is trained of the encoders, and the rest."""
        backbones = self.backbones()
        groups = [
            group for encoder in backbones for group in encoder_groups(encoder, learning_rate, layer_decay)
        ]
        inside = {id(parameter) for encoder in backbones for parameter in encoder.parameters()}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in inside]
        return [*groups, {"params": rest, "lr": learning_rate}]

    def logits(self, inputs: Tensor) -> Tensor:
        return self.logits_of_outputs(self(inputs)).float()

    def to_scores(self, logits: Tensor) -> Tensor:
        """Log-odds (n, C) by ``decode``: of each node in its level, or of the best path through it."""
        hierarchy = self.hierarchy.to(logits.device)
        if self.decode == "independent":
            return level_log_odds(logits, hierarchy)
        return best_through(self.whole_scores(logits), hierarchy)

    def whole_scores(self, logits: Tensor) -> Tensor:
        """What ``decode`` ranks whole paths by, (n, leaves): all of their nodes, or their leaf."""
        scores_of = leaf_scores if self.decode == "leaf" else path_scores
        return scores_of(logits, self.hierarchy.to(logits.device))

    def to_probabilities(self, logits: Tensor) -> Tensor:
        return self.calibration(logits, self.hierarchy.to(logits.device))

    def rule(self) -> dict[str, Any]:
        """How :meth:`to_labels` decides: by the best class of each "levels", or by the best "leaf"."""
        return {"rule": "levels" if self.decode == "independent" else "leaf", "of": "scores"}

    def to_labels(self, logits: Tensor, min_confidence: float | None = None) -> Tensor:
        """The predicted classes (n, C) bool by ``decode``: the best of each level, or those of one path.

        The best nodes of the levels may contradict each other. With ``min_confidence``: down to the deepest
        class that is so probable.
        """
        hierarchy = self.hierarchy.to(logits.device)
        if min_confidence is not None:
            probabilities = self.to_probabilities(logits)
            return confident_labels(probabilities, hierarchy, min_confidence, single_path=True)
        if self.decode == "independent":
            return level_labels(self.to_scores(logits), hierarchy)
        return path_labels(self.whole_scores(logits), hierarchy)


class HCAL(LevelClassifier, **CARD):
    """Encoder, projection to d dimensions, and a set of prototypes for each level.

    In prediction a sample is compared by its own feature at every level, which is what the paper's code does.
    Section 3.5 averages over groups, and does not say of which labels: ``decode="leaf"`` predicts them.

    Args:
        hierarchy: the C classes, a tree.
        input_shape: (channels, height, width) of images, or (F,) of vectors.
        encoder, stem, max_pool, width: see :func:`hcal.networks.build_encoder`.
        dim: d, dimension of features and prototypes.
        temperature: tau, what cosine similarities are divided by.
        task: "multi", or "single" for a network of its own for each level.
        decode: "independent", "path" or "leaf", what ``predict`` names.
        resize: how an image of any size becomes the square that a prediction looks at.
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
        decode: Decode = "independent",
        resize: Resize = "crop",
    ) -> None:
        super().__init__(hierarchy, input_shape, decode, resize)
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

    def logits_of_outputs(self, outputs: Tensor) -> Tensor:
        """Cosine similarity to each prototype over temperature, Eq. (5)."""
        if outputs.ndim == 2:
            similarities = outputs @ F.normalize(torch.cat(list(self.prototypes))).T
        else:
            levels = zip(outputs.unbind(1), self.prototypes, strict=True)
            similarities = torch.cat([features @ F.normalize(p).T for features, p in levels], dim=1)
        return similarities / self.temperature

    def backbones(self) -> list[nn.Module]:
        return [encoder[0] for encoder in self.encoders]  # type: ignore[index]

    def parameter_groups(
        self, learning_rate: float, prototype_learning_rate: float, layer_decay: float = 1.0
    ) -> list[dict[str, Any]]:
        """The encoder, and the prototypes of each level with twice the step size of the level below.

        Deviation: doubled :data:`DOUBLINGS` times at most, or a tree of a hundred levels would learn nothing.
        """
        groups = super().parameter_groups(learning_rate, prototype_learning_rate, layer_decay)
        groups[-1]["params"] = [p for encoder in self.encoders for p in encoder[1].parameters()]  # type: ignore[index]
        for height, prototypes in enumerate(reversed(self.prototypes)):  # 0: the paper's level 1, the finest
            groups.append(
                {"params": [prototypes], "lr": prototype_learning_rate * 2 ** min(height, DOUBLINGS)}
            )
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
        decode: Decode = "independent",
        resize: Resize = "crop",
    ) -> None:
        super().__init__(hierarchy, input_shape, decode, resize)
        self.encoder, size = build_encoder(encoder, input_shape, stem=stem, max_pool=max_pool, width=width)
        self.heads = nn.Linear(size, len(hierarchy))

    def backbones(self) -> list[nn.Module]:
        return [self.encoder]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.heads(self.encoder(inputs)).float()

    def logits_of_outputs(self, outputs: Tensor) -> Tensor:
        return outputs
