"""Batches: what a step gets, and orders of row numbers, shuffled or with all classes equally often."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor


class Batch(NamedTuple):
    """What the training loops get for a step, on the device; b rows of this process's share of a batch."""

    inputs: Tensor
    """(b, ...): what the package's ``training_batches`` says."""
    labels: Tensor
    """(b, C) bool, or in hcal (b, L) int64 paths."""
    weights: Tensor
    """(b,) float32: see :func:`deal`, times those of the samples where they have such; the row of weight 0 is
    no sample of the batch."""
    rows: Tensor
    """(b,) int64: row numbers in the training split."""


def batches(
    n: int, batch_size: int, *, seed: int, epoch: int, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over ``n`` rows in an order that depends on ``seed`` and ``epoch`` alone.

    So an epoch can be repeated after a restart. Yields what :func:`deal` does.
    """
    order = torch.randperm(n, generator=epoch_generator(seed, epoch))
    return deal(order, batch_size, rank=rank, world=world)


def sampled_batches(
    targets: Tensor, batch_size: int, sampling: str, *, seed: int, epoch: int, rank: int = 0, world: int = 1
) -> list[tuple[Tensor, Tensor]]:
    """The batches of an epoch, as :func:`deal` gives them, by ``--sampling``: "random" or "class-aware".

    ``targets`` (n, C) bool are the classes that class-aware sampling draws from.
    """
    n = len(targets)
    if sampling == "random":
        return list(batches(n, batch_size, seed=seed, epoch=epoch, rank=rank, world=world))
    order = class_aware_order(targets.cpu(), n, seed=seed, epoch=epoch)
    return list(deal(order, batch_size, rank=rank, world=world))


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


def weighted(weights: Tensor, rows: Tensor, of_samples: Tensor | None) -> Tensor:
    """The weights (b,) of a batch times those of its samples, (n,) if they have such, on the same device."""
    return weights if of_samples is None else weights * of_samples.to(weights.device)[rows]


def balanced_weights(classes: Tensor, of_samples: Tensor | None = None) -> Tensor:
    """A weight for each sample, (n,) float32 of mean 1, with which all classes weigh the same.

        w_i = n / (K n_y),  of a sample of class y, one of n_y, K the number of classes that occur

    ``classes`` is (n,) int64; a sample of none, -1, does not count and gets the weight 0. With weights
    ``of_samples`` (n,) of their own, n and n_y are sums of these, which the result is multiplied by. Source:
    scikit-learn's ``class_weight="balanced"``.

    >>> balanced_weights(torch.tensor([0, 0, 0, 1]))
    tensor([0.6667, 0.6667, 0.6667, 2.0000])
    """
    own = torch.ones(len(classes)) if of_samples is None else of_samples.float()
    own = own * (classes >= 0)
    sums = torch.bincount(classes.clamp(min=0), weights=own)
    return own * own.sum() / ((sums > 0).sum() * sums)[classes]


def class_aware_order(targets: Tensor, size: int, *, seed: int, epoch: int) -> Tensor:
    """Row numbers (size,) int64 for one epoch of class-aware sampling, by ``seed`` and ``epoch`` alone.

    Classes take turns: in each round every class that has positives comes once, in random order, with one of
    its rows. A class takes its rows in random order and begins anew when all were taken. Source: Shen, Lin
    and Huang, "Relay Backpropagation for Effective Learning of Deep Convolutional Neural Networks", ECCV
    2016.

    ``targets`` is (n, C) bool; leave out the columns of classes that are not to be sampled. Raises ValueError
    if there is no positive.
    """

    generator = epoch_generator(seed, epoch)
    present = targets[:, targets.any(0)]
    classes = present.shape[1]
    if not classes:
        raise ValueError("`targets` should have a positive. Found none.")
    rounds = -(-size // classes)
    turns = torch.rand(rounds, classes, generator=generator).argsort(1).flatten()[:size]
    order = torch.empty(size, dtype=torch.int64)
    for label in range(classes):
        rows, is_turn = present[:, label].nonzero().flatten(), turns == label
        passes = -(-int(is_turn.sum()) // len(rows))
        shuffled = torch.rand(passes, len(rows), generator=generator).argsort(1).flatten()
        order[is_turn] = rows[shuffled[: int(is_turn.sum())]]
    return order


def epoch_generator(seed: int, epoch: int) -> Generator:
    """Of what is drawn for one epoch, the same on all processes."""
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def seed_step(generator: Generator, seed: int, epoch: int, step: int) -> None:
    """Seed a generator for one step, so that nothing of it needs saving; the same on all processes."""
    generator.manual_seed(((seed * 1_000_003 + epoch) * 1_000_003 + step) % 2**64)


def places_in_batch(rows: Tensor, batch_size: int, *, rank: int, world: int) -> Tensor:
    """The places (b,) int64 in the global batch of the rows that :func:`deal` gave to a process.

    What is sampled at random for a whole batch is taken from there, so that it does not depend on how the
    batch is dealt out.
    """
    return (torch.arange(len(rows), device=rows.device) * world + rank) % batch_size
