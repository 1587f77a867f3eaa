"""`hf:PATH` with `--levels`: a Hugging Face `datasets` data set whose columns of labels spell out a tree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import torch

from hmc_shared.data.dataset import HierarchicalDataset, Split, targets_with_ancestors
from hmc_shared.data.formats.level_columns import level_labels, split_levels, split_rows
from hmc_shared.data.formats.table_file import cell_text
from hmc_shared.data.image_dataset import complete_splits
from hmc_shared.data.image_table import needs_pillow
from hmc_shared.data.preprocessing import Protocol
from hmc_shared.data.storage.cache import cached_images
from hmc_shared.data.storage.raw import RawPart, RawSet
from hmc_shared.data.vector_dataset import vector_dataset
from hmc_shared.hierarchy import Hierarchy

READER_VERSION = 1
NO_FEATURES = {"id", "idx", "index", "split", "__index_level_0__"}


def load(path: str, levels: str | Sequence[str], protocol: Protocol) -> HierarchicalDataset:
    """Read a data set that `datasets` knows: a ``save_to_disk`` folder, a folder of its files, or a hub id.

    Its ``levels`` are columns of labels, class labels, texts or numbers, coarse to fine. A column of images
    is the input; without one, columns of lists of numbers are, or else all columns of numbers that are
    neither levels nor class labels. Splits are recognised by the beginning of their names, train, val, test;
    a single one is all rows. Missing ones are sampled as for other sets.

    Raises ValueError, naming the data set, for one that cannot be read, an unknown column, a label without
    one in the columns before it, and where there is no input or several columns of images.
    """
    parts = open_dataset(path)
    columns = split_levels(levels)
    rows = datasets.concatenate_datasets(list(parts.values()))
    for name in columns:
        if name not in rows.column_names:
            raise ValueError(f"{path} should have a column {name!r}. Found {', '.join(rows.column_names)}.")
    hierarchy, labels, notes = level_labels({name: label_texts(rows, name) for name in columns}, path)
    rows_of_part: dict[str, list[int]] = {"all": list(range(len(rows)))}
    ids = [f"{part}-{row}" for part, of_part in parts.items() for row in range(len(of_part))]
    if len(parts) > 1:
        splits = [part for part, of_part in parts.items() for _ in range(len(of_part))]
        rows_of_part, more = split_rows(splits, path)
        notes += more
    images = [column for column, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    if len(images) > 1:
        raise ValueError(f"{path} should have one column of images. Found {', '.join(images)}.")
    if images:
        return _images(path, rows, images[0], ids, hierarchy, labels, rows_of_part, notes)
    features, feature_names = read_features(rows, columns, path)
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
    nodes = np.array([of_row[0] if of_row else -1 for of_row in labels])
    targets = targets_with_ancestors(nodes, hierarchy)
    targets[torch.from_numpy(nodes < 0)] = False
    rows_of_split, sampling = complete_splits(
        {part: np.array(at) for part, at in rows_of_part.items()}, targets.numpy(), path
    )
    files = [Path(file["filename"]) for file in rows.cache_files]
    encoded = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    table, digest = cached_images(
        f"hf {READER_VERSION}", Path(path), ids, files, lambda: read_images(encoded, column)
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
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
        source = str(folder) if folder.exists() else path
        dataset: Any = datasets.load_from_disk(source) if saved else datasets.load_dataset(source)
    except (OSError, LookupError, TypeError, ValueError, pa.ArrowException) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"hf:{path} is neither a folder of `datasets` nor on the hub: {reason}") from error
    finally:
        if shown:
            datasets.enable_progress_bars()
    return dict(dataset) if isinstance(dataset, dict) else {"all": dataset}


def label_texts(rows: datasets.Dataset, name: str) -> list[str]:
    """A column of labels as text, "" for a missing one (None, NaN, or -1 of a class label)."""
    kind = rows.features[name]
    table: Any = rows.select_columns([name]).with_format("arrow")[:]
    cells = table[name].to_pylist()
    if isinstance(kind, datasets.ClassLabel):
        return ["" if cell is None or cell < 0 else kind.names[cell] for cell in cells]
    if not isinstance(kind, datasets.Value):
        raise ValueError(f"The column {name!r} should hold one label in each row. Found {kind}.")
    return [cell_text(cell).strip() for cell in cells]


def read_features(rows: datasets.Dataset, levels: Sequence[str], path: str) -> tuple[np.ndarray, list[str]]:
    """(n, F) float64, NaN where missing, and the names of the columns; no names for lists."""
    others = [
        name
        for name, kind in rows.features.items()
        if name not in NO_FEATURES and name not in levels and not isinstance(kind, datasets.ClassLabel)
    ]
    table: Any = rows.select_columns(others).with_format("arrow")[:]
    parts = []
    for name in others:
        column = table[name].combine_chunks()
        if (
            pa.types.is_list(column.type)
            or pa.types.is_large_list(column.type)
            or pa.types.is_fixed_size_list(column.type)
        ) and is_number(column.type.value_type):
            widths = set(column.value_lengths().to_pylist()) if len(column) else {0}
            if len(widths) != 1 or None in widths:
                raise ValueError(f"{path}: lists in {name!r} should be of one length. Found {widths}.")
            parts.append(column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1))
    if parts:
        return np.concatenate(parts, axis=1).astype(np.float64), []
    names = [name for name in others if is_number(table[name].type)]
    if not names:
        raise ValueError(f"{path} should have a column of images or features. Found {rows.column_names}.")
    numbers = [table[name].cast(pa.float64()).to_numpy() for name in names]
    return np.stack(numbers, axis=1), names


def is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def read_images(rows: datasets.Dataset, column: str) -> Iterator[bytes]:
    for row in rows:
        image = row[column]  # type: ignore[index]
        yield image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()
