"""The mean of several predictions, taken of probabilities without leaving logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def mean_logits(logits: Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """Logits (n, C) of the mean of the probabilities with logits (m, n, C), weighted by ``weights`` (m,).

    Exact where a probability would round to 0 or 1. Weights add up to 1; default: all the same.

    >>> mean_logits(torch.tensor([[[-200.0, 200.0]], [[200.0, 200.0]]]))
    tensor([[  0., 200.]])
    """
    log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
    if weights is not None:
        log_weights = torch.tensor(weights).log()[:, None, None].to(logits)
        log_p, log_not_p = log_p + log_weights, log_not_p + log_weights
    return log_p.logsumexp(0) - log_not_p.logsumexp(0)
