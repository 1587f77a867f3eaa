"""The networks that HLSTM is compared with, by Table II or since. All are coherent in the end."""

# Annotations must be types here: see model.py.
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlstm.model import CARD, HLSTM, CoherentModel, hidden_layers, merged_level_sizes
from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_ancestors


class CHMCNN(CoherentModel, **CARD):
    """C-HMCNN(h): a feed-forward network trained by MCLoss (Giunchiglia and Lukasiewicz 2020).

    ``num_layers`` hidden layers of Linear, ReLU, dropout, then a linear output for each class.
    """

    method = "chmcnn"

    def __init__(
        self,
        num_features: int,
        hierarchy: Hierarchy,
        hidden_size: int = 500,
        num_layers: int = 2,
        dropout: float = 0.7,
    ) -> None:
        super().__init__(num_features, hierarchy)
        self.encoder = hidden_layers(num_features, hidden_size, num_layers, dropout)
        self.head = nn.Linear(hidden_size, len(hierarchy))

    def output_layers(self) -> list[list[nn.Linear]]:
        return [[self.head]]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.head(self.encoder(features))
        return logits, logits


class DHN(CoherentModel, **CARD):
    """DHN (2026): two outputs for each class, "is of it" and "is not", each with the constraint of its own.

    What is of a class is of its ancestors, what is not of a class is not of its descendants. The score is
    alpha MCM(h_y) + (1 - alpha) (1 - m), in which m is the largest h_n among the class and its ancestors:
    coherent for every alpha. ``forward`` returns the logits of h_y and h_n.
    """

    method = "dhn"

    def __init__(
        self,
        num_features: int,
        hierarchy: Hierarchy,
        hidden_size: int = 500,
        num_layers: int = 3,
        dropout: float = 0.7,
        global_weight: float = 0.7,
    ) -> None:
        super().__init__(num_features, hierarchy)
        self.global_weight = global_weight  # alpha
        self.encoder = hidden_layers(num_features, hidden_size, num_layers, dropout)
        self.head = nn.Linear(hidden_size, len(hierarchy))
        self.negative_head = nn.Linear(hidden_size, len(hierarchy))

    def output_layers(self) -> list[list[nn.Linear]]:
        return [[self.head], [self.negative_head]]

    @torch.no_grad()
    def init_output_bias(self, frequencies: Tensor) -> None:
        super().init_output_bias(frequencies)
        self.negative_head.bias.neg_()  # h_n is "is not of the class"

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.encoder(features)
        return self.head(hidden), self.negative_head(hidden)

    def final_logits(self, global_logits: Tensor, local_logits: Tensor) -> Tensor:
        positive = self.constrained(global_logits.float())
        negative = max_over_ancestors(local_logits.float(), self.hierarchy)
        return mixed_logits(positive, -negative, self.global_weight)


class CHMCLSTM(HLSTM, **CARD):
    """CHMC-LSTM: the LSTM of HLSTM with MCLoss alone, so without the local path (Section V-B)."""

    method = "chmc-lstm"
    has_local_path = False


class HMCNR(HLSTM, **CARD):
    """HMCN-R (Wehrmann et al. 2018): the same LSTM and local path; predicts with both outputs mixed."""

    method = "hmcn-r"

    def final_logits(self, global_logits: Tensor, local_logits: Tensor) -> Tensor:
        return mixed_logits(global_logits, local_logits)


class HMCNCHMC(HMCNR, **CARD):
    """HMCN-CHMC: HMCN-R with MCLoss as its global loss (Section V-B)."""

    method = "hmcn-chmc"


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that takes a batch of one row, which has no variance, by the running statistics.

    In several processes the statistics are those of each process's part of the batch.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and len(input) == 1:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


