"""What is embedded: names, labels and splits of rows, and their images, texts or vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from hmc_shared.cli.embed import Embed
from hmc_shared.data import load_dataset
from hmc_shared.data.formats.features import texts_of
from hmc_shared.data.formats.table import LabelledRows, beside_table, read_rows, tables_of
from hmc_shared.data.formats.table_file import read_array
from hmc_shared.data.image_dataset import complete_splits
from hmc_shared.data.image_table import ImageTable
from hmc_shared.data.storage.raw import targets_of
from hmc_shared.data.storage.sources import sha256
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import shown


@dataclass(frozen=True, eq=False)
class Source:
    """n rows."""

    inputs: ImageTable | Tensor | Sequence[str | None] | np.ndarray
    """Images, (n, channels, height, width) where they are a tensor; texts, None where missing; or vectors
    (n, F)."""
    hierarchy: Hierarchy
    ids: Sequence[str]
    labels: Sequence[Sequence[int]]
    """Class ids of each row; ancestors need not be there."""
    splits: Sequence[str]
    """train, val or test of each row."""
    digest: str
    """SHA-256 of what was read."""
    notes: Sequence[str]

    @property
    def training_rows(self) -> list[int]:
        return [row for row, split in enumerate(self.splits) if split == "train"]


NAMES = {"train": "train", "validation": "val", "test": "test"}


def open_source(config: Embed) -> Source:
    """Raises ValueError as the readers do, and for a set whose splits share rows."""
    return _of_table(config) if config.text or config.array else _of_images(config)


def _of_images(config: Embed) -> Source:
    dataset = load_dataset(
        config.dataset,
        config.data_dir,
        view="image",
        levels=config.levels,
        uncertain=config.uncertain,
        blank=config.blank,
        window=config.window,
        on_error=config.on_error,
        workers=config.workers,
    )
    dataset.refuse_unknown("hmc embed")
    every = dataset.train.concatenate(dataset.validation).concatenate(dataset.test)
    if len({*every.ids}) < len(every):
        raise ValueError(f"{config.dataset}: each image should be in one split. Found the same in two.")
    labels = dataset.hierarchy.most_specific(every.targets)
    notes = [*dataset.notes]
    if not dataset.evaluated.all():
        count = int((~dataset.evaluated).sum())
        notes.append(f"{count} classes that metrics do not count are classes as any others in the table")
    return Source(
        every.inputs,
        dataset.hierarchy,
        every.ids,
        [row.nonzero().flatten().tolist() for row in labels],
        [NAMES[part] for part, split in dataset.splits.items() for _ in range(len(split))],
        dataset.checksum,
        notes,
    )


def _of_table(config: Embed) -> Source:
    files = tables_of(Path(config.dataset.partition(":")[2]).expanduser())
    file = files[0]
    for path in (*files, config.array):
        if path and path.resolve().is_relative_to(config.output.resolve()):
            raise ValueError(
                f"`--output` should be apart from what is read. Found {config.output} with {path}."
            )
    beside = beside_table(file.parent, config.levels, config.evidence)
    rows = read_rows(files, beside, config.levels, config.evidence)
    split_of, sampling = _splits(rows, file)
    kept = np.array([row for row, split in enumerate(split_of) if split])
    if config.array:
        inputs = _vectors(config.array, len(rows.table), file)[kept]
    else:
        texts = texts_of(rows.table, config.text)
        inputs = [texts[row] for row in kept]
    read = [*files, *beside.files, *([config.array] if config.array else [])]
    return Source(
        inputs,
        rows.hierarchy,
        [rows.ids[row] for row in kept],
        [rows.labels[row] for row in kept],
        [split_of[row] for row in kept],
        " ".join(map(sha256, read)),
        [*sampling, *rows.notes],
    )


def _splits(rows: LabelledRows, file: Path) -> tuple[list[str], list[str]]:
    """The split of each row, "" for one that is left out, and notes: the splits that training would draw."""
    of_part = {part: np.arange(len(at)) for part, at in rows.parts.items()}
    starts = np.cumsum([0, *map(len, rows.parts.values())])
    of_part = {part: start + at for start, (part, at) in zip(starts, of_part.items(), strict=False)}
    every = np.concatenate([*rows.parts.values()])
    targets = targets_of([rows.labels[row] for row in every], rows.hierarchy)
    found, notes = complete_splits(of_part, targets, file, "rows")
    split_of = [""] * len(rows.table)
    for part, at in found.items():
        for row in every[at]:
            split_of[row] = NAMES[part]
    return split_of, notes


def _vectors(path: Path, size: int, file: Path) -> np.ndarray:
    """(n, F) mapped. Raises ValueError for another number of rows or dimensions."""
    array = read_array(path)
    if array.ndim != 2 or len(array) != size or not array.shape[1]:
        raise ValueError(
            f"{path} should have a vector for each of the {size} rows of {file}. "
            f"Found the shape {shown(array.shape)}."
        )
    return array
