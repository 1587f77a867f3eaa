"""The logits of a split, batch by batch, on the model's device: the one place where splits are scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from hmc_shared.data.dataset import Split
from hmc_shared.data.image_batches import image_batches
from hmc_shared.data.image_table import ImageTable
from hmc_shared.messages import REMEDIES
from hmc_shared.model import HierarchicalModel
from hmc_shared.partial_labels import without_unknown
from hmc_shared.waiting import watched

IMAGES = 64
"""Images of a table, or image files, that are decoded for a batch at most."""


def score_split(model: HierarchicalModel, split: Split, workers: int = 0) -> Tensor:
    """The logits of a split, (n, C) float32 on the CPU, in evaluation mode.

    ``workers`` processes read a table of images. Raises FloatingPointError for a network that has diverged.
    """
    return not_nan(map_split(lambda raw: model.logits(model.normalize(raw)), model, split, workers).cpu())


def not_nan(logits: Tensor) -> Tensor:
    """The logits (n, C). Raises FloatingPointError for NaN, which finite weights give, too."""
    if logits.isnan().any():
        raise FloatingPointError(f"The scores of the network are not numbers (NaN). {REMEDIES}.")
    return logits


def score_known(model: HierarchicalModel, split: Split, workers: int = 0) -> Tensor:
    """What :func:`score_split` gives, without what is unknown: the logits by which validation chooses."""
    return without_unknown(score_split(model, split, workers), split.unknown)


@torch.no_grad()
def map_split(
    function: Callable[[Tensor], Tensor], model: HierarchicalModel, split: Split, workers: int = 0
) -> Tensor:
    """``function`` of all raw inputs of a split in order, on the model's device, nothing random."""
    model.eval()
    size = batch_of(model, split)
    batches = watched(raw_batches(model, split, workers), "scoring", -(-len(split) // size), f"x {size} rows")
    return torch.cat([function(raw.to(model.device)) for raw in batches])


def batch_of(model: HierarchicalModel, split: Split) -> int:
    """Rows that are scored at a time: of a table of images no more than are decoded."""
    return min(model.batch_size, IMAGES) if isinstance(split.inputs, ImageTable) else model.batch_size


def raw_batches(model: HierarchicalModel, split: Split, workers: int = 0) -> Iterator[Tensor]:
    """The inputs of a split in order, raw, (b, ...): images of a table brought to the model's size."""
    inputs = split.inputs
    if not isinstance(inputs, ImageTable):
        yield from inputs.split(model.batch_size)
        return
    from hmc_shared.vision.pixels import resize_and_crop  # torchvision: only for images

    transform = partial(resize_and_crop, input_shape=model.input_shape, resize=model.resize)
    order = torch.arange(len(inputs)).split(batch_of(model, split))
    yield from image_batches(inputs, order, transform, seed=0, epoch=0, workers=workers)