class HMCNF(CoherentModel, **CARD):
    """HMCN-F (Wehrmann et al. 2018): a hidden layer of its own for each level.

    A_G^h = f(W_G^h [A_G^{h-1}; x]), A_L^h = f(W_T^h A_G^h), with f = ReLU, batch normalisation, dropout.
    """

    method = "hmcn-f"

    def __init__(
        self,
        num_features: int,
        hierarchy: Hierarchy,
        hidden_size: int = 384,
        dropout: float = 0.6,
        max_levels: int | None = None,
    ) -> None:
        super().__init__(num_features, hierarchy)
        sizes = merged_level_sizes(hierarchy, max_levels)
        widths = [num_features, *[hidden_size + num_features] * (len(sizes) - 1)]

        def layer(width: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(width, hidden_size), nn.ReLU(), BatchNorm(hidden_size), nn.Dropout(dropout)
            )

        self.global_layers = nn.ModuleList(map(layer, widths))
        self.transitions = nn.ModuleList(layer(hidden_size) for _ in sizes)
        self.local_heads = nn.ModuleList(nn.Linear(hidden_size, size) for size in sizes)
        self.global_head = nn.Linear(hidden_size, len(hierarchy))

    def output_layers(self) -> list[list[nn.Linear]]:
        return [[self.global_head], [*self.local_heads]]  # type: ignore[list-item]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        state, local = features, []
        for depth, layer in enumerate(self.global_layers):
            state = layer(torch.cat([state, features], dim=1) if depth else features)
            local.append(self.local_heads[depth](self.transitions[depth](state)))
        return self.global_head(state), torch.cat(local, dim=1)

    def final_logits(self, global_logits: Tensor, local_logits: Tensor) -> Tensor:
        return mixed_logits(global_logits, local_logits)


class HMCLMLP(CoherentModel, **CARD):
    """HMC-LMLP (Cerri et al. 2014): a perceptron for each level that also sees the level above's outputs.

    The published procedure trains level after level: :meth:`train_level`. By default all are trained at once,
    and the outputs are detached between levels, so that the loss of a level reaches its own perceptron alone,
    as there.
    """

    method = "hmc-lmlp"

    def __init__(
        self,
        num_features: int,
        hierarchy: Hierarchy,
        hidden_size: int = 384,
        dropout: float = 0.0,
        max_levels: int | None = None,
    ) -> None:
        super().__init__(num_features, hierarchy)
        sizes = merged_level_sizes(hierarchy, max_levels)
        widths = [num_features, *[num_features + size for size in sizes[:-1]]]
        self.encoders = nn.ModuleList(hidden_layers(width, hidden_size, 1, dropout) for width in widths)
        self.heads = nn.ModuleList(nn.Linear(hidden_size, size) for size in sizes)

    def output_layers(self) -> list[list[nn.Linear]]:
        return [[*self.heads]]  # type: ignore[list-item]

    def train_level(self, level: int) -> None:
        """Let nothing be random in the others: the outputs of those above are what they will predict."""
        for depth, encoder in enumerate(self.encoders):
            encoder.train(depth == level)

    def drop_gradients_but(self, level: int) -> None:
        """The optimiser leaves a parameter without a gradient where it is, whatever its weight decay."""
        for depth, parts in enumerate(zip(self.encoders, self.heads, strict=True)):
            for parameter in (p for part in parts for p in part.parameters() if depth != level):
                parameter.grad = None

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        seen, logits = features, []
        for encoder, head in zip(self.encoders, self.heads, strict=True):
            logits.append(head(encoder(seen)))
            seen = torch.cat([features, logits[-1].detach().sigmoid()], dim=1)
        together = torch.cat(logits, dim=1)
        return together, together


def mixed_logits(first: Tensor, second: Tensor, weight: float = 0.5) -> Tensor:
    """Logits of weight x first + (1 - weight) x second as probabilities, without leaving logits.

    With weight 0.5, HMCN's P_F with its beta, of global and local logits.
    """
    if weight == 1:
        return first
    odds = math.log(weight / (1 - weight)) if weight else -math.inf  # of the weights: their sum cancels
    log_p = torch.logaddexp(F.logsigmoid(first) + odds, F.logsigmoid(second))
    log_not_p = torch.logaddexp(F.logsigmoid(-first) + odds, F.logsigmoid(-second))
    return log_p - log_not_p
