"""Sums over all keys, block by block: whatever the size of the queue, no (B, K) matrix is ever whole.

Every loss of :mod:`mulsupcon_ld.losses` needs the keys in three ways: ln sum_p exp(s_ip) over all of them,
with s_ip = z_i . k_p / tau; sums over the positives of an anchor, with weights that are constants; and sums
over the keys that have a label. The gradient of the first is (sum_p C_ip k_p) / tau, where C is the softmax
of s. It is summed in the same pass as the value (the running softmax of Milakov and Gimelshein 2018), so that
nothing is kept for the backward pass, nor computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mulsupcon_ld.keys import Keys

PAIRS = {"cpu": 2**20}  # of anchor and key in a block: 4 MiB, near what a core's cache holds
PAIRS_OF_GPUS = 2**24
Positives = Callable[[slice, slice], Tensor]  # of the anchors and keys of a block: 0 or 1, (keys, anchors)


class Sums(NamedTuple):
    """Over the keys, for each of B anchors. All but ``log_sum`` are constants, over the positives alone."""

    log_sum: Tensor
    """(B,) ln sum_p exp(s_ip), over all keys, with its gradient to z."""
    number: Tensor
    """(B,) how many positives there are."""
    weight: Tensor
    """(B,) the sum of their weights."""
    values: list[Tensor]
    """(B, v) each, the sums of their values, each times its weight."""


def blocks(number: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover 0 ... number - 1."""
    return (slice(start, min(start + size, number)) for start in range(0, number, size))


