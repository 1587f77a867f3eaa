"""Calibration: temperatures fitted on held-out samples, expected calibration error, and two curves.

A model is calibrated if, of the answers given with probability p, a share p is right (Guo et al. 2017). What
an answer is depends on the data: where every sample has at most one class in each level, it is the best class
of a level (top-label calibration, level by level); otherwise every class is an answer of its own, yes or no.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hmc_shared.constraints import max_over_descendants
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.metrics import is_single_path

BINS = 15
"""Equal parts of [0, 1] in which probabilities are compared with outcomes, as in Guo et al. (2017)."""
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


@dataclass(frozen=True, eq=False)
class Reliability:
    """Probabilities and outcomes, bin by bin; NaN in empty bins."""

    edges: np.ndarray
    """(B + 1,) the bins: (0, 1/B], (1/B, 2/B] ...; 0 is in the first."""
    count: np.ndarray
    """(B,) int64."""
    confidence: np.ndarray
    """(B,) mean probability."""
    accuracy: np.ndarray
    """(B,) share of right answers."""

    @property
    def error(self) -> float:
        """Expected calibration error: mean of |accuracy - confidence|, weighted by count; NaN if empty."""
        filled = self.count > 0
        if not filled.any():
            return float("nan")
        gaps = np.abs(self.accuracy - self.confidence)[filled]
        return float(np.average(gaps, weights=self.count[filled]))


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Compare probabilities (m,) with outcomes (m,) bool in bins of equal width.

    Raises ValueError for probabilities outside [0, 1] and for other lengths.
    """
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if confidence.shape != correct.shape or confidence.ndim != 1:
        found = f"{confidence.shape} and {correct.shape}"
        raise ValueError(f"`confidence` and `correct` should have the same shape (m,). Found {found}.")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("`confidence` should lie in [0, 1].")
    edges = np.linspace(0, 1, bins + 1)
    of = np.maximum(np.searchsorted(edges, confidence, side="left") - 1, 0)
    count = np.bincount(of, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(of, weights=w, minlength=bins) / count for w in (confidence, correct)]
    return Reliability(edges, count, *means)


def top_labels(
    probabilities: np.ndarray, targets: np.ndarray, hierarchy: Hierarchy, evaluated: np.ndarray | None = None
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Depth to the probability of the level's best class, and whether it is a true one: (m,) and (m,) bool.

    Counted over the samples that have a class in the level, and the ``evaluated`` classes (C,) bool.
    Probabilities and targets are (n, C). Levels without such samples are left out.
    """
    found = {}
    for depth, level in enumerate(hierarchy.levels):
        nodes = np.arange(level.start, level.stop)
        nodes = nodes if evaluated is None else nodes[evaluated[nodes]]
        p, true = probabilities[:, nodes], targets[:, nodes].astype(bool)
        rows = true.any(1)
        if rows.any():
            best = p[rows].argmax(1)[:, None]
            found[depth] = (
                np.take_along_axis(p[rows], best, 1)[:, 0],
                np.take_along_axis(true[rows], best, 1)[:, 0],
            )
    return found


def calibration_error(
    probabilities: np.ndarray,
    targets: np.ndarray,
    hierarchy: Hierarchy,
    evaluated: np.ndarray | None = None,
    bins: int = BINS,
) -> float:
    """Expected calibration error of probabilities (n, C) for closed targets (n, C).

    Where every sample has at most one class in each level: the mean over levels of the top-label error
    (:func:`top_labels`). Otherwise the mean over classes of the binary error, probability of the class
    against its presence. Only ``evaluated`` classes (C,) bool count. NaN if there is nothing to count.
    """
    targets = targets.astype(bool)
    if is_single_path(targets, hierarchy):
        answers = list(top_labels(probabilities, targets, hierarchy, evaluated).values())
    else:
        nodes = range(len(hierarchy)) if evaluated is None else np.flatnonzero(evaluated)
        answers = [(probabilities[:, node], targets[:, node]) for node in nodes]
    errors = [reliability(p, right, bins).error for p, right in answers]
    return float(np.mean(errors)) if errors else float("nan")


def accuracy_coverage(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and accuracy if only answers at or above a bound are given, for each bound that matters.

    ``confidence`` (m,) and ``correct`` (m,) bool. Returns two arrays by rising coverage, a point for each
    different confidence, from the largest: the share of samples answered, and the share of right ones among
    them (one minus the selective risk of Geifman and El-Yaniv 2017).
    """
    confidence, correct = np.asarray(confidence), np.asarray(correct, dtype=np.float64)
    order = np.argsort(-confidence, kind="stable")
    confidence, right = confidence[order], correct[order].cumsum()
    last = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True)[: len(confidence)])
    answered = last + 1
    return answered / max(len(confidence), 1), right[last] / answered
