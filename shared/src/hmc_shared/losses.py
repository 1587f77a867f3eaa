"""Losses that more than one package has: of logits and labels (B, C) bool, one number a sample (B,), the mean
over its classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def bce_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy. The multi-label soft margin loss (MLS) of PyTorch is the same function."""
    return F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none").mean(1)


def asymmetric_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma_positive: float = 0.0,
    gamma_negative: float = 4.0,
    margin: float = 0.05,
) -> Tensor:
    """ASL (Ridnik et al. 2021, Eq. 7).

    (1 - p)^gamma+ (-ln p) for positives; q^gamma- (-ln(1 - q)) with q = max(p - margin, 0) for negatives. The
    focusing factors have their gradient, as the equation says; the public code can stop it.

    >>> logits, labels = torch.tensor([[0.0, -4.0]]), torch.tensor([[True, False]])
    >>> bce_loss(logits, labels), asymmetric_loss(logits, labels)  # an easy negative counts nothing
    (tensor([0.3556]), tensor([0.3466]))
    """
    p = logits.sigmoid()
    q = (p - margin).clamp(min=0)
    of_positives = (1 - p) ** gamma_positive * F.softplus(-logits)
    of_negatives = q**gamma_negative * -torch.log1p(-q.clamp(max=1 - 1e-7))
    if margin == 0:
        of_negatives = p**gamma_negative * F.softplus(logits)  # exact where p rounds to 1
    return torch.where(labels, of_positives, of_negatives).mean(1)
