"""Shuffled batches of row numbers for data that stays in memory on the device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def batches(
    n: int, batch_size: int, *, seed: int, epoch: int, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over ``n`` rows in an order that depends on ``seed`` and ``epoch`` alone.

    A global batch has ``batch_size`` rows (the last one may be short) and is dealt out to ``world``
    processes. So an epoch can be repeated after a restart, and the processes together see what one would.

    Yields:
        (rows, weights): int64 row numbers of this process and float32 weights of the same length. The sum
        over rows of weight x loss, averaged over the processes (as data-parallel training averages
        gradients), is the mean loss of the global batch. A process that gets no row of a short batch gets
        one with weight 0.
    """
    import torch

    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(n, generator=generator)
    for start in range(0, n, batch_size):
        together = order[start : start + batch_size]
        rows = together[rank::world]
        if len(rows):
            yield rows, torch.full((len(rows),), world / len(together))
        else:
            yield together[:1], torch.zeros(1)
