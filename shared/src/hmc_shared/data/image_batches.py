"""Batches of encoded images: decoded and transformed in worker processes, in order."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hmc_shared.data.image_table import ImageTable, decode
from hmc_shared.waiting import watched

Transform = Callable[[Tensor], Tensor]


def image_batches(
    inputs: ImageTable | Tensor,
    order: Sequence[Tensor],
    transform: Transform,
    *,
    seed: int,
    epoch: int,
    workers: int = 0,
) -> Iterator[Tensor]:
    """Decode, transform and stack the images of each batch, in order.

    The random numbers of the transform for an image depend on ``seed``, ``epoch`` and its row alone: not on
    the batch, the number of workers or where a run was resumed. The random state of this process does not
    change.

    Args:
        inputs: n images; ``inputs[row]`` is (channels, height, width) uint8.
        order: int64 row numbers (b,) of each batch.
        transform: from one image to a tensor, of the same shape for all; its randomness is torch's. It
            has to be picklable where worker processes are spawned (not on Linux before Python 3.14).
        seed: with ``epoch``, of the random numbers of the transform.
        epoch: number of the pass over the data.
        workers: processes that prepare batches ahead; with 0, this one does.

    Yields:
        (b, ...) tensors, stacked results of the transform.

    Raises ValueError, one line, for a damaged image, and if the transform leaves different shapes.
    """
    items = _Transformed(inputs, transform, seed, epoch)
    with closing(_load(items, [rows.tolist() for rows in order], _stack, workers)) as loaded:
        for batch in loaded:
            if isinstance(batch, ValueError):
                raise batch
            yield batch


def find_unreadable(table: ImageTable, workers: int = 0) -> Iterator[tuple[int, str]]:
    """Row and reason of each image of a table that cannot be decoded, by so many worker processes."""
    order = [list(range(start, min(start + 16, len(table)))) for start in range(0, len(table), 16)]
    with closing(_load(_Checked(table), order, list, workers)) as loaded:
        batches = watched(loaded, "trying images", len(order), "x 16 images")
        reasons = (reason for batch in batches for reason in batch)
        yield from ((row, reason) for row, reason in enumerate(reasons) if reason)


def _load(
    items: Dataset[Any], order: Sequence[list[int]], collate: Callable[[list[Any]], Any], workers: int
) -> Generator[Any, None, None]:
    """The collated items of each batch, in order, made ahead by worker processes, which end with it."""
    with warnings.catch_warnings():
        # More workers than cores is the caller's choice. Python 3.12 and later warn of threads at every
        # fork: the workers call nothing that waits for a thread of this process.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        warnings.filterwarnings("ignore", message="This process .* is multi-threaded")
        loader = DataLoader(
            items,
            batch_sampler=order,
            num_workers=workers,
            collate_fn=collate,
            generator=torch.Generator(),  # else its base seed would come from the global state
        )
        batches = iter(loader)
    try:
        yield from batches
    finally:
        del batches  # ends the workers now; the traceback of an error would keep them


@dataclass(frozen=True)
class _Checked(Dataset[str]):
    """Why an image cannot be decoded; "" if it can."""

    table: ImageTable

    def __getitem__(self, row: int) -> str:
        try:
            decode(self.table.encoded(row), window=self.table.window)
        except ValueError as error:
            return str(error)
        return ""


@dataclass(frozen=True)
class _Transformed(Dataset[Tensor | ValueError]):
    inputs: ImageTable | Tensor
    transform: Transform
    seed: int
    epoch: int

    def __getitem__(self, row: int) -> Tensor | ValueError:
        # The state of the CPU generator only: fork_rng and manual_seed would touch those of all devices.
        state = torch.get_rng_state()
        mixed = np.random.SeedSequence([self.seed, self.epoch, row]).generate_state(1, np.uint64)
        torch.default_generator.manual_seed(int(mixed[0]))
        try:
            return self.transform(self.inputs[row])
        except ValueError as error:
            return error  # raised in a worker, it would carry the text of a traceback
        finally:
            torch.set_rng_state(state)


def _stack(images: list[Tensor | ValueError]) -> Tensor | ValueError:
    errors = [image for image in images if isinstance(image, ValueError)]
    tensors = [image for image in images if isinstance(image, Tensor)]
    shapes = {tuple(image.shape) for image in tensors}
    if errors:
        return errors[0]
    if len(shapes) > 1:
        return ValueError(f"`transform` should give images of one shape. Found {sorted(shapes)}.")
    return torch.stack(tensors)
