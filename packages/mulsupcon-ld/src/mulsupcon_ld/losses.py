"""The losses of MulSupCon and MulSupCon_LD, Eq. (1)-(15), in closed form.

Every loss is one number an anchor, (B,), and its mean over the global batch is the loss of the batch. What
depends on the whole batch (the keys, the mean number of labels) is passed in, so the halves of a batch give
the loss and the gradient of the whole. All is computed in float32, whatever autocast says (float64 stays so).
The keys are gone through in blocks, see :mod:`mulsupcon_ld.streaming`.

Shapes: z (B, d) unit vectors; labels (B, C) bool; logits (B, C) of the layer that generates distributions; K
keys as in :class:`~mulsupcon_ld.keys.Keys`; own_keys (B,) int64, the place of each anchor's own second view
among the keys. That one has the anchor's labels and is always a positive. So no anchor is without positives:
one without labels is drawn to its own second view (and, for ALL, to other keys without labels), and the parts
of a loss that sum over its labels are 0.

A label of which nobody knows is False here, of anchors and of keys: such a key is no positive for it, and
not among the |P^j|; it stays in the denominators, which are over all keys, whatever their labels. So ANY,
MulSupCon and MulSupCon_LD are those of the known labels. ALL, which compares whole sets, is not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from mulsupcon_ld.keys import Keys
from mulsupcon_ld.streaming import KeyLabels, Positives, Sums, sharing, sums_over_keys, without_own

Weight = Literal["prob", "neg_log", "literal", "rbf"]


def in_float32(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Autocast off inside: a similarity of half precision, divided by 0.1, would say little."""

    @wraps(loss)
    def wrapped(z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return loss(z.to(torch.promote_types(z.dtype, torch.float32)), *args, **kwargs)

    return wrapped


@in_float32
def any_loss(z: Tensor, labels: Tensor, keys: Keys, own_keys: Tensor, *, temperature: float) -> Tensor:
    """SupCon (Khosla et al. 2020, the mean outside the log) with the positives ANY, Eq. (2).

    Positives are the keys with a label in common, and the own second view.

    >>> z, labels = torch.eye(2), torch.eye(2, dtype=torch.bool)
    >>> keys = Keys(embeddings=z, labels=labels, distributions=torch.eye(2))
    >>> any_loss(z, labels, keys, own_keys=torch.arange(2), temperature=0.5)  # ln(1 + e^-2)
    tensor([0.1269, 0.1269])
    """
    others = without_own(sharing(KeyLabels(keys.labels), labels, z.dtype), own_keys)
    return mean_over(others, z, keys, own_keys, temperature)


@in_float32
def all_loss(z: Tensor, labels: Tensor, keys: Keys, own_keys: Tensor, *, temperature: float) -> Tensor:
    """SupCon with the positives ALL, Eq. (1): keys with the same set of labels, and the own second view."""
    key_labels = KeyLabels(keys.labels)
    sizes, key_sizes = (y.sum(1, dtype=z.dtype) for y in (labels, keys.labels))

    def positives(rows: slice, columns: slice) -> Tensor:
        shared = key_labels.shared(labels[rows], columns, z.dtype)
        return ((shared == sizes[rows]) & (shared == key_sizes[columns].unsqueeze(1))).to(z.dtype)

    return mean_over(without_own(positives, own_keys), z, keys, own_keys, temperature)


def mean_over(others: Positives, z: Tensor, keys: Keys, own_keys: Tensor, temperature: float) -> Tensor:
    """-1/|P(i)| sum over p in P(i) of C2_ip, (B,), where P(i) is ``others`` and the own second view.

    C2_ip = z_i . z_p / tau - ln sum, so that the sum of C2 takes the sum of the keys alone.
    """
    sums = sums_over_keys(z, keys, temperature, others, torch.ones_like, (keys.embeddings,))
    mean_key = (sums.values[0] + keys.embeddings[own_keys]) / (sums.number + 1).unsqueeze(1)
    return sums.log_sum - (z * mean_key).sum(1) / temperature


@in_float32
def mulsupcon_loss(
    z: Tensor, labels: Tensor, keys: Keys, *, temperature: float, mean_labels: float | Tensor
) -> Tensor:
    """MulSupCon, Eq. (3): -sum_{j in y_i} 1/|P^j| sum_{p in P^j} C2_ip, over mean_labels, Eq. (4).

    Label by label: sum_{p in P^j} C2_ip = z_i . (sum_{p in P^j} z_p) / tau - |P^j| ln sum_p exp(s_ip).

    Args:
        mean_labels: mean number of labels of an anchor in the global batch.
    """
    key_labels = KeyLabels(keys.labels)
    share = labels.to(z.dtype) / key_labels.counts.clamp(min=1)
    weight, key_sums = key_labels.sums(keys.embeddings.to(z.dtype))
    log_sum = sums_over_keys(z, keys, temperature).log_sum
    return ((share @ weight) * log_sum - (z * (share @ key_sums)).sum(1) / temperature) / mean_labels


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
    unknown: Tensor | None = None,
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
        weight, sigma: w of G, see :func:`smoothness_sums`; the mean over P(i), unless it is "prob".
        literal: Eq. (12), (13) as printed: nothing is divided, H is summed over P(i).
        relative: H compares d with y / |y|, which sums to 1 as d does.
        batch_keys: the number of keys, from the first, that are of the batch, if these are to be positives of
            their own anchors only, as in Algorithm 1. 0: every key may be a positive, as in Eq. (5).
        unknown: (B, C) bool, labels of anchors, False in ``labels``, for which H has no term.

    Raises ValueError for an unknown ``weight``, or "rbf" without ``sigma``.
    """
    d, d_k = logits.to(z.dtype).softmax(1), keys.distributions.to(z.dtype)
    y_k = F.pad(keys.labels[batch_keys:], (0, 0, batch_keys, 0)) if batch_keys else keys.labels
    key_labels = KeyLabels(y_k)
    others = without_own(sharing(key_labels, labels, z.dtype), own_keys)
    sums = smoothness_sums(z, keys, others, (d_k, square(d_k).unsqueeze(1)), temperature, weight, sigma)
    of_others, squares_of_others = sums.values
    smoothness = sums.weight * square(d) - 2 * (d * of_others).sum(1) + squares_of_others.squeeze(1)

    # At least 1, for labels of no key. Those of an anchor are labels of its own key.
    y = labels.to(z.dtype)
    share = y if literal else y / (key_labels.counts + (batch_keys > 0)).clamp(min=1)
    contrastive = degree_loss(z, d, share, keys, key_labels, own_keys, sums.log_sum, temperature)

    distance = square(difference(y, d, relative, unknown))
    if literal:
        distances = square(difference(keys.labels.to(z.dtype), d_k, relative)).unsqueeze(1)
        of_others = sums_over_keys(z, keys, temperature, others, torch.ones_like, (distances,))
        return contrastive + smoothness + alpha * (distance + of_others.values[0].squeeze(1))
    smoothness = smoothness if weight == "prob" else smoothness / (sums.number + 1)
    return contrastive / mean_labels + smoothness + alpha * distance


def degree_loss(
    z: Tensor,
    d: Tensor,
    share: Tensor,
    keys: Keys,
    key_labels: KeyLabels,
    own_keys: Tensor,
    log_sum: Tensor,
    temperature: float,
) -> Tensor:
    """-sum_j share_i^j sum_{p in P^j} d_p^j C2_ip, (B,): the first part of :func:`ld_loss`.

    ``share`` is y_i^j, or y_i^j / |P^j|. C2_ip = z_i . z_p / tau - log_sum_i, so that for each label the sums
    of d_p^j and of d_p^j z_p are enough. The own second view counts with the anchor's distribution d_i.
    """
    k, own = keys.embeddings.to(z.dtype), own_keys
    degrees, degree_sums = key_labels.sums(k, keys.distributions.to(z.dtype))
    instead = (share * (d - key_labels.labels[own] * keys.distributions[own])).sum(1)
    similar = (z * (share @ degree_sums)).sum(1) + instead * (z * k[own]).sum(1)
    return (share @ degrees + instead) * log_sum - similar / temperature


def smoothness_sums(
    z: Tensor,
    keys: Keys,
    others: Positives,
    values: tuple[Tensor, ...],
    temperature: float,
    weight: Weight,
    sigma: float | Tensor | None,
) -> Sums:
    """Sums over the positives with the weights w of G.

    CLD is "prob", exp(C2), the key's share; or "neg_log", -C2; or "literal", C2, which pushes distributions
    of positives apart. RLD is "rbf", Eq. (6), which needs ``sigma``: the paper's 0.01 leaves near duplicates;
    see :func:`median_sigma`. Raises ValueError for another weight, or "rbf" without ``sigma``.
    """
    if weight not in get_args(Weight):
        raise ValueError(f"`weight` should be one of {', '.join(get_args(Weight))}. Found {weight!r}.")
    over = partial(sums_over_keys, z, keys, temperature, others, values=values)
    if weight == "prob":
        return over()
    if weight == "rbf":
        if sigma is None:
            raise ValueError("`sigma` should be a number for weight 'rbf'. Found None.")
        variance = sigma**2  # ||z_i - z_p||^2 = 2 - 2 z_i . z_p
        return over(weights=lambda s: ((temperature * s - 1) / variance).exp_())
    similar, ones = over(weights=torch.clone), over(weights=torch.ones_like)  # C2 = s - log_sum
    sign = 1 if weight == "literal" else -1
    log_sum = ones.log_sum.detach()
    return ones._replace(
        weight=sign * (similar.weight - log_sum * ones.weight),
        values=[
            sign * (of_s - log_sum.unsqueeze(1) * of_one)
            for of_s, of_one in zip(similar.values, ones.values, strict=True)
        ],
    )


def median_sigma(embeddings: Tensor) -> Tensor:
    """The median heuristic for the RBF: median distance between two of (n, d) embeddings, 0-dim.

    At least 0.001, so that embeddings that have collapsed into one do not divide by 0; 1 of a single one.
    """
    distances = F.pdist(embeddings.detach().float())
    return distances.median().clamp(min=1e-3) if len(distances) else distances.new_ones(())


def difference(labels: Tensor, d: Tensor, relative: bool, unknown: Tensor | None = None) -> Tensor:
    """What H squares: y - d, or y / |y| - d; 0 where the label is unknown."""
    target = labels / labels.sum(1, keepdim=True).clamp(min=1) if relative else labels
    return target - d if unknown is None else (target - d).masked_fill(unknown, 0.0)


def square(rows: Tensor) -> Tensor:
    """||.||^2 of each row."""
    return torch.linalg.vector_norm(rows, dim=1).square()
