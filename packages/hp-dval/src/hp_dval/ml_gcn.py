"""ML-GCN: a graph of labels that occur together makes the classifiers of an encoder from texts."""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hmc_shared.resizing import Resize
from hp_dval.model import CARD
from hp_dval.plain import PlainClassifier

THRESHOLD = 0.4
"""tau: labels with a smaller conditional probability are no neighbours."""
NEIGHBOURS = 0.25
"""p: what all neighbours of a label weigh together, beside 1 of its own."""


class MLGCN(PlainClassifier, **CARD):
    """An encoder whose classifiers a graph network makes of the texts of the classes (Chen et al. 2019).

    Z (C, D_e) are embeddings of the classes, A (C, C) the :func:`label_graph`; the classifiers are

        W = A LeakyReLU(A Z W_1) W_2,    s = W f

    of the features f (D,) of an image, with D / 2 hidden units. The paper's Z are GloVe vectors, its features
    those of a ResNet-101, largest over the places, 1024 of 2048 hidden; here a CLIP embeds the texts, and the
    encoder is any ``--student``, read as it is elsewhere.

    Args:
        hierarchy, input_shape, student, patch_size, width, layers, heads, clip_config, coherent, resize: as
            of :class:`hp_dval.plain.PlainClassifier`.
        dim: D_e, of the CLIP's embeddings.
    """

    method = "ml-gcn"
    head: "GraphHead"

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
        coherent: bool = True,
        resize: Resize = "squash",
    ) -> None:
        super().__init__(
            hierarchy,
            input_shape,
            student=student,
            patch_size=patch_size,
            width=width,
            layers=layers,
            heads=heads,
            clip_config=clip_config,
            coherent=coherent,
            resize=resize,
        )
        self.head = GraphHead(len(hierarchy), dim, self.num_features)


class GraphHead(nn.Module):
    """Features (B, D) to logits (B, C) by classifiers that two graph convolutions make."""

    text: Tensor
    """Z (C, D_e): unit text embeddings."""
    graph: Tensor
    """A (C, C)."""

    def __init__(self, num_classes: int, dim: int, num_features: int) -> None:
        super().__init__()
        hidden = max(num_features // 2, 1)
        self.first = nn.Linear(dim, hidden, bias=False)
        self.second = nn.Linear(hidden, num_features, bias=False)
        self.register_buffer("text", torch.zeros(num_classes, dim))
        self.register_buffer("graph", torch.eye(num_classes))

    def forward(self, features: Tensor) -> Tensor:
        hidden = F.leaky_relu(self.graph @ self.first(self.text), 0.2)
        return features @ (self.graph @ self.second(hidden)).T


def label_graph(
    targets: Tensor,
    known: Tensor | None = None,
    *,
    threshold: float = THRESHOLD,
    neighbours: float = NEIGHBOURS,
) -> Tensor:
    """A (C, C) float32 of the training labels, normalised as in Kipf and Welling 2017.

        B_ij = 1 if P(j | i) = n_ij / n_i >= tau, i != j, else 0
        R_ij = p B_ij / sum_k B_kj + (1 if i = j)
        A = (R D)^T D,  D = diag(sum_j R_ij)^(-1/2)

    It is the graph of the authors' code: columns share p, where the paper's Eq. (8) has rows, 1 - p of them
    for the class itself, and p = .2.

    Args:
        targets: (n, C) bool.
        known: (n, C) bool: n_i counts the rows with i of which j is known; None: all is known.
        threshold, neighbours: tau and p.

    >>> cat_and_pet = torch.tensor([[True, True], [False, True], [False, True]])
    >>> label_graph(cat_and_pet)  # each cat is a pet, a third of the pets are cats
    tensor([[0.8000, 0.0000],
            [0.2236, 1.0000]])
    """
    labels = targets.double()
    counted = torch.ones_like(labels) if known is None else known.double()
    conditional = labels.T @ labels / (labels.T @ counted).clamp(min=1)  # (i, j): P(j | i)
    binary = (conditional >= threshold).double().fill_diagonal_(0)
    weighted = neighbours * binary / binary.sum(0).clamp(min=1) + torch.eye(len(binary)).to(binary)
    scale = weighted.sum(1).rsqrt()
    return ((weighted * scale).T * scale).float()
