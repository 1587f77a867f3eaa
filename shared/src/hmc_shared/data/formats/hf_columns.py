"""`hf:PATH` with `--levels`: a Hugging Face `datasets` data set whose columns of labels spell out a tree."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import torch
from datasets import config as hub_config
from datasets.config import DOWNLOADED_DATASETS_PATH, EXTRACTED_DATASETS_PATH

from hmc_shared.data.choice import FeatureChoice
from hmc_shared.data.dataset import HierarchicalDataset, Split
from hmc_shared.data.formats.cells import Column, is_list, plain
from hmc_shared.data.formats.features import choose_features, read_features
from hmc_shared.data.formats.label_cells import labels_of_levels
from hmc_shared.data.formats.level_columns import split_levels, split_rows
from hmc_shared.data.formats.table_file import TableFile
from hmc_shared.data.formats.taxonomy import column_of
from hmc_shared.data.image_dataset import complete_splits
from hmc_shared.data.image_table import needs_pillow
from hmc_shared.data.preprocessing import Protocol
from hmc_shared.data.storage.cache import cached_images
from hmc_shared.data.storage.hub import hub_answers
from hmc_shared.data.storage.raw import RawPart, RawSet
from hmc_shared.data.vector_dataset import vector_dataset
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.indicators import refuse_vectors
from hmc_shared.messages import listed, reason, shown

READER_VERSION = 1
NO_FEATURES = {"id", "split"}


def load(
    path: str, levels: str | Sequence[str], protocol: Protocol, choice: FeatureChoice | None = None
) -> HierarchicalDataset:
    """Read a data set that `datasets` knows: a ``save_to_disk`` folder, a folder of its files, or a hub id.

    Its ``levels`` are columns of labels, class labels, texts or numbers, coarse to fine; or one column of
    lists of these. A column of images is the input; without one, the other columns are features as
    :mod:`hmc_shared.data.formats.features` says, but for class labels. Splits are recognised by their names;
    a single one is all rows. Missing ones are sampled as for other sets.

    Raises ValueError, naming the data set, for one that cannot be read, an unknown column, a label without
    one in the columns before it, and where there is no input or several columns of images.
    """
    parts = open_dataset(path)
    given = split_levels(levels)
    rows = datasets.concatenate_datasets(list(parts.values()))
    columns = [column_of(name, rows.column_names) for name in given]
    for name in columns:
        if name not in rows.column_names:
            raise ValueError(f"{path} should have a column {name!r}. Found {listed(rows.column_names)}.")
    images = [column for column, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    if len(images) > 1:
        raise ValueError(f"{path} should have one column of images. Found {', '.join(images)}.")
    if images and choice:
        raise ValueError(
            f"`--features`, `--drop` and `--categorical` are for numbers. Found images in {path}."
        )
    table = as_table(rows, path, columns, [*columns] if images else rows.column_names)
    hierarchy, labels, notes = labels_of_levels(table, given)
    rows_of_part: dict[str, list[int]] = {"all": list(range(len(rows)))}
    ids = [f"{part}-{row}" for part, of_part in parts.items() for row in range(len(of_part))]
    if len(parts) > 1:
        splits = [part for part, of_part in parts.items() for _ in range(len(of_part))]
        rows_of_part, more = split_rows(splits, path)
        notes += more
    if images:
        return _images(path, rows, images[0], ids, hierarchy, labels, rows_of_part, notes)
    taken = {*columns} | (NO_FEATURES & {*table.columns})
    feature_names, words, more = choose_features(table, taken, choice or FeatureChoice())
    notes += more
    features = read_features(table, feature_names)
    raw = RawSet(
        hierarchy,
        {part: RawPart(features[at], [labels[row] for row in at]) for part, at in rows_of_part.items()},
    )
    return vector_dataset(
        Path(path).name,
        raw,
        {"rows": raw.digest()},
        protocol,
        validation_share=0.2,
        origin="split",
        ids={part: [ids[row] for row in at] for part, at in rows_of_part.items()},
        feature_names=feature_names,
        words=words,
        notes=notes,
    )


def _images(
    path: str,
    rows: datasets.Dataset,
    column: str,
    ids: list[str],
    hierarchy: Hierarchy,
    labels: list[list[int]],
    rows_of_part: dict[str, list[int]],
    notes: list[str],
) -> HierarchicalDataset:
    needs_pillow(path)
    every = RawSet(hierarchy, {"all": RawPart(np.zeros((len(labels), 0)), labels)})
    targets = torch.from_numpy(every.targets("all"))
    rows_of_split, sampling = complete_splits(
        {part: np.array(at) for part, at in rows_of_part.items()}, targets.numpy(), path
    )
    files = [Path(file["filename"]) for file in rows.cache_files]
    encoded = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    table, digest = cached_images(
        f"hf {READER_VERSION}", Path(path), ids, files, lambda: read_images(encoded, column, path)
    )
    splits = {
        part: Split(table.select(at), targets[torch.from_numpy(at)], tuple(ids[row] for row in at))
        for part, at in rows_of_split.items()
    }
    return HierarchicalDataset(
        name=Path(path).name,
        hierarchy=hierarchy,
        evaluated=torch.ones(len(hierarchy), dtype=torch.bool),
        kind="image",
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        sources={
            "images": digest,
            "labels": hashlib.sha256(json.dumps([rows_of_part, labels]).encode()).hexdigest(),
        },
        notes=(*sampling, *notes),
    )


def open_dataset(path: str) -> dict[str, datasets.Dataset]:
    """Name to rows of each split. Raises ValueError, naming the data set, if there is none."""
    folder = Path(path).expanduser()
    if (folder / "dataset.json").is_file() and (folder / "hierarchy.json").is_file():
        raise ValueError(
            f"`--levels` should not be given for {path}: it has a hierarchy.json. Found it there."
        )
    has_bars = not datasets.are_progress_bars_disabled()
    is_offline = hub_config.HF_HUB_OFFLINE
    datasets.disable_progress_bars()
    try:
        if not (folder.exists() or is_offline or hub_answers(path)):
            hub_config.HF_HUB_OFFLINE = True  # what was downloaded before, and no further attempts
        saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
        source = str(folder) if folder.exists() else path
        dataset: Any = datasets.load_from_disk(source) if saved else datasets.load_dataset(source)
        for rows in dataset.values() if isinstance(dataset, dict) else [dataset]:
            rows.data.validate(full=True)  # offsets that lie would be followed out of the memory
    except Exception as error:  # of datasets, pyarrow, huggingface_hub, on damaged files
        raise ValueError(
            f"hf:{path} is neither a folder of `datasets` nor on the hub: {reason(error)}"
        ) from error
    finally:
        hub_config.HF_HUB_OFFLINE = is_offline
        if has_bars:
            datasets.enable_progress_bars()
    return dict(dataset) if isinstance(dataset, dict) else {"all": dataset}


def as_table(rows: datasets.Dataset, path: str, levels: Sequence[str], names: Sequence[str]) -> TableFile:
    """The columns of these names, class labels of the levels as texts; other class labels have no use.

    Raises ValueError, naming row and column, for a class label without a name.
    """
    known = [name for name in names if name in rows.column_names]
    table: Any = rows.select_columns(known).with_format("arrow")[:] if known else {}
    columns: dict[str, Column] = {}
    for name in known:
        kind, cells = rows.features[name], plain(table[name])
        inner = getattr(kind, "feature", None)  # of a list
        if name in levels:
            if isinstance(kind, datasets.ClassLabel):
                cells = class_names(cells, kind, f"{path}: the column {name!r}", len(levels) == 1)
            elif isinstance(inner, datasets.ClassLabel) and is_list(cells.type):
                cells = lists_of_names(cells, inner, f"{path}: the column {name!r}")
        elif isinstance(kind, datasets.ClassLabel) or isinstance(inner, datasets.ClassLabel):
            cells = pa.chunked_array([pa.nulls(len(cells), pa.struct([("class label", pa.int64())]))])
        columns[name] = cells
    return TableFile(path, columns, len(rows))


def class_names(ids: Column, kind: datasets.ClassLabel, where: str, as_lists: bool = False) -> Column:
    """Texts of class labels, null for -1, which stands for none; or lists of one, whose text is not split."""
    cells = [_class_name(cell, kind, where, row) for row, cell in enumerate(ids.to_pylist())]
    if as_lists:
        lists = [None if cell is None else [cell] for cell in cells]
        return pa.chunked_array([pa.array(lists, pa.list_(pa.string()))])
    return pa.chunked_array([pa.array(cells, pa.string())])


def lists_of_names(ids: Column, kind: datasets.ClassLabel, where: str) -> Column:
    """The same of lists of class labels."""
    refuse_vectors(ids.to_pylist(), where)
    cells = [
        None if cell is None else [_class_name(item, kind, where, row) for item in cell]
        for row, cell in enumerate(ids.to_pylist())
    ]
    return pa.chunked_array([pa.array(cells, pa.list_(pa.string()))])


def _class_name(cell: int | None, kind: datasets.ClassLabel, where: str, row: int) -> str | None:
    if cell is None or cell == -1:
        return None
    if not 0 <= cell < len(kind.names):
        raise ValueError(f"{where}, row {row + 1}: {cell} is none of its {len(kind.names)} class labels.")
    return kind.names[cell]


def read_images(rows: datasets.Dataset, column: str, origin: str) -> Iterator[bytes]:
    """The image of each row, as it is encoded; b"" where there is none.

    Raises ValueError, naming the row, for a path that leads out of the data set's folder (or out of where
    `datasets` unpacks its archives, and keeps what is of the hub); and for a file that cannot be read.
    """
    folder = Path(origin).expanduser()
    of_hub = (DOWNLOADED_DATASETS_PATH, huggingface_hub.constants.HF_HUB_CACHE)
    kept = (folder, EXTRACTED_DATASETS_PATH) if folder.exists() else of_hub
    roots = [place for root in kept for place in (Path(root).absolute(), Path(root).resolve())]
    for number, row in enumerate(rows):
        image = row[column] or {}  # type: ignore[index]
        if image.get("bytes") is not None or not image.get("path"):
            yield image.get("bytes") or b""
            continue
        path = Path(os.path.normpath(folder.absolute() / image["path"]))
        where = f"{origin}, row {number + 1}"
        if "\0" in image["path"] or not any(path.is_relative_to(root) for root in roots):
            raise ValueError(
                f"{where}: an image should lie inside the folder. Found {shown(image['path'], 200)}: save "
                "the data set with its images."
            )
        try:
            yield path.read_bytes()
        except OSError as error:
            raise ValueError(f"{where}: {path} cannot be read: {error.strerror}.") from error
