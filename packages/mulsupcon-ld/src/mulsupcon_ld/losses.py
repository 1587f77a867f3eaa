"""The losses of MulSupCon and MulSupCon_LD, Eq. (1)-(15), in closed form.

Every function returns one loss an anchor, (B,). Its mean over the global batch is the loss: what depends on
the whole batch (the keys, the mean number of labels) is passed in, so that the halves of a batch give the
loss and the gradient of the whole. Everything is computed in float32, whatever autocast says (float64 stays).

Shapes: z (B, d) unit vectors; labels (B, C) bool; logits (B, C) of the layer that generates the
distributions; keys as in :class:`~mulsupcon_ld.keys.Keys`, K of them; own (B,) int64, the place of each
anchor's second view among the keys. The second view is always a positive, so an anchor without labels is
only drawn to that (ANY, ALL; for ALL also to other keys without labels) or has no contrastive loss (the
losses that sum over labels).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from mulsupcon_ld.keys import Keys

Weight = Literal["prob", "neg_log", "literal", "rbf"]


def in_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Switch autocast off inside: similarities divided by 0.1 have no precision to lose."""

    @wraps(function)
    def wrapped(z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return function(z.to(torch.promote_types(z.dtype, torch.float32)), *args, **kwargs)

    return wrapped


def log_shares(z: Tensor, keys: Keys, temperature: float) -> Tensor:
    """C^(2) of Eq. (10): log of each key's share in the softmax of the similarities over all keys, (B, K)."""
    return (z @ keys.embeddings.to(z.dtype).T / temperature).log_softmax(1)


def shared_labels(labels: Tensor, keys: Keys) -> Tensor:
    """How many labels anchor and key have in common, (B, K) float32."""
    return labels.float() @ keys.labels.float().T


def any_positives(labels: Tensor, keys: Keys, own: Tensor) -> Tensor:
    """P(i) of Eq. (2), (B, K) bool: the keys with a label in common, and the own second view."""
    return (shared_labels(labels, keys) > 0).scatter(1, own.unsqueeze(1), True)


def all_positives(labels: Tensor, keys: Keys, own: Tensor) -> Tensor:
    """P(i) of Eq. (1), (B, K) bool: the keys with the same set of labels, and the own second view."""
    shared = shared_labels(labels, keys)
    same = (shared == labels.sum(1, keepdim=True)) & (shared == keys.labels.sum(1))
    return same.scatter(1, own.unsqueeze(1), True)


@in_float32
def any_loss(z: Tensor, labels: Tensor, keys: Keys, own: Tensor, *, temperature: float) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, the mean outside the log) with the positives ANY."""
    return mean_over(any_positives(labels, keys, own), log_shares(z, keys, temperature))


@in_float32
def all_loss(z: Tensor, labels: Tensor, keys: Keys, own: Tensor, *, temperature: float) -> Tensor:
    """The same with the positives ALL."""
    return mean_over(all_positives(labels, keys, own), log_shares(z, keys, temperature))


def mean_over(positives: Tensor, log_share: Tensor) -> Tensor:
    """-1/|P(i)| sum over P(i) of log_share, (B,)."""
    return -(positives * log_share).sum(1) / positives.sum(1)


@in_float32
def mulsupcon_loss(
    z: Tensor, labels: Tensor, keys: Keys, *, temperature: float, mean_labels: float | Tensor
) -> Tensor:
    """MulSupCon, Eq. (3) and (4): -sum_j 1/|P^j| sum_{p in P^j} C2_ip over the anchor's labels j.

    The weight of key p is W_ip = sum_j y_i^j y_p^j / |P^j|, one product. Labels weigh alike within the
    batch, so that anchors weigh by their number of labels.

    Args:
        mean_labels: mean number of labels of an anchor in the global batch: the mean over the batch of what
            is returned is then Eq. (4).
    """
    weights = per_positive(labels, keys).to(z.dtype) @ keys.labels.to(z.dtype).T
    return -(weights * log_shares(z, keys, temperature)).sum(1) / mean_labels


def per_positive(labels: Tensor, keys: Keys) -> Tensor:
    """y_i^j / |P^j|, (B, C) float32; |P^j| is the number of keys with label j."""
    return labels / keys.labels.sum(0).clamp(min=1)


@in_float32
def ld_loss(
    z: Tensor,
    labels: Tensor,
    logits: Tensor,
    keys: Keys,
    own: Tensor,
    *,
    temperature: float,
    mean_labels: float | Tensor,
    alpha: float,
    weight: Weight = "prob",
    sigma: float | Tensor | None = None,
    literal: bool = False,
    relative: bool = False,
    batch_keys: int = 0,
) -> Tensor:
    """MulSupCon_LD, Eq. (12) with G + alpha H of Eq. (9), (11); the caller adds beta ||W||_F^2.

    Positives are ANY. Distributions of keys are constants; d_i, the softmax of the anchor's logits, stands
    for the distribution of its own second view (Algorithm 1) and has a gradient.

    * Contrastive part: -sum_j 1/|P^j| sum_{p in P^j} d_p^j C2_ip / mean_labels. The paper has neither
    divisor.
    * G = sum_p w_ip ||d_i - d_p||^2; w is a constant (a gradient would let z lower G by moving positives
    apart).
    * H = ||y_i - d_i||^2. The sum of Eq. (8) over all positives has the same gradient: the other terms are
      constants.

    Args:
        mean_labels: mean number of labels of an anchor in the global batch, as in Eq. (4).
        weight: w. "prob" is exp(C2), the key's share (CLD); "rbf" is Eq. (6) over |P(i)| (RLD); "neg_log" is
            -C2 over |P(i)|, "literal" is C2 over |P(i)|, Eq. (10), which pushes distributions of positives
        apart. sigma: of the RBF, needed for "rbf".
        literal: Eq. (12) as printed: no divisor in any part and all terms of H; the paper's batch loss is
            the sum over the batch (Eq. (14)).
        relative: H compares d with y / |y|, which sums to 1 as d does.
        batch_keys: Algorithm 1 has positives in the queue only, besides the own second view: the number of
            keys, from the first, that are no positives of other anchors. Default: all keys may be, as in Eq.
            (5).

    Raises:
        ValueError: for an unknown ``weight``, or "rbf" without a positive ``sigma``.
    """
    if weight not in get_args(Weight):
        raise ValueError(f"`weight` should be one of {', '.join(get_args(Weight))}. Found {weight!r}.")
    if weight == "rbf" and sigma is None:
        raise ValueError("`sigma` should be given for weight 'rbf'. Found None.")
    column = own.unsqueeze(1)
    similar = z @ keys.embeddings.to(z.dtype).T
    log_share = (similar / temperature).log_softmax(1)
    d = logits.to(z.dtype).softmax(1)
    y, y_k, d_k = labels.to(z.dtype), keys.labels.to(z.dtype), keys.distributions.to(z.dtype)

    allowed = torch.ones_like(similar, dtype=torch.bool)
    allowed[:, :batch_keys] = False
    allowed.scatter_(1, column, True)
    share = y
    if not literal:
        share = y / (y_k[batch_keys:].sum(0) + bool(batch_keys)).clamp(min=1)  # the own key counts
    weights = (share @ (d_k * y_k).T) * allowed
    weights = weights.scatter(1, column, (share * d).sum(1, keepdim=True))
    contrastive = -(weights * log_share).sum(1)

    others = (((y @ y_k.T) > 0) & allowed).scatter(1, column, False)
    with torch.no_grad():
        if weight == "prob":
            w = log_share.exp()
        elif sigma is not None and weight == "rbf":
            w = torch.exp((similar - 1) / sigma**2)  # ||z_i - z_p||^2 = 2 - 2 z_i . z_p
        else:
            w = -log_share if weight == "neg_log" else log_share
        w = w * others
        if weight != "prob" and not literal:
            w = w / (1 + others.sum(1, keepdim=True))
    smoothness = w.sum(1) * d.square().sum(1) + w @ d_k.square().sum(1) - 2 * (d * (w @ d_k)).sum(1)

    def target(multi_hot: Tensor) -> Tensor:
        return multi_hot / multi_hot.sum(1, keepdim=True).clamp(min=1) if relative else multi_hot

    distance = (target(y) - d).square().sum(1)
    if literal:
        distance = distance + others.to(z.dtype) @ (target(y_k) - d_k).square().sum(1)
    else:
        contrastive = contrastive / mean_labels
    return contrastive + smoothness + alpha * distance


def median_sigma(embeddings: Tensor) -> Tensor:
    """The median heuristic for the RBF: median distance between two of the (n, d) embeddings, 0-dim."""
    return F.pdist(embeddings.detach().float()).median()
