"""From the rows of a split to batches on the device."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from hlstm.config import Config
from hlstm.model import CoherentModel
from hmc_shared.data.batches import Batch, batches, weighted

FAR = 1_000_000_007
"""Between the seeds of members, so that the second of one run is not the first of the next."""


def training_batches(
    model: CoherentModel,
    inputs: Tensor,
    targets: Tensor,
    config: Config,
    epoch: int,
    steps: slice,
    *,
    of_samples: Tensor | None = None,
    rank: int,
    world: int,
) -> Iterator[Batch]:
    """The batches of an epoch: standardised features (b, F) and targets (b, C) bool.

    ``inputs`` are raw features (n, F) and ``targets`` (n, C) bool, both on the device. ``steps``: of the
    epoch, the first and the one behind the last. ``of_samples``: (n,) weights, which multiply those of the
    batch.

    With N members each has an order of its own: features are (N, b, F); targets, weights and rows those of
    one member after the other.
    """
    orders = [
        batches(len(inputs), config.batch_size, seed=seed, epoch=epoch, rank=rank, world=world)
        for seed in member_seeds(config)
    ]
    for of_members in islice(zip(*orders, strict=True), steps.start, steps.stop):
        rows, weights = (torch.cat(parts).to(inputs.device) for parts in zip(*of_members, strict=True))
        with torch.no_grad():
            features = model.normalize(inputs[rows])
        if config.members > 1:
            features = features.unflatten(0, (config.members, -1))
        yield Batch(features, targets[rows], weighted(weights, rows, of_samples), rows)


def member_seeds(config: Config) -> list[int]:
    """A seed for the order of each member's rows; the first has that of a single network."""
    return [config.seed + member * FAR for member in range(config.members)]
