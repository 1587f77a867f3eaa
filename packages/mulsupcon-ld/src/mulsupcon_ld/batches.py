"""From the rows of a split to random views on the device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from hmc_shared.data import ImageTable
from hmc_shared.data.batches import Batch, places_in_batch, sampled_batches, seed_step, weighted
from hmc_shared.data.image_batches import image_batches
from mulsupcon_ld.baselines import Baseline
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
    model: MulSupCon | Baseline,
    inputs: Tensor | ImageTable,
    targets: Tensor,
    config: Config,
    epoch: int,
    first: int,
    generator: Generator,
    *,
    of_samples: Tensor | None = None,
    rank: int,
    world: int,
) -> Iterator[Batch]:
    """The batches of an epoch on the generator's device, with random views of the rows as inputs.

    ``Batch.inputs`` are (views, b, ...), normalised: two views of each row in the pre-training, one in the
    fine-tuning. Epochs are counted over both stages, so that the second does not repeat the views of the
    first. A row of weight 0 is no sample of the batch: it is there because a process needs one, and batch
    normalisation two. Its keys should be left out.

    What is random is drawn for the global batch by seed, epoch and step, and each process takes the rows of
    its places there.

    Args:
        model: normalises.
        inputs: raw vectors (n, F) or small images (n, channels, height, width), on the device; or a table of
            images.
        targets: (n, C) bool, on the device.
        first: steps to leave out, which are done already.
        generator: on the device; its state does not matter.
        of_samples: (n,) weights, which multiply those of the batch.
    """
    device = generator.device
    views, p = (2, config.vector_mask) if config.is_pretraining(epoch) else (1, config.finetune_mask)
    place = {"seed": config.seed, "epoch": epoch, "rank": rank, "world": world}
    dealt = sampled_batches(targets, config.batch_size, config.sampling, **place)[first:]
    order = [pair if len(pair[0]) > 1 else (pair[0].repeat(2), F.pad(pair[1], (0, 1))) for pair in dealt]
    stream = raw_batches(inputs, [rows for rows, _ in order], config, epoch, views, device)
    numbers = CROP_NUMBERS + COLOUR_NUMBERS if model.takes_images else model.input_shape[0]
    for step, ((rows, weights), raw) in enumerate(zip(order, stream, strict=True), first):
        seed_step(generator, config.seed, epoch, step)
        # Without waiting for the step before.
        rows, weights = rows.to(device, non_blocking=True), weights.to(device, non_blocking=True)
        drawn = torch.rand(views, config.batch_size, numbers, generator=generator, device=device)
        drawn = drawn.index_select(1, places_in_batch(rows, config.batch_size, rank=rank, world=world))
        if model.takes_images:
            images = change_images(raw, drawn, config, crop=isinstance(inputs, Tensor))
            random_views = model.normalize(images).unflatten(0, (views, len(rows)))
        else:
            random_views = mask(model.normalize(raw), drawn, p)
        yield Batch(random_views, targets.index_select(0, rows), weighted(weights, rows, of_samples), rows)


def raw_batches(
    inputs: Tensor | ImageTable,
    order: list[Tensor],
    config: Config,
    epoch: int,
    views: int,
    device: torch.device,
) -> Iterator[Tensor]:
    """Raw rows (1, b, ...), or random parts of the images of a table (views, b, 3, size, size)."""
    if isinstance(inputs, Tensor):
        for rows in order:  # row by row; inputs[rows] copies single numbers
            yield inputs.index_select(0, rows.to(device, non_blocking=True)).unsqueeze(0)
        return
    crops = random_crops(config.image_size, views, min_scale=config.min_scale, flip=config.flip)
    for images in image_batches(inputs, order, crops, seed=config.seed, epoch=epoch, workers=config.workers):
        yield images.to(device, non_blocking=True).transpose(0, 1)


def change_images(images: Tensor, drawn: Tensor, config: Config, *, crop: bool) -> Tensor:
    """Raw images (1 or views, b, channels, height, width) with other colours, and cropped if they are not.

    ``drawn`` (views, b, numbers) are uniform. Returns float32 images (views * b, channels, height, width).
    """
    place, colour = drawn.flatten(0, 1).split((CROP_NUMBERS, COLOUR_NUMBERS), dim=1)
    images = images.expand(len(drawn), *images.shape[1:]).flatten(0, 1)
    if crop:
        images = crop_small(images, place, min_scale=config.min_scale, flip=config.flip)
    return change_colours(images, colour)
