"""Calibration of a sigmoid for each class: a temperature and a shift for each level, fitted on validation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmc_shared.hierarchy import Hierarchy
from hmc_shared.partial_labels import NEVER

SHIFT_DEVIATION = 10.0
"""Standard deviation of the normal prior on a shift, in logits: wide, and still finite for a class of all."""


class Calibration(nn.Module):
    """z / T + c with a temperature and a shift for each level (Platt 1999, Guo et al. 2017).

    As made, it changes nothing. Temperatures that differ between levels may put a class above its parent, so
    a coherent model applies the constraint once more.

    Attributes:
        temperature: (L,) float32, T by depth.
        shift: (L,) float32, c by depth; it undoes what re-weighted losses do to all logits of a level.
    """

    temperature: Tensor
    shift: Tensor

    def __init__(self, num_levels: int) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.ones(num_levels))
        self.register_buffer("shift", torch.zeros(num_levels))

    def reset(self) -> None:
        self.temperature.fill_(1.0)
        self.shift.fill_(0.0)

    def forward(self, logits: Tensor, hierarchy: Hierarchy) -> Tensor:
        """(n, C) float32."""
        depth = hierarchy.to(logits.device).depth
        temperature, shift = self.temperature.to(logits.device), self.shift.to(logits.device)
        return logits.float() / temperature[depth] + shift[depth]

    def fit(
        self, logits: Tensor, targets: Tensor, hierarchy: Hierarchy, evaluated: Tensor | None = None
    ) -> None:
        """Take the temperature and the shift of each level with the least cross-entropy on held-out samples.

        Args:
            logits: (n, C) of a sigmoid for each class; ``NEVER`` where a label is unknown: it counts nothing.
            targets: (n, C) bool, ancestors included.
            hierarchy: the C classes.
            evaluated: (C,) bool, the classes that count, because others may not have been trained; default:
                all. A level without any keeps its probabilities.

        Each level is fitted by itself, before the constraint: the sum of the binary cross-entropies, plus
        (ln T)^2 / 2 + (c / 10)^2 / 2, normal priors that keep T and c finite for a level without a mistake.
        """
        counts = torch.arange(len(hierarchy)) if evaluated is None else evaluated.cpu().nonzero().squeeze(1)
        depth = hierarchy.depth.cpu()[counts]
        logits, labels = logits.detach().cpu().double()[:, counts], targets.cpu().double()[:, counts]
        known = (logits > NEVER).double()

        def objective(log_t: Tensor, shift: Tensor) -> Tensor:
            nll = F.binary_cross_entropy_with_logits(
                logits / log_t.exp()[depth] + shift[depth], labels, known, reduction="sum"
            )
            priors = log_t.square().sum() / 2 + (shift / SHIFT_DEVIATION).square().sum() / 2
            return (nll + priors) / len(logits)  # a mean, for which the optimiser's tolerances are made

        # Start where the mean logit of a level gives its mean label: far from there the curve is flat.
        size = labels.new_zeros(hierarchy.num_levels).index_add(0, depth, known.sum(0))

        def level_means(values: Tensor) -> Tensor:
            sums = (values * known).sum(0)
            return values.new_zeros(len(size)).index_add(0, depth, sums) / size.clamp(min=1)

        start = level_means(labels).clamp(1e-4, 1 - 1e-4).logit() - level_means(logits)
        start = start.where(size > 0, 0.0)
        log_t, shift = minimise(objective, torch.zeros_like(start), start)
        self.temperature.copy_(log_t.exp())
        self.shift.copy_(shift)


def minimise(objective: Callable[..., Tensor], *start: Tensor) -> list[Tensor]:
    """The parameters at which a smooth objective is least, by L-BFGS from ``start``."""
    parameters = [values.clone().requires_grad_() for values in start]
    optimizer = torch.optim.LBFGS(parameters, max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = objective(*parameters)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[arg-type]
    return [values.detach() for values in parameters]
