"""The losses of MulSupCon and MulSupCon_LD, Eq. (1)-(15), in closed form.

Every loss is one number an anchor, (B,), and its mean over the global batch is the loss of the batch. What
depends on the whole batch (the keys, the mean number of labels) is passed in, so the halves of a batch give
the loss and the gradient of the whole. All is computed in float32, whatever autocast says (float64 stays so).

Shapes: z (B, d) unit vectors; labels (B, C) bool; logits (B, C) of the layer that generates distributions; K
keys as in :class:`~mulsupcon_ld.keys.Keys`; own_keys (B,) int64, the place of each anchor's own second view
among the keys. That one has the anchor's labels and is always a positive. So no anchor is without positives:
one without labels is drawn to its own second view (and, for ALL, to other keys without labels), and the parts
of a loss that sum over its labels are 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mulsupcon_ld.keys import Keys

Weight = Literal["prob", "neg_log", "literal", "rbf"]
TINY = 1e-30


def in_float32(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Autocast off inside: a similarity of half precision, divided by 0.1, would say little."""

    @wraps(loss)
    def wrapped(z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return loss(z.to(torch.promote_types(z.dtype, torch.float32)), *args, **kwargs)

    return wrapped


def similarities(z: Tensor, keys: Keys, temperature: float) -> Tensor:
    """z_i . z_p / tau, (B, K). Their log_softmax over all keys is C^(2) of Eq. (10): log_share below."""
    return (z / temperature) @ keys.embeddings.to(z.dtype).T


@in_float32
def any_loss(z: Tensor, labels: Tensor, keys: Keys, own_keys: Tensor, *, temperature: float) -> Tensor:
    """SupCon (Khosla et al. 2020, the mean outside the log) with the positives ANY, Eq. (2).

    Positives are the keys with a label in common, and the own second view.

    >>> z, labels = torch.eye(2), torch.eye(2, dtype=torch.bool)
    >>> keys = Keys(embeddings=z, labels=labels, distributions=torch.eye(2))
    >>> any_loss(z, labels, keys, own_keys=torch.arange(2), temperature=0.5)  # ln(1 + e^-2)
    tensor([0.1269, 0.1269])
    """
    positives = KeyLabels(keys.labels).sums(labels.to(z.dtype)) > 0
    positives = positives.scatter(1, own_keys.unsqueeze(1), True)
    return mean_over(positives, similarities(z, keys, temperature).log_softmax(1))


@in_float32
def all_loss(z: Tensor, labels: Tensor, keys: Keys, own_keys: Tensor, *, temperature: float) -> Tensor:
    """SupCon with the positives ALL, Eq. (1): keys with the same set of labels, and the own second view."""
    shared = KeyLabels(keys.labels).sums(labels.to(z.dtype))
    positives = (shared == labels.sum(1, keepdim=True)) & (shared == keys.labels.sum(1))
    positives = positives.scatter(1, own_keys.unsqueeze(1), True)
    return mean_over(positives, similarities(z, keys, temperature).log_softmax(1))


def mean_over(positives: Tensor, log_share: Tensor) -> Tensor:
    """-1/|P(i)| sum over p in P(i) of log_share, (B,), for (B, K) positives."""
    return -(positives * log_share).sum(1) / positives.sum(1)


@in_float32
def mulsupcon_loss(
    z: Tensor, labels: Tensor, keys: Keys, *, temperature: float, mean_labels: float | Tensor
) -> Tensor:
    """MulSupCon, Eq. (3): -sum_{j in y_i} 1/|P^j| sum_{p in P^j} C2_ip, over mean_labels, Eq. (4).

    Key p weighs W_ip = sum_j y_i^j y_p^j / |P^j|.

    Args:
        mean_labels: mean number of labels of an anchor in the global batch.
    """
    key_labels = KeyLabels(keys.labels)
    weights = key_labels.sums(labels.to(z.dtype) / key_labels.counts.clamp(min=1))
    log_share = similarities(z, keys, temperature).log_softmax(1)
    return -(weights * log_share).sum(1) / mean_labels


@in_float32
def ld_loss(
    z: Tensor,
    labels: Tensor,
    logits: Tensor,
    keys: Keys,
    own_keys: Tensor,
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
    """MulSupCon_LD: Eq. (12), (13) without the term beta ||W||_F^2, which is the caller's.

    Positives P(i) are ANY. Distributions of keys are constants. For the own second view the distribution is
    that of the anchor (Algorithm 1), d_i = softmax(logits_i), and has a gradient. The loss is the sum of

    * -1/mean_labels sum_{j in y_i} 1/|P^j| sum_{p in P^j} d_p^j C2_ip: normalised as Eq. (3), (4);
    * G = sum_{p in P(i)} w_ip ||d_i - d_p||^2, where w is a constant: through it, z could lower G by moving
      positives apart;
    * alpha H, H = ||y_i - d_i||^2: the term of Eq. (8) that has a gradient.

    Args:
        temperature: tau.
        mean_labels: mean number of labels of an anchor in the global batch.
        alpha: weight of H.
        weight, sigma: w of G, see :func:`smoothness_weights`; the mean over P(i), unless it is "prob".
        literal: Eq. (12), (13) as printed: nothing is divided, H is summed over P(i). (Eq. (14), (15) sum
            the batch, too; that is left to the caller.)
        relative: H compares d with y / |y|, which sums to 1 as d does.
        batch_keys: the number of keys, from the first, that are of the batch, if these are to be positives of
            their own anchors only, as in Algorithm 1. 0: every key may be a positive, as in Eq. (5).

    Raises ValueError for an unknown ``weight``, or "rbf" without ``sigma``.
    """
    similar = similarities(z, keys, temperature)
    log_share = similar.log_softmax(1)
    d, d_k = logits.to(z.dtype).softmax(1), keys.distributions.to(z.dtype)
    contrastive, others = degree_loss(log_share, labels, d, keys, own_keys, literal, batch_keys)

    w = others * smoothness_weights(similar.detach(), log_share.detach(), temperature, weight, sigma)
    smoothness = w.sum(1) * square(d) - 2 * (d * (w @ d_k)).sum(1) + w @ square(d_k)

    distance = square(target(labels.to(z.dtype), relative) - d)
    if literal:
        distance = distance + others.to(z.dtype) @ square(target(keys.labels.to(z.dtype), relative) - d_k)
    else:
        contrastive = contrastive / mean_labels
        smoothness = smoothness if weight == "prob" else smoothness / (others.sum(1) + 1)
    return contrastive + smoothness + alpha * distance


def degree_loss(
    log_share: Tensor,
    labels: Tensor,
    d: Tensor,
    keys: Keys,
    own_keys: Tensor,
    literal: bool,
    batch_keys: int,
) -> tuple[Tensor, Tensor]:
    """The first part of :func:`ld_loss`, (B,), not divided by mean_labels; and the positives, (B, K) bool.

    The latter are P(i) without the own second view, whose term of G is 0.
    """
    y, column = labels.to(d.dtype), own_keys.unsqueeze(1)
    # At least 1, for labels of no key. Those of an anchor are labels of its own key.
    key_labels = KeyLabels(keys.labels[batch_keys:])
    share = y if literal else y / (key_labels.counts + (batch_keys > 0)).clamp(min=1)
    degrees = keys.distributions.to(d.dtype)[batch_keys:]
    weights = F.pad(key_labels.sums(share, degrees), (batch_keys, 0)).scatter_(1, column, 0)
    own_weight = (share * d).sum(1)
    loss = -(weights * log_share).sum(1) - own_weight * log_share.gather(1, column).squeeze(1)
    return loss, weights > 0


def smoothness_weights(
    similar: Tensor, log_share: Tensor, temperature: float, weight: Weight, sigma: float | Tensor | None
) -> Tensor:
    """w of G, (B, K), of :func:`similarities` and of C2, (B, K) each.

    CLD is "prob", exp(C2), the key's share; or "neg_log", -C2; or "literal", C2, which pushes distributions
    of positives apart. RLD is "rbf", Eq. (6), which needs ``sigma``: the paper's 0.01 leaves near duplicates;
    see :func:`median_sigma`. Raises ValueError for another weight, or "rbf" without ``sigma``.
    """
    if weight not in get_args(Weight):
        raise ValueError(f"`weight` should be one of {', '.join(get_args(Weight))}. Found {weight!r}.")
    if weight == "prob":
        return log_share.exp()
    if weight == "rbf":
        if sigma is None:
            raise ValueError("`sigma` should be a number for weight 'rbf'. Found None.")
        return ((temperature * similar - 1) / sigma**2).exp()  # ||z_i - z_p||^2 = 2 - 2 z_i . z_p
    return log_share if weight == "literal" else -log_share


def median_sigma(embeddings: Tensor) -> Tensor:
    """The median heuristic for the RBF: median distance between two of (n, d) embeddings, 0-dim.

    At least 0.001, so that embeddings that have collapsed into one do not divide by 0; 1 of a single one.
    """
    distances = F.pdist(embeddings.detach().float())
    return distances.median().clamp(min=1e-3) if len(distances) else distances.new_ones(())


class KeyLabels:
    """Sums over the labels that anchors and K keys have in common, with ``labels`` (K, C) bool of the keys.

    A key has few labels, in Delicious 19 of 983. On a CPU only these are summed (``sparse``), in a fraction
    of the time of a product over all C; on a GPU that product is fast, and nothing waits for the device.

    Attributes:
        counts: |P^j|, (C,), how many keys have label j.
    """

    def __init__(self, labels: Tensor, sparse: bool | None = None) -> None:
        self.labels = labels
        self.sparse = labels.device.type == "cpu" if sparse is None else sparse
        K, C = labels.shape
        if not self.sparse:
            self.counts = labels.sum(0)
            return
        self.places = torch.from_numpy(np.flatnonzero(labels.numpy()))  # in half the time of nonzero()
        self.label = self.places % C
        self.starts = torch.searchsorted(self.places, torch.arange(K) * C)
        self.counts = torch.bincount(self.label, minlength=C)

    def sums(self, left: Tensor, degrees: Tensor | None = None) -> Tensor:
        """sum_j left_i^j y_p^j d_p^j, (B, K), of left (B, C) and, if given, degrees d (K, C).

        A degree counts 1e-30 at least, should its softmax have underflowed: with left > 0 for the labels of
        an anchor, the sum is above 0 exactly where a label is shared.
        """
        if not self.sparse:
            y = self.labels.to(left.dtype)
            return left @ (y if degrees is None else y * degrees.clamp(min=TINY)).T
        present = None if degrees is None else degrees.flatten().index_select(0, self.places).clamp(min=TINY)
        table = left.T.contiguous()
        sums = F.embedding_bag(self.label, table, self.starts, mode="sum", per_sample_weights=present)
        return sums.T.contiguous()


def target(labels: Tensor, relative: bool) -> Tensor:
    """What H compares a distribution with: y, or y / |y|."""
    return labels / labels.sum(1, keepdim=True).clamp(min=1) if relative else labels


def square(rows: Tensor) -> Tensor:
    """||.||^2 of each row."""
    return torch.linalg.vector_norm(rows, dim=1).square()
