"""From the images of a split to raw batches on the device, to frozen tokens, and to scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor
from torchvision.transforms import v2

from hmc_shared.data.batches import batches, class_aware_order, deal
from hmc_shared.data.image_batches import image_batches
from hmc_shared.vision.pixels import evaluation_batches, resize_and_crop
from hp_dval.config import Config
from hp_dval.model import ImageTextClassifier

GIB = 2**30


def epoch_order(
    targets: Tensor, config: Config, epoch: int, *, rank: int, world: int
) -> list[tuple[Tensor, Tensor]]:
    """Rows and weights of this process's batches in an epoch, by ``--sampling``; ``targets`` are (n, C)."""
    n = len(targets)
    if config.sampling == "random":
        return list(batches(n, config.batch_size, seed=config.seed, epoch=epoch, rank=rank, world=world))
    order = class_aware_order(targets, n, seed=config.seed, epoch=epoch)
    return list(deal(order, config.batch_size, rank=rank, world=world))


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


def image_transform(model: ImageTextClassifier, config: Config, augment: bool) -> Callable[[Tensor], Tensor]:
    """What becomes of a photograph (3, height, width): a random part of it, or what evaluation looks at."""
    if not augment:
        return partial(resize_and_crop, input_shape=model.input_shape, crop=model.crop)
    size = model.input_shape[-1]
    part = v2.RandomResizedCrop(size, scale=(config.min_scale, 1.0), antialias=True)
    return v2.Compose([part, v2.RandomHorizontalFlip(0.5 if config.flip else 0.0)])


def training_batches(
    model: ImageTextClassifier,
    inputs: Any,
    order: Sequence[tuple[Tensor, Tensor]],
    config: Config,
    epoch: int,
    generator: Generator,
    *,
    augment: bool,
    rank: int,
    world: int,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The batches of an epoch on the generator's device: raw images (B, ...), their rows, and weights (B,).

    ``order`` is that of :func:`epoch_order`; ``inputs`` are uint8 images on the device, a table of
    photographs, or None where their tokens are at hand: then the images are empty. Before each batch the
    generator is seeded by seed, epoch and step, so that nothing of it needs saving; what is drawn from it is
    the same on all processes.
    """
    device = generator.device
    photographs: Iterator[Tensor] = iter(())
    if not isinstance(inputs, Tensor | None):
        photographs = image_batches(
            inputs,
            [rows for rows, _ in order],
            image_transform(model, config, augment),
            seed=config.seed,
            epoch=epoch,
            workers=config.workers,
        )
    for step, (rows, weights) in enumerate(order):
        generator.manual_seed(((config.seed * 1_000_003 + epoch) * 1_000_003 + step) % 2**64)
        # Without waiting for the step before.
        rows, weights = rows.to(device, non_blocking=True), weights.to(device, non_blocking=True)
        if inputs is None:
            images = rows.new_empty(0)
        elif not isinstance(inputs, Tensor):
            images = next(photographs).to(device, non_blocking=True)
        else:
            images = inputs.index_select(0, rows)
            if augment:
                places = torch.arange(len(rows), device=device) * world + rank  # in the global batch
                drawn = torch.rand(config.batch_size, 3, generator=generator, device=device)
                drawn = drawn[places % config.batch_size]
                images = shift(images, drawn, padding=config.crop_padding, flip=config.flip)
        yield images, rows, weights


@torch.no_grad()
def of_all_images(
    function: Callable[[Tensor], Tensor], model: ImageTextClassifier, inputs: Any, workers: int
) -> Tensor:
    """``function`` of all images of a split in order, raw and on the model's device, nothing random."""
    device = model.text.device
    parts = evaluation_batches(inputs, model.input_shape, model.crop, batch_size=128, workers=workers)
    return torch.cat([function(part.to(device)) for part in parts])


def frozen_tokens(model: ImageTextClassifier, inputs: Any, config: Config) -> Tensor | None:
    """Unit tokens (n, 1 + N, D_e) of a split, in evaluation mode; None if they exceed ``--cache-gib``.

    Float32, so that scores are those of the images themselves.
    """
    size = 4 * len(inputs) * model.num_tokens * model.text.shape[-1]
    if size > config.cache_gib * GIB:
        return None
    model.eval()
    return of_all_images(lambda raw: model.tokens(model.normalize(raw)), model, inputs, config.workers)


@torch.no_grad()
def score_logits(
    model: ImageTextClassifier, inputs: Any, workers: int = 0, tokens: Tensor | None = None
) -> Tensor:
    """Logits (n, C) float32 on the CPU of the images of a split, in evaluation mode.

    ``inputs`` are uint8 images or a table of photographs, ``tokens`` what :func:`frozen_tokens` made of them.
    """
    model.eval()
    if tokens is not None:
        return torch.cat([model.logits(part) for part in tokens.split(128)]).cpu()
    return of_all_images(lambda raw: model.logits(model.normalize(raw)), model, inputs, workers).cpu()