def sums_over_keys(
    z: Tensor,
    keys: Keys,
    temperature: float,
    positives: Positives | None = None,
    weights: Callable[[Tensor], Tensor] | None = None,
    values: tuple[Tensor, ...] = (),
) -> Sums:
    """What the losses need of all keys, in one pass over them.

    Args:
        z: (B, d), the anchors.
        positives: which keys are summed over; none by default.
        weights: from s to a positive's weight, both (keys, anchors). By default its share C_ip in the softmax
            over all keys, exp(C2_ip).
        values: (K, v) each, what is summed over the positives.
    """
    k = keys.embeddings.to(z.dtype)
    anchors = isqrt(PAIRS.get(z.device.type, PAIRS_OF_GPUS) // 4)
    with torch.no_grad():
        found = [
            sums_of_anchors(rows, z[rows] / temperature, k, positives, weights, values)
            for rows in blocks(len(z), anchors)
        ]
        log_sum, mean_key, count, weight, *sums = (torch.cat(parts) for parts in zip(*found, strict=True))
    # 0 is added: the value is log_sum, the gradient mean_key / tau.
    return Sums(log_sum + ((z - z.detach()) * mean_key).sum(1) / temperature, count, weight, sums)


def sums_of_anchors(
    rows: slice,
    z: Tensor,
    k: Tensor,
    positives: Positives | None,
    weights: Callable[[Tensor], Tensor] | None,
    values: tuple[Tensor, ...],
) -> tuple[Tensor, ...]:
    """:func:`sums_over_keys` of the anchors ``rows``, with z / tau: log_sum, sum_p C_ip k_p, and the rest."""
    top = z.new_full((len(z),), -torch.inf)  # the largest s so far
    exponentials, count, weight = z.new_zeros(3, len(z))  # the first relative to exp(top)
    mean_key, *totals = (z.new_zeros(len(z), part.shape[1]) for part in (k, *values))
    for columns in blocks(len(k), max(1, PAIRS.get(z.device.type, PAIRS_OF_GPUS) // len(z))):
        s = k[columns] @ z.T
        highest = torch.maximum(top, s.amax(0))
        shrink = (top - highest).exp()
        top = highest
        shares = (s - top).exp_()
        shrink_all(shrink, exponentials, mean_key)
        exponentials += shares.sum(0)
        mean_key.addmm_(shares.T, k[columns])
        if positives is not None:
            w = positives(rows, columns)
            count += w.sum(0)
            if weights is None:
                shrink_all(shrink, weight, *totals)
            w *= shares if weights is None else weights(s)
            weight += w.sum(0)
            for total, part in zip(totals, values, strict=True):
                total.addmm_(w.T, part[columns].to(z.dtype))
    of_softmax = (mean_key, weight, *totals) if weights is None else (mean_key,)
    shrink_all(1 / exponentials, *of_softmax)
    return top + exponentials.log(), mean_key, count, weight, *totals


def shrink_all(factor: Tensor, *totals: Tensor) -> None:
    """Multiply each of (B,) or (B, v) by ``factor`` (B,), in place."""
    for total in totals:
        total.mul_(factor if total.ndim == 1 else factor.unsqueeze(1))


def sharing(key_labels: KeyLabels, labels: Tensor, dtype: torch.dtype) -> Positives:
    """ANY: the keys that have one of the anchor's ``labels`` (B, C) bool, or more."""

    def positives(rows: slice, columns: slice) -> Tensor:
        return key_labels.shared(labels[rows], columns, dtype).clamp_(max=1)

    return positives


def without_own(positives: Positives, own_keys: Tensor) -> Positives:
    """The same positives, but never the anchor's own second view."""

    def others(rows: slice, columns: slice) -> Tensor:
        found = positives(rows, columns)
        place = own_keys[rows] - columns.start
        inside = (place >= 0) & (place < len(found))
        place = place.clamp(0, len(found) - 1).unsqueeze(0)
        return found.scatter_(0, place, found.gather(0, place) * ~inside)

    return others


class KeyLabels:
    """Which of K keys have which labels: ``labels`` (K, C) bool.

    A key has few labels, in Delicious 19 of 983. On a CPU only these are summed (``sparse``), in a fraction
    of the time of a product over all C; on a GPU that product is fast, and nothing waits for the device.

    Attributes:
        counts: |P^j|, (C,), how many keys have label j.
    """

    def __init__(self, labels: Tensor, sparse: bool | None = None) -> None:
        self.labels = labels
        self.sparse = labels.device.type == "cpu" if sparse is None else sparse
        if not self.sparse:
            self.counts = labels.sum(0)
            return
        K, C = labels.shape
        self.places = torch.from_numpy(np.flatnonzero(labels.numpy()))  # in half the time of nonzero()
        self.label = self.places % C
        self.starts = torch.searchsorted(self.places, torch.arange(K + 1) * C)
        self.counts = torch.bincount(self.label, minlength=C)

    def shared(self, labels: Tensor, columns: slice, dtype: torch.dtype) -> Tensor:
        """How many of ``labels`` (B, C) bool each of the keys ``columns`` has, (keys, B)."""
        if not self.sparse:
            return self.labels[columns].to(dtype) @ labels.T.to(dtype)
        starts = self.starts[columns.start : columns.stop + 1]
        label = self.label[starts[0] : starts[-1]]
        table = labels.T.contiguous().to(dtype)
        return F.embedding_bag(label, table, starts[:-1] - starts[0], mode="sum")

    def sums(self, values: Tensor, degrees: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """sum_p y_p^j d_p^j, (C,), and sum_p y_p^j d_p^j v_p, (C, v).

        Of ``values`` v (K, v) and of ``degrees`` d (K, C), 1 by default.
        """
        C = self.labels.shape[1]
        if not self.sparse:
            weight, total = values.new_zeros(C), values.new_zeros(C, values.shape[1])
            for columns in blocks(len(values), PAIRS_OF_GPUS // C + 1):
                y = self.labels[columns].to(values.dtype)
                y = y if degrees is None else y * degrees[columns]
                weight += y.sum(0)
                total.addmm_(y.T, values[columns])
            return weight, total
        order = self.label.sort(stable=True).indices  # label by label
        starts = self.counts.cumsum(0) - self.counts
        places = self.places[order]
        present = None if degrees is None else degrees.flatten().index_select(0, places)
        total = F.embedding_bag(places // C, values, starts, mode="sum", per_sample_weights=present)
        if present is None:
            return self.counts.to(values.dtype), total
        return F.embedding_bag(torch.arange(len(places)), present.unsqueeze(1), starts, mode="sum").squeeze(
            1
        ), total
