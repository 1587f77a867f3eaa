"""From the images of a split to batches on the device, and to frozen tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Generator, Tensor

from hmc_shared.data import ImageTable, Split
from hmc_shared.data.batches import Batch, places_in_batch, seed_step, weighted
from hmc_shared.data.image_batches import image_batches
from hmc_shared.predict.score import map_split, not_nan
from hmc_shared.vision.augment import random_crop
from hmc_shared.vision.pixels import resize_and_crop
from hp_dval.config import Config
from hp_dval.model import ImageClassifier

GIB = 2**30


def shift(images: Tensor, drawn: Tensor, *, padding: int, flip: bool) -> Tensor:
    """Small images, each moved by up to ``padding`` pixels both ways, black where nothing was, and mirrored.

    Args:
        images: (B, channels, height, width).
        drawn: (B, 3) uniform in [0, 1).
        padding: pixels.
        flip: mirror half of the images.
    """
    height, width = images.shape[2:]
    moves = (drawn[:, :2] * (2 * padding + 1)).long() - padding
    y = torch.arange(height, device=images.device) + moves[:, :1]  # (B, height)
    x = torch.arange(width, device=images.device)
    x = torch.where((drawn[:, 2:] < 0.5) & flip, width - 1 - x, x) + moves[:, 1:]
    inside = ((y >= 0) & (y < height))[:, None, :, None] & ((x >= 0) & (x < width))[:, None, None, :]
    image = torch.arange(len(images), device=images.device)[:, None, None]
    moved = images.permute(0, 2, 3, 1)[
        image, y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None]
    ]
    return moved.permute(0, 3, 1, 2) * inside


def image_transform(model: ImageClassifier, config: Config, augment: bool) -> Callable[[Tensor], Tensor]:
    """What becomes of an image of a table: a random part of it, or what evaluation looks at."""
    if augment:
        return random_crop(model.input_shape[-1], min_scale=config.min_scale, flip=config.flip, bicubic=True)
    return partial(resize_and_crop, input_shape=model.input_shape, resize=model.resize)


def training_batches(
    model: ImageClassifier,
    inputs: ImageTable | Tensor,
    labels: Tensor,
    order: Sequence[tuple[Tensor, Tensor]],
    config: Config,
    epoch: int,
    first: int,
    generator: Generator,
    *,
    aligns: bool,
    tokens: Tensor | None = None,
    of_samples: Tensor | None = None,
    rank: int,
    world: int,
) -> Iterator[Batch]:
    """The batches of an epoch on the generator's device: what a stage trains on.

    Where a stage aligns that is raw images (b, channels, height, width), changed at random; else unit tokens
    (b, 1 + N, D_e) of unchanged images, for which ``model`` is in evaluation mode.

    Args:
        model: it makes the tokens.
        inputs: uint8 images on the device, or a table.
        labels: (n, C) bool on the device.
        order: of :func:`hmc_shared.data.batches.sampled_batches`.
        config, epoch: of the run.
        first: steps to leave out, which are done already.
        generator: seeded before each batch; what is drawn from it is the same on all processes.
        aligns: whether images are wanted, not tokens.
        tokens: (n, 1 + N, D_e), those of all rows, where :func:`frozen_tokens` had them.
        of_samples: (n,) weights, which multiply those of the batch.
        rank, world: process and number of processes.
    """
    device = generator.device
    order = order[first:]
    of_table: Iterator[Tensor] = iter(())
    if tokens is None and isinstance(inputs, ImageTable):
        transform, rows_of = image_transform(model, config, aligns), [rows for rows, _ in order]
        of_table = image_batches(
            inputs, rows_of, transform, seed=config.seed, epoch=epoch, workers=config.workers
        )
    for step, (rows, weights) in enumerate(order, first):
        seed_step(generator, config.seed, epoch, step)
        # Without waiting for the step before.
        rows, weights = rows.to(device, non_blocking=True), weights.to(device, non_blocking=True)
        if tokens is not None:
            batch = tokens.index_select(0, rows)
        elif isinstance(inputs, ImageTable):
            batch = next(of_table).to(device, non_blocking=True)
        else:
            batch = inputs.index_select(0, rows)
            if aligns:
                drawn = torch.rand(config.batch_size, 3, generator=generator, device=device)
                drawn = drawn[places_in_batch(rows, config.batch_size, rank=rank, world=world)]
                batch = shift(batch, drawn, padding=config.crop_padding, flip=config.flip)
        if tokens is None and not aligns:
            with torch.no_grad():
                batch = model.tokens(model.normalize(batch))
        yield Batch(batch, labels.index_select(0, rows), weighted(weights, rows, of_samples), rows)


def frozen_tokens(model: ImageClassifier, split: Split, config: Config) -> Tensor | None:
    """Unit tokens (n, 1 + N, D_e) of a split, in evaluation mode; None if they exceed ``--cache-gib``.

    Float32, so that scores are those of the images themselves. Sentences are tokens as they come.
    """
    if isinstance(split.inputs, Tensor) and split.inputs.ndim == 3:
        return split.inputs
    size = 4 * len(split) * model.num_tokens * model.dim
    if size > config.cache_gib * GIB:
        return None
    return map_split(lambda raw: model.tokens(model.normalize(raw)), model, split, config.workers)


@torch.no_grad()
def score_tokens(model: ImageClassifier, tokens: Tensor) -> Tensor:
    """Logits (n, C) float32 on the CPU of :func:`frozen_tokens`, in evaluation mode."""
    model.eval()
    return not_nan(torch.cat([model.logits(part) for part in tokens.split(model.batch_size)]).cpu())
