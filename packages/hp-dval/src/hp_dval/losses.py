"""Losses of logits (B, C) and labels (B, C) bool, one number a sample (B,): the mean over its classes.

Everything that depends on the class frequencies takes ``counts`` (C,), the positives n_i of each class among
n training samples, which come from the labels. Logits are the scaled scores s. BCE and ASL, which other
packages have, too, are in :mod:`hmc_shared.losses`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from hmc_shared.losses import asymmetric_loss as asymmetric_loss
from hmc_shared.losses import bce_loss as bce_loss

Focal = Literal["element", "batch", "off"]
Rebalance = Literal["sample", "class", "off"]
Bias = Literal["code", "paper"]
Distance = Literal["mean", "sum"]
LDAM_SCALE = 30.0
"""What cosines are multiplied by in LDAM."""


def reweighted_bce_loss(logits: Tensor, labels: Tensor, counts: Tensor, n: int) -> Tensor:
    """RW: binary cross-entropy of which each class counts sqrt(n / n_i), positives and negatives alike.

    A class without a positive counts as one with 1.
    """
    weights = (n / counts.clamp(min=1).to(logits)).sqrt()
    return (weights * F.binary_cross_entropy_with_logits(logits, labels.to(logits), reduction="none")).mean(1)


def ldam_loss(
    logits: Tensor, labels: Tensor, counts: Tensor, *, margin: float = 0.5, scale: float = LDAM_SCALE
) -> Tensor:
    """LDAM (Cao et al. 2019) with sigmoids: binary cross-entropy in which positives are short of a margin.

    The margin of a class is proportional to n_i^(-1/4), the largest is ``margin``. The original has a softmax
    over exclusive classes (Eq. 13); its logits are ``scale`` x cosines, of which the margin is taken off.

    Args:
        logits: (B, C), scale x cosines.
        counts: (C,), n_i; a class without a positive counts as one with 1.

    >>> logits, labels = torch.zeros(1, 2), torch.tensor([[True, True]])
    >>> ldam_loss(logits, labels, torch.tensor([16, 1]), scale=2.0)  # margins 1/4, 1/2: ln(1 + e^(2 m))
    tensor([1.1437])
    """
    margins = counts.clamp(min=1).to(logits) ** -0.25
    margins = margin * margins / margins.max()
    return bce_loss(logits - scale * margins * labels, labels)


def caption_loss(
    captions: Tensor,
    texts: Tensor,
    labels: Tensor,
    counts: Tensor,
    unknown: Tensor | None = None,
    *,
    margin: float = 0.2,
) -> Tensor:
    """The class-specific embedding loss after LMPT (Xia et al. 2024), of captions and texts of classes, (B,).

    With d_ki = 1 - cos(caption k, text i): d_ki for the labels of sample k, max(0, m_i - d_ki) for the other
    classes, mean over the classes. The margin m_i = margin / c_i^(1/4), c_i = n_i / sum n, is larger for rare
    classes.

    Args:
        captions, texts: unit embeddings (B, D_e) and (C, D_e).
        labels: (B, C) bool.
        counts: (C,), n_i; a class without a positive counts as one with 1.
        unknown: (B, C) bool, labels without a term; None: all have one.
    """
    n_i = counts.clamp(min=1).to(captions)
    margins = margin / (n_i / n_i.sum()) ** 0.25
    distances = 1 - captions @ texts.T
    terms = torch.where(labels, distances, (margins - distances).clamp(min=0))
    return (terms if unknown is None else terms.masked_fill(unknown, 0.0)).mean(1)


def ranking_loss(logits: Tensor, labels: Tensor, *, margin: float = 1.0) -> Tensor:
    """The ranking loss of TaI-DPT (Guo et al. 2023), (B,): max(0, m - s_i + s_j), over labels i and others j.

    Summed over the pairs, divided by the number of classes.

    >>> ranking_loss(torch.tensor([[2.0, 1.5, 0.0]]), torch.tensor([[True, False, False]]))  # 0.5 / 3
    tensor([0.1667])
    """
    short = (margin - logits.unsqueeze(2) + logits.unsqueeze(1)).clamp(min=0)  # (B, labels, others)
    is_pair = labels.unsqueeze(2) & ~labels.unsqueeze(1)
    return (short * is_pair).sum((1, 2)) / logits.shape[1]


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
