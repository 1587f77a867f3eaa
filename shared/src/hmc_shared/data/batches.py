"""Orders of row numbers, shuffled or with all classes equally often, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor


def batches(
    n: int, batch_size: int, *, seed: int, epoch: int, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over ``n`` rows in an order that depends on ``seed`` and ``epoch`` alone.

    So an epoch can be repeated after a restart. Yields what :func:`deal` does.
    """

    order = torch.randperm(n, generator=_generator(seed, epoch))
    return deal(order, batch_size, rank=rank, world=world)


def deal(order: Tensor, batch_size: int, *, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows of ``order``, (n,) int64, in batches.

    A global batch has ``batch_size`` rows (the last one may be short) and is dealt out to ``world``
    processes, so the processes together see what one would.

    Yields:
        (rows, weights): int64 row numbers of this process and float32 weights of the same length. The sum
        over rows of weight x loss, averaged over the processes (as data-parallel training averages
        gradients), is the mean loss of the global batch. A process that gets no row of a short batch gets
        one with weight 0.
    """

    for start in range(0, len(order), batch_size):
        together = order[start : start + batch_size]
        rows = together[rank::world]
        if len(rows):
            yield rows, torch.full((len(rows),), world / len(together))
        else:
            yield together[:1], torch.zeros(1)


def class_aware_order(targets: Tensor, size: int, *, seed: int, epoch: int) -> Tensor:
    """Row numbers (size,) int64 for one epoch of class-aware sampling, by ``seed`` and ``epoch`` alone.

    Classes take turns: in each round every class that has positives comes once, in random order, with one of
    its rows. A class takes its rows in random order and begins anew when all were taken. Source: Shen, Lin
    and Huang, "Relay Backpropagation for Effective Learning of Deep Convolutional Neural Networks", ECCV
    2016.

    ``targets`` is (n, C) bool; leave out the columns of classes that are not to be drawn. Raises ValueError
    if there is no positive.
    """

    generator = _generator(seed, epoch)
    present = targets[:, targets.any(0)]
    classes = present.shape[1]
    if not classes:
        raise ValueError("`targets` should have a positive. Found none.")
    rounds = -(-size // classes)
    turns = torch.rand(rounds, classes, generator=generator).argsort(1).flatten()[:size]
    order = torch.empty(size, dtype=torch.int64)
    for label in range(classes):
        rows, own = present[:, label].nonzero().flatten(), turns == label
        passes = -(-int(own.sum()) // len(rows))
        shuffled = torch.rand(passes, len(rows), generator=generator).argsort(1).flatten()
        order[own] = rows[shuffled[: int(own.sum())]]
    return order


def _generator(seed: int, epoch: int) -> Generator:

    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)
