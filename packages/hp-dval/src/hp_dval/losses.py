"""Losses of logits (B, C) and labels (B, C) bool, one number a sample (B,): the mean over its classes.

Everything that depends on the class frequencies takes ``counts`` (C,), the positives n_i of each class among
n training samples, which come from the labels. Logits are the scaled scores s.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from hmc_shared import losses

Focal = Literal["element", "batch", "off"]
Rebalance = Literal["sample", "class", "off"]
Bias = Literal["code", "paper"]
Distance = Literal["mean", "sum"]


def bce_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy. The multi-label soft margin loss (MLS) of PyTorch is the same function."""
    return F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none").mean(1)


def asymmetric_loss(logits: Tensor, labels: Tensor, **options: float) -> Tensor:
    """ASL; the options ``gamma_positive``, ``gamma_negative``, ``margin`` of the shared, elementwise loss.

    >>> logits, labels = torch.tensor([[0.0, -4.0]]), torch.tensor([[True, False]])
    >>> bce_loss(logits, labels), asymmetric_loss(logits, labels)  # an easy negative counts nothing
    (tensor([0.3556]), tensor([0.3466]))
    """
    return losses.asymmetric_loss(logits, labels, **options).mean(1)


def class_balanced_focal_loss(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    beta: float = 0.9,
    focal: Focal = "element",
    gamma: float = 2.0,
    factor: float = 2.0,
) -> Tensor:
    """CB focal loss (Cui et al. 2019, Eq. 10), a sample weighted by the mean over the labels that it has.

    The weight of a class is (1 - beta) / (1 - beta^n_i), scaled to mean 1 over the classes. All entries of a
    sample share its weight, as the entries of a single-label sample do there; 1 if it has no label.
    """
    weights = (1 - beta) / (1 - beta ** counts.clamp(min=1).to(logits))
    weights = weights / weights.mean()
    present = labels.sum(1)
    of_samples = torch.where(present > 0, labels.to(weights) @ weights / present.clamp(min=1), 1.0)
    weight = of_samples.unsqueeze(1).expand_as(logits)
    return _focal(logits, labels, weight, focal=focal, gamma=gamma, factor=factor)


def db_loss(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    n: int,
    *,
    weighted_positives: bool,
    tau: float = 0.1,
    beta: float = 10.0,
    mu: float = 0.2,
    negative_scale: float = 2.0,
    kappa: float = 0.05,
    rebalance: Rebalance = "sample",
    bias: Bias = "code",
    focal: Focal = "element",
    gamma: float = 2.0,
    factor: float = 2.0,
) -> Tensor:
    """The distribution-balanced focal loss (Wu et al. 2020), or DB*, Eq. (15), with ``weighted_positives``.

        r_ki [y_i log(1 + exp(-w_i (s_i - v_i))) + 1/lambda (1 - y_i) log(1 + exp(lambda (s_i - v_i)))]

    Args:
        logits, labels: (B, C).
        counts: (C,), n_i.
        n: number of training samples.
        weighted_positives: w_i = n_i / max n, Eq. (14); else 1, which is DB, Eq. (13).
        tau, beta, mu: of the re-balancing weight, Eq. (11), which counts for positives and negatives.
        negative_scale: lambda.
        kappa: of the bias v_i = kappa log(n / n_i - 1), Eq. (12).
        rebalance: what 1 / n_i is divided by in Eq. (11): the sum over the labels that the sample has (DB
            paper), over all classes (as printed; a constant for each class), or no weights at all.
        bias: v_i as in DB's code, which divides it by lambda, or as printed.
        focal: factor (1 - p_t)^gamma x ``factor``, with p_t of the shifted and scaled logits: for each
            entry; one for all entries of the batch (of this process), from the mean of their cross-entropies,
            as in copies of the code; or none, Eq. (13) and (15) as printed.

    A class with no positive counts as one with 1, one without negatives as one with n - 1.
    """
    n_i = counts.to(logits).clamp(min=1).clamp(max=max(n - 1, 1))
    v = kappa * torch.log((n / n_i - 1).clamp(min=1 / n))  # without effect but for n = 1
    if bias == "code":
        v = v / negative_scale
    shifted = logits - v
    w = n_i / n_i.max() if weighted_positives else torch.ones_like(n_i)
    scaled = torch.where(labels, w * shifted, negative_scale * shifted)
    weight = labels.to(logits) + (~labels).to(logits) / negative_scale
    if rebalance != "off":
        inverse = 1 / n_i
        total = (labels * inverse).sum(1, keepdim=True) if rebalance == "sample" else inverse.sum()
        # A sample without labels has total 0: its weight is the largest that there is, tau + 1.
        weight = weight * (tau + torch.sigmoid(beta * (inverse / total.clamp(min=1e-30) - mu)))
    return _focal(scaled, labels, weight, focal=focal, gamma=gamma, factor=factor)


def _focal(
    logits: Tensor, labels: Tensor, weight: Tensor, *, focal: Focal, gamma: float, factor: float
) -> Tensor:
    """Weighted cross-entropies times the focal factor (Lin et al. 2017), (B,)."""
    entropies = F.binary_cross_entropy_with_logits(logits, labels.to(logits), reduction="none")  # -log p_t
    if focal == "off":
        return (weight * entropies).mean(1)
    if focal == "batch":
        return factor * (1 - torch.exp(-entropies.mean())) ** gamma * (weight * entropies).mean(1)
    missing = -torch.expm1(-entropies)  # 1 - p_t
    return factor * (missing**gamma * weight * entropies).mean(1)


def l1_distance(a: Tensor, b: Tensor, distance: Distance = "mean") -> Tensor:
    """|a - b|_1 of vectors (..., d): sum over d, or mean, which does not depend on the dimension.

    Eq. (2) and (10) print the norm, a sum: 512 times as large beside the classification loss.
    """
    return (a - b).abs().sum(-1) if distance == "sum" else (a - b).abs().mean(-1)
