"""Calibration: temperatures fitted on held-out samples, expected calibration error, and two curves.

A model is calibrated if, of the answers given with probability p, a share p is right (Guo et al. 2017). What
an answer is depends on the data: where every sample has at most one class in each level, it is the best class
of a level (top-label calibration, level by level); otherwise every class is an answer of its own, yes or no.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hmc_shared.constraints import max_over_descendants
from hmc_shared.hierarchy import Hierarchy

SHIFT_DEVIATION = 10.0
"""Standard deviation of the normal prior on a shift, in logits: wide, and still finite for a class of all."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """p = sigmoid(z / T + c) with a temperature and a shift for each level (Platt 1999, Guo et al. 2017).

    Temperatures that differ between levels may put a class above its parent, so the constraint is applied
    once more: a class gets the largest probability among itself and its descendants.
    """

    temperature: Tensor
    """(L,) float32, T by depth."""
    shift: Tensor
    """(L,) float32, c by depth; it undoes what re-weighted losses do to all logits of a level."""

    @classmethod
    def none(cls, hierarchy: Hierarchy) -> Calibration:
        """That which changes nothing."""
        levels = hierarchy.num_levels
        return cls(torch.ones(levels), torch.zeros(levels))

    def logits(self, logits: Tensor, hierarchy: Hierarchy) -> Tensor:
        """Calibrated logits (n, C) float32, no class above its parent."""
        depth = hierarchy.depth.to(logits.device)
        temperature, shift = self.temperature.to(logits.device), self.shift.to(logits.device)
        return max_over_descendants(logits.float() / temperature[depth] + shift[depth], hierarchy)

    def probabilities(self, logits: Tensor, hierarchy: Hierarchy) -> Tensor:
        """(n, C) float32, no class above its parent."""
        return self.logits(logits, hierarchy).sigmoid()


def fit_calibration(
    logits: Tensor, targets: Tensor, hierarchy: Hierarchy, evaluated: Tensor | None = None
) -> Calibration:
    """The temperature and the shift of each level with the least cross-entropy on held-out samples.

    Args:
        logits: (n, C) of a sigmoid for each class.
        targets: (n, C) bool, closed.
        hierarchy: the C classes.
        evaluated: (C,) bool, the classes that count, because others may not have been trained; default: all.
            A level without any keeps its probabilities.

    Each level is fitted by itself, before the constraint: the sum of the binary cross-entropies, plus
    (ln T)^2 / 2 + (c / 10)^2 / 2, normal priors that keep T and c finite for a level without a mistake.
    """
    counts = torch.arange(len(hierarchy)) if evaluated is None else evaluated.cpu().nonzero().squeeze(1)
    depth = hierarchy.depth.cpu()[counts]
    logits, labels = logits.detach().cpu().double()[:, counts], targets.cpu().double()[:, counts]

    def objective(log_t: Tensor, shift: Tensor) -> Tensor:
        nll = F.binary_cross_entropy_with_logits(
            logits / log_t.exp()[depth] + shift[depth], labels, reduction="sum"
        )
        priors = log_t.square().sum() / 2 + (shift / SHIFT_DEVIATION).square().sum() / 2
        return (nll + priors) / len(logits)  # a mean, for which the optimiser's tolerances are made

    # Start where the mean logit of a level gives its mean label: far from there the curve is flat.
    size = depth.bincount(minlength=hierarchy.num_levels)

    def level_means(values: Tensor) -> Tensor:
        return values.new_zeros(len(size)).index_add(0, depth, values.mean(0)) / size.clamp(min=1)

    start = level_means(labels).clamp(1e-4, 1 - 1e-4).logit() - level_means(logits)
    start = start.where(size > 0, 0.0)
    log_t, shift = _minimise(objective, torch.zeros_like(start), start)
    return Calibration(log_t.exp().float(), shift.float())


def fit_temperatures(
    nll: Callable[[Tensor, Tensor, Hierarchy], Tensor], logits: Tensor, targets: Tensor, hierarchy: Hierarchy
) -> Tensor:
    """One temperature for each level, (L,) float32, of logits (n, C) with any likelihood, such as a softmax.

    They minimise n times ``nll(logits / T, targets, hierarchy)``, a mean over samples, plus the sum of
    (ln T)^2 / 2, a standard normal prior on ln T: without it a level with no mistake would get T = 0.
    """
    logits = logits.double()

    def objective(log_t: Tensor) -> Tensor:
        tempered = logits / log_t.exp()[hierarchy.depth]
        return len(logits) * nll(tempered, targets, hierarchy) + log_t.square().sum() / 2

    (log_t,) = _minimise(objective, logits.new_zeros(hierarchy.num_levels))
    return log_t.exp().float()


def _minimise(objective: Callable[..., Tensor], *start: Tensor) -> list[Tensor]:
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
