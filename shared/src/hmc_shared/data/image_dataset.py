"""What the sets of labelled images have in common: splits, a table of encoded images, targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmc_shared.data.dataset import HierarchicalDataset, Split
from hmc_shared.data.preprocessing import sample_splits, stratified_sample
from hmc_shared.data.storage.cache import cached_images
from hmc_shared.data.storage.raw import targets_of
from hmc_shared.data.storage.sources import read_all
from hmc_shared.hierarchy import Hierarchy

VALIDATION_SHARE, SEED = 0.2, 0
NO_TEST = "test: the official validation split, because the labels of the test split are not public"

Labels = Mapping[str, Sequence[int]]
"""Path of an image below the folder of its set -> ids of its classes, ancestors or not."""


def image_dataset(
    name: str,
    root: Path,
    parts: Mapping[str, Labels],
    hierarchy: Hierarchy,
    *,
    reader: str,
    sources: Mapping[str, str],
    evaluated: Tensor | None = None,
    unknown: Labels | None = None,
    notes: Sequence[str] = (),
) -> HierarchicalDataset:
    """A data set of the images of a folder; missing splits are sampled by iterative stratification.

    Args:
        name: of the data set.
        root: folder of the images.
        parts: "train", "test" and perhaps "validation"; or "all".
        hierarchy: over the classes.
        reader: names set and reader version, for the cache of the images.
        sources: file to SHA-256, of what the labels were read from.
        evaluated: (C,) bool; default all.
        unknown: image to the classes of which nobody knows whether it has them. Then nobody knows of their
            ancestors, either, but for those that it has.
        notes: on the reading; those on the sampling come before them.

    Raises ValueError, naming the folder, for an image in two splits, a split without images, and an image
    that is missing or damaged.
    """
    labels = {image: classes for part in parts.values() for image, classes in part.items()}
    names = list(labels)
    if len(names) < sum(map(len, parts.values())):
        twice = next(image for image in names if sum(image in part for part in parts.values()) > 1)
        raise ValueError(f"{root}: the image {twice!r} should be in one split. Found it in two.")
    targets = targets_of([*labels.values()], hierarchy)
    is_unknown = None
    if unknown is not None:
        is_unknown = torch.from_numpy(targets_of([unknown[image] for image in names], hierarchy) & ~targets)

    starts = np.cumsum([0, *map(len, parts.values())])
    rows_of_part = {
        part: np.arange(start, start + len(parts[part])) for part, start in zip(parts, starts, strict=False)
    }
    rows_of_split, sampling = complete_splits(rows_of_part, targets, root)
    paths = [root / image for image in names]
    table, digest = cached_images(reader, root, names, paths, lambda: read_all(paths))
    splits = {}
    for part, rows in rows_of_split.items():
        ids = tuple(names[row] for row in rows)
        of_rows = None if is_unknown is None else is_unknown[torch.from_numpy(rows)]
        splits[part] = Split(table.select(rows), torch.from_numpy(targets[rows]), ids, unknown=of_rows)
    return HierarchicalDataset(
        name=name,
        hierarchy=hierarchy,
        evaluated=torch.ones(len(hierarchy), dtype=torch.bool) if evaluated is None else evaluated,
        kind="image",
        **splits,
        sources={**sources, "images": digest},
        notes=(*sampling, *notes),
    )


def complete_splits(
    rows_of_part: Mapping[str, np.ndarray], targets: np.ndarray, origin: str | Path, what: str = "images"
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Row numbers of the three splits, and a note on what was sampled; ``targets`` is (n, C) bool.

    Parts are "train", "test" and perhaps "validation"; or "all". Raises ValueError, naming ``origin``, for a
    split without any.
    """
    if "all" in rows_of_part:
        splits = sample_splits(targets, SEED)
        notes = [f"splits: 60 % training, 20 % validation and 20 % test, stratified by class, seed {SEED}"]
    elif "validation" in rows_of_part:
        splits, notes = {part: rows_of_part[part] for part in ("train", "validation", "test")}, []
    else:
        train = rows_of_part["train"]
        held_out = stratified_sample(targets[train], VALIDATION_SHARE, SEED)
        splits = {"train": train[~held_out], "validation": train[held_out], "test": rows_of_part["test"]}
        share = f"{VALIDATION_SHARE:.0%} of the training {what}"
        notes = [f"validation: {share}, stratified by class, seed {SEED}"]
    for part, rows in splits.items():
        if not len(rows):
            raise ValueError(
                f"{origin}: the {part} split should have {what}. Found none in {len(targets)} {what}."
            )
    return splits, notes
