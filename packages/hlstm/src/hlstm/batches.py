"""From the rows of a split to batches on the device."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from hlstm.config import Config
from hlstm.model import CoherentModel
from hmc_shared.data.batches import Batch, batches


def training_batches(
    model: CoherentModel,
    inputs: Tensor,
    targets: Tensor,
    config: Config,
    epoch: int,
    first: int,
    *,
    rank: int,
    world: int,
) -> Iterator[Batch]:
    """The batches of an epoch: standardised features (b, F) and targets (b, C) bool.

    ``inputs`` are raw features (n, F) and ``targets`` (n, C) bool, both on the device. ``first`` steps are
    left out: they are done already.
    """
    order = batches(len(inputs), config.batch_size, seed=config.seed, epoch=epoch, rank=rank, world=world)
    for rows, weights in islice(order, first, None):
        rows, weights = rows.to(inputs.device), weights.to(inputs.device)
        with torch.no_grad():
            features = model.normalize(inputs[rows])
        yield Batch(features, targets[rows], weights, rows)
