"""What sets of feature vectors have in common, three splits, preprocessing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmc_shared.data.dataset import HierarchicalDataset, Split
from hmc_shared.data.preprocessing import (
    Arrays,
    Protocol,
    divide,
    prepare,
    sample_splits,
    statistics,
    stratified_sample,
)
from hmc_shared.data.storage.cache import cached
from hmc_shared.data.storage.raw import RawSet
from hmc_shared.data.storage.sources import read_bytes

SEED = 0  # of the splits that a source lacks


def load_vectors(
    name: str,
    files: dict[str, Path],
    read_set: Callable[[dict[str, Path], dict[str, bytes]], RawSet],
    protocol: Protocol,
    *,
    version: int,
    validation_share: float,
    not_evaluated: Collection[str] = (),
) -> HierarchicalDataset:
    """Read a set, from the cache where its files have been read before, and preprocess it.

    Args:
        name: of the set.
        files: part to file.
        read_set: parses the files, given with their contents. Its parts are "train" and "test" and perhaps
            "validation", or "all", of which the splits are drawn.
        protocol: see :func:`hmc_shared.data.preprocessing.prepare`.
        version: of the reader; another one does not take what this one has cached.
        validation_share: of the training rows, where there is no validation part.
        not_evaluated: classes that metrics do not count.

    Raises ValueError for a damaged file, as ``read_set`` does, and nothing is cached then; and as
    :func:`vector_dataset` does.
    """
    contents = {part: read_bytes(path) for part, path in files.items()}
    sources = {
        path.name.removesuffix(".gz"): hashlib.sha256(contents[part]).hexdigest()
        for part, path in files.items()
    }
    raw = cached(f"{name} {version}", sources, lambda: read_set(files, contents))
    return vector_dataset(
        name,
        raw,
        sources,
        protocol,
        validation_share=validation_share,
        origin="file",
        not_evaluated=not_evaluated,
        notes=raw.notes,
    )


def vector_dataset(
    name: str,
    raw: RawSet,
    sources: dict[str, str],
    protocol: Protocol,
    *,
    validation_share: float,
    origin: str,
    not_evaluated: Collection[str] = (),
    ids: Mapping[str, Sequence[str]] | None = None,
    feature_names: Sequence[str] = (),
    words: Collection[str] = (),
    notes: Sequence[str] = (),
) -> HierarchicalDataset:
    """A data set of what was read: missing splits are sampled, and statistics taken.

    Args:
        name, protocol, validation_share, not_evaluated: as in :func:`load_vectors`.
        raw: its parts are as those that ``read_set`` gives there.
        sources: file to SHA-256.
        origin: what training rows come from, "file" or "split", for the note on sampled ones.
        ids: of the rows of each part; default: part and row number.
        feature_names: of the columns, if they have such.
        words: features that each stand for a word of a column: left out where no training row has it.
        notes: on the reading; that on the sampling comes before them.

    Raises ValueError, naming the set, for a split without rows, and for numbers beyond float32.
    """
    ids = ids or {part: [f"{part}-{row}" for row in range(len(of.labels))] for part, of in raw.parts.items()}
    columns = {
        "features": {part: raw.parts[part].features for part in raw.parts},
        "targets": {part: raw.targets(part) for part in raw.parts},
        "ids": {part: np.asarray(of_part, dtype=object) for part, of_part in ids.items()},
    }
    hierarchy = raw.hierarchy
    del raw  # much memory, where the splits are copies
    columns, sampled, sampling = _sample_missing(columns, validation_share, origin)
    targets, names = divide(columns["targets"], sampled), divide(columns["ids"], sampled)
    _refuse_empty_splits(name, targets)
    check_range(name, columns["features"], feature_names)
    if words:
        columns["features"], feature_names = _known(columns["features"], sampled, feature_names, words)
    inputs, mean, scale = prepare(columns.pop("features"), protocol, sampled)
    check_precision(name, mean, scale, feature_names)
    splits: dict[str, Any] = {
        part: Split(torch.from_numpy(x), torch.from_numpy(targets[part]), tuple(names[part].tolist()))
        for part, x in inputs.items()
    }
    return HierarchicalDataset(
        name,
        hierarchy,
        torch.tensor([node not in not_evaluated for node in hierarchy.names]),
        "vector",
        **splits,
        sources=sources,
        notes=(*sampling, *notes),
        feature_mean=torch.from_numpy(mean),
        feature_scale=torch.from_numpy(scale),
        feature_names=tuple(feature_names),
    )


def with_validation_rows(dataset: HierarchicalDataset) -> HierarchicalDataset:
    """The set of vectors whose training split, and statistics, are those of training and validation rows.

    They are its validation split as well: none is left to choose by, and no row joins the training twice.
    """
    both = dataset.training_split("refit")
    mean, scale = map(torch.from_numpy, statistics(both.inputs.double().numpy()))  # type: ignore[union-attr]
    return replace(dataset, train=both, validation=both, feature_mean=mean, feature_scale=scale)


def _sample_missing(
    columns: dict[str, Arrays], validation_share: float, origin: str
) -> tuple[dict[str, Arrays], np.ndarray | None, tuple[str, ...]]:
    """The three splits of all rows, or the rows of "train" that become validation; and a note."""
    targets = next(iter(columns["targets"].values()))
    if "all" in columns["targets"]:
        rows_of = sample_splits(targets, SEED)
        columns = {
            name: {part: of_parts["all"][rows] for part, rows in rows_of.items()}
            for name, of_parts in columns.items()
        }
        shares = "60 % training, 20 % validation and 20 % test"
        return columns, None, (f"splits: {shares}, by iterative stratification, seed {SEED}",)
    if "validation" in columns["targets"]:
        return columns, None, ()
    sampled = stratified_sample(columns["targets"]["train"], validation_share, SEED)
    share = f"{validation_share:.0%} of the training {origin}"
    return columns, sampled, (f"validation: {share}, by iterative stratification, seed {SEED}",)


def _known(
    features: Arrays, sampled: np.ndarray | None, names: Sequence[str], words: Collection[str]
) -> tuple[Arrays, list[str]]:
    """The features and their names without those of the ``words`` that no training row has."""
    train = divide(features, sampled)["train"]
    keep = [name not in words or bool((train[:, at] == 1).any()) for at, name in enumerate(names)]
    return {part: x[:, keep] for part, x in features.items()}, list(compress(names, keep))


def _refuse_empty_splits(name: str, targets: Mapping[str, np.ndarray]) -> None:
    for part, rows in targets.items():
        if not len(rows):
            total = sum(map(len, targets.values()))
            raise ValueError(f"{name}: the {part} split should have rows. Found none in {total} rows.")


def check_range(name: str, features: Arrays, columns: Sequence[str]) -> None:
    """Refuse what float32 does not hold: inf, or 1e39. Raises ValueError, naming set, column and row."""
    for part, x in features.items():
        low, high = np.fmin.reduce(x, axis=None, initial=0.0), np.fmax.reduce(x, axis=None, initial=0.0)
        if max(-low, high) > np.finfo(np.float32).max:
            row, column = np.argwhere(~(np.abs(x) <= np.finfo(np.float32).max) & ~np.isnan(x))[0].tolist()
            label = columns[column] if columns else column
            raise ValueError(
                f"{name}: features should be finite, at most 3.4e+38. Found {x[row, column]} in the column "
                f"{label}, row {row + 1} of {part}."
            )


def check_precision(name: str, mean: np.ndarray, scale: np.ndarray, columns: Sequence[str]) -> None:
    """Refuse what float32 blurs, as seconds since 1970 within a day: predictions read rows in float32.

    Raises ValueError, naming the set and the column, where rounding is over a hundredth of a deviation.
    """
    for column in np.flatnonzero(np.abs(mean) * 2.0**-24 > 0.01 * scale)[:1]:
        label = columns[column] if columns else column
        spread = f"Found a deviation of {scale[column]:.3g} around {mean[column]:.3g}: subtract a constant"
        raise ValueError(f"{name}: column {label} should vary by more than float32 blurs. {spread}.")
