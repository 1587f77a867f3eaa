"""BBN: one branch for all samples, one for rare classes; training goes over from the first to the second."""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hmc_shared import Hierarchy
from hmc_shared.data.batches import batches, deal, epoch_generator
from hmc_shared.resizing import Resize
from hp_dval.model import CARD, Outputs, Prompter
from hp_dval.plain import PlainClassifier


class BBN(PlainClassifier, **CARD):
    """An encoder with two branches and cumulative learning (Zhou et al. 2020).

    In a training step the conventional branch has samples drawn uniformly, x_c, the other one samples of
    rare classes, x_r (:func:`reversed_order`), and a falls from 1 to 0 (:func:`cumulative_weight`):

        z = W [2 a f_c(x_c), 2 (1 - a) f_r(x_r)] + b,    loss = a L(z, y_c) + (1 - a) L(z, y_r)

    In predictions both have the same image, and a is 1/2. The original is for exclusive classes, with a
    softmax, and its branches are copies of a ResNet's last block. For several labels, and any encoder, L is
    a ``--loss`` of this package, and a branch is a residual block of two linear layers behind the encoder.

    Args:
        hierarchy, input_shape, student, patch_size, width, layers, heads, clip_config, coherent, resize: as
            of :class:`hp_dval.plain.PlainClassifier`.
    """

    method = "bbn"
    alpha: Tensor
    """a of this epoch."""

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
        self.conventional, self.rebalancing = Branch(self.num_features), Branch(self.num_features)
        self.head = nn.Linear(2 * self.num_features, len(hierarchy))
        self.register_buffer("alpha", torch.tensor(1.0), persistent=False)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        self.alpha.fill_(cumulative_weight(epoch, epochs))

    def forward(self, inputs: Tensor, prompter: Prompter | None = None) -> Outputs:
        """Normalised images to logits (B, C).

        In training the first half of the images is drawn uniformly, the second half reversed, and both have
        the same logits.
        """
        features = self.features(inputs)
        uniform, rare = features.tensor_split(2) if self.training else (features, features)
        alpha = self.alpha if self.training else torch.full_like(self.alpha, 0.5)
        both = [alpha * self.conventional(uniform), (1 - alpha) * self.rebalancing(rare)]
        logits = self.head(2 * torch.cat(both, dim=1)).float()
        return Outputs(logits.repeat(2, 1) if self.training else logits, None, None)

    def alignment_groups(self, learning_rate: float, layer_decay: float) -> list[dict[str, Any]]:
        branches = [*self.conventional.parameters(), *self.rebalancing.parameters()]
        of_plain = super().alignment_groups(learning_rate, layer_decay)
        return [*of_plain, {"params": branches, "lr": learning_rate}]


class Branch(nn.Module):
    """Features (B, D) to features: x + W_2 ReLU(W_1 norm(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.block(features)


def cumulative_weight(epoch: int, epochs: int) -> float:
    """a = 1 - (T / T_max)^2 of an epoch T, counted from 0: the weight of the conventional branch.

    >>> [cumulative_weight(epoch, 4) for epoch in range(4)]
    [1.0, 0.9375, 0.75, 0.4375]
    """
    return 1 - (epoch / epochs) ** 2


def bilateral_batches(
    targets: Tensor, batch_size: int, alpha: float, *, seed: int, epoch: int, rank: int = 0, world: int = 1
) -> list[tuple[Tensor, Tensor]]:
    """The batches of an epoch, as :func:`hmc_shared.data.batches.deal` gives them, for both branches.

    The first half of a batch is drawn uniformly and weighs ``alpha`` together, the second half reversed and
    weighs 1 - ``alpha``: ``batch_size`` rows each, so an epoch costs two of other methods.
    """
    uniform = batches(len(targets), batch_size, seed=seed, epoch=epoch, rank=rank, world=world)
    order = reversed_order(targets.cpu(), len(targets), seed=seed, epoch=epoch)
    rare = deal(order, batch_size, rank=rank, world=world)
    return [
        (torch.cat([rows_c, rows_r]), torch.cat([alpha * weights_c, (1 - alpha) * weights_r]))
        for (rows_c, weights_c), (rows_r, weights_r) in zip(uniform, rare, strict=True)
    ]


def reversed_order(targets: Tensor, size: int, *, seed: int, epoch: int) -> Tensor:
    """Row numbers (size,) int64 of one epoch of reversed sampling, by ``seed`` and ``epoch`` alone.

    A class with n_i rows is drawn with a probability proportional to 1 / n_i, then one of its rows; both with
    replacement. ``targets`` is (n, C) bool. Raises ValueError if there is no positive.
    """
    counts = targets.sum(0)
    if not counts.any():
        raise ValueError("`targets` should have a positive. Found none.")
    generator = epoch_generator(seed, epoch)
    weights = torch.where(counts > 0, 1 / counts.clamp(min=1).double(), 0.0)
    classes = torch.multinomial(weights, size, replacement=True, generator=generator)
    shares = torch.rand(size, generator=generator, dtype=torch.float64)
    order = torch.empty(size, dtype=torch.int64)
    for label in classes.unique().tolist():
        rows, is_drawn = targets[:, label].nonzero().flatten(), classes == label
        order[is_drawn] = rows[(shares[is_drawn] * len(rows)).long()]
    return order
