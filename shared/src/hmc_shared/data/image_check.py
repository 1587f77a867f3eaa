"""Every image of a data set is decoded once, as it will be looked at, before anything is trained on it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Literal

import numpy as np

from hmc_shared.data.choice import parse_window
from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.image_batches import find_unreadable
from hmc_shared.data.image_table import ImageTable
from hmc_shared.data.storage.cache import cached_labels
from hmc_shared.messages import some

OnError = Literal["refuse", "skip"]
VERSION = 2  # of what `decode` reads


def check_images(
    dataset: HierarchicalDataset, on_error: OnError = "refuse", workers: int = 0
) -> HierarchicalDataset:
    """The data set, all of whose images can be decoded.

    What was found is kept in the cache, for the content of the table of images: that is done once.

    Args:
        dataset: with tensors it is returned as it is.
        on_error: "refuse" images that cannot be decoded, or "skip" them: a note names the first.
        workers: processes that decode, beside this one.

    Raises ValueError, naming the first such image, and for a split of which none is left.
    """
    splits, names = dict(dataset.splits), []
    for part, split in dataset.splits.items():
        if not isinstance(split.inputs, ImageTable):
            return dataset
        damaged = unreadable(split.inputs, workers)
        if damaged and on_error == "refuse":
            row, reason = next(iter(damaged.items()))
            others = f" (and {len(damaged) - 1} more of this split)" if len(damaged) > 1 else ""
            raise ValueError(
                f"{split.inputs.origin}: {split.inputs.name(row)!r}{others} {reason.rstrip('.')}. "
                "Mend or remove it, or train with `--on-error skip`."
            )
        if damaged:
            names += [split.inputs.name(row) for row in damaged if split.inputs.name(row) not in names]
            kept = np.array([row for row in range(len(split)) if row not in damaged])
            if not len(kept):
                raise ValueError(f"{split.inputs.origin}: no image of the {part} split can be read.")
            splits[part] = split.select(kept)
    if not names:
        return dataset
    note = f"{len(names)} images that cannot be read were left out: {some(names)}"
    return replace(dataset, **splits, notes=(*dataset.notes, note))


def with_window(dataset: HierarchicalDataset, window: str | None) -> HierarchicalDataset:
    """The data set, whose deep images are scaled between two percentiles, such as "1,99".

    Raises ValueError for other percentiles, and for a data set that has no image files.
    """
    if window is None:
        return dataset
    percentiles, splits = parse_window(window), dict(dataset.splits)
    for part, split in dataset.splits.items():
        if not isinstance(split.inputs, ImageTable):
            raise ValueError(f"`--window` is for files of images. Found it for {dataset.name!r}.")
        splits[part] = replace(split, inputs=split.inputs.with_window(percentiles))
    return replace(dataset, **splits)


def unreadable(table: ImageTable, workers: int = 0) -> dict[int, str]:
    """Row to reason of each image that cannot be decoded, whole; from the cache if it was found before."""
    import PIL  # optional: the extra `images`

    rows = hashlib.sha256(table.rows.astype("<i8").tobytes()).hexdigest()
    reader = f"decoded {VERSION} with Pillow {PIL.__version__}, rows {rows}, window {table.window}"
    content = cached_labels(reader, table.files, lambda: list(find_unreadable(table, workers)))
    return {row: reason for row, reason in content}
