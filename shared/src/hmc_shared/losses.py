"""Losses that more than one method is compared with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def asymmetric_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma_positive: float = 0.0,
    gamma_negative: float = 4.0,
    margin: float = 0.05,
) -> Tensor:
    """ASL (Ridnik et al. 2021, Eq. 7) of logits and labels (B, C) bool, elementwise, (B, C).

    (1 - p)^gamma+ (-ln p) for positives; q^gamma- (-ln(1 - q)) with q = max(p - margin, 0) for negatives. The
    focusing factors have their gradient, as the equation says; the public code can stop it.

    >>> asymmetric_loss(torch.tensor([[0.0, -4.0]]), torch.tensor([[True, False]]))  # easy: nothing
    tensor([[0.6931, 0.0000]])
    """
    p = logits.sigmoid()
    q = (p - margin).clamp(min=0)
    of_positives = (1 - p) ** gamma_positive * F.softplus(-logits)
    of_negatives = q**gamma_negative * -torch.log1p(-q.clamp(max=1 - 1e-7))
    if margin == 0:
        of_negatives = p**gamma_negative * F.softplus(logits)  # exact where p rounds to 1
    return torch.where(labels, of_positives, of_negatives)
