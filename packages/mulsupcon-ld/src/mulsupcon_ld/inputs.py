"""From the rows of a split to random views on the device, and to scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from hmc_shared.data.image_batches import image_batches
from mulsupcon_ld.config import Config
from mulsupcon_ld.model import MulSupCon
from mulsupcon_ld.views import (
    COLOUR_NUMBERS,
    CROP_NUMBERS,
    change_colours,
    crop_small,
    mask,
    random_crops,
)


def training_batches(
    model: MulSupCon,
    inputs: Any,
    targets: Tensor,
    order: Sequence[tuple[Tensor, Tensor]],
    config: Config,
    epoch: int,
    generator: Generator,
    *,
    pretraining: bool,
    rank: int,
    world: int,
) -> Iterator[tuple[list[Tensor], Tensor, Tensor]]:
    """The batches of an epoch on the generator's device: (views, labels, weights).

    ``views`` are what the network takes, (B, ...) each: two in pre-training, one after it. ``labels`` are
    (B, C), ``weights`` (B,) as ``hmc_shared.data.batches`` gives them. A row of weight 0 is no sample of the
    batch: it is there because a process needs one, and batch normalisation two. Its keys should be left out.

    Before each batch the generator is seeded by seed, epoch and step, so that nothing of it needs saving;
    what is drawn from it is the same on all processes, and each takes the rows of its places in the global
    batch.

    Args:
        model: normalises images.
        inputs: standardised vectors (n, F) or small images (n, channels, height, width), on the device; or a
            table of photographs.
        targets: (n, C), on the device.
        order: what ``hmc_shared.data.batches`` yields.
        config: masks, crops, mirror images, seed and batch size.
        epoch: counted over both stages, so that the second does not repeat the views of the first.
        generator: on the device.
        pretraining: which of the two stages this is.
        rank, world: number of this process, and of all.
    """
    device = generator.device
    views, p = (2, config.vector_mask) if pretraining else (1, config.finetune_mask)
    order = [batch if len(batch[0]) > 1 else (batch[0].repeat(2), F.pad(batch[1], (0, 1))) for batch in order]
    photographs: Iterator[Tensor] = iter(())
    if not isinstance(inputs, Tensor):
        crops = random_crops(config.image_size, views, min_scale=config.min_scale, flip=config.flip)
        photographs = image_batches(
            inputs,
            [rows for rows, _ in order],
            crops,
            seed=config.seed,
            epoch=epoch,
            workers=config.workers,
        )
    numbers = len(inputs[0]) if len(model.input_shape) == 1 else CROP_NUMBERS + COLOUR_NUMBERS
    for step, (rows, weights) in enumerate(order):
        generator.manual_seed(((config.seed * 1_000_003 + epoch) * 1_000_003 + step) % 2**64)
        # Without waiting for the step before.
        rows, weights = rows.to(device, non_blocking=True), weights.to(device, non_blocking=True)
        drawn = torch.rand(views, config.batch_size, numbers, generator=generator, device=device)
        places = torch.arange(len(rows), device=device) * world + rank  # in the global batch
        drawn = drawn.index_select(1, places % config.batch_size)  # (views, B, numbers)
        if isinstance(inputs, Tensor):
            samples = [inputs.index_select(0, rows)] * views  # row by row; inputs[rows] copies single numbers
        else:
            samples = next(photographs).to(device, non_blocking=True).unbind(1)
        batch = []
        for sample, own in zip(samples, drawn, strict=True):
            if sample.ndim == 2:
                batch.append(mask(sample, own, p))
                continue
            place, colour = own.split((CROP_NUMBERS, COLOUR_NUMBERS), dim=1)
            if isinstance(inputs, Tensor):
                sample = crop_small(sample, place, min_scale=config.min_scale, flip=config.flip)
            batch.append(model.normalize(change_colours(sample, colour)))
        yield batch, targets.index_select(0, rows), weights
