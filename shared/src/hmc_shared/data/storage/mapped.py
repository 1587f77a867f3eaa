"""Large sets of vectors, mapped from the cache: their rows take memory only while they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmc_shared.data.dataset import HierarchicalDataset, Split
from hmc_shared.data.storage.cache import DAMAGED, cache_folder, keep, new_entry, seal
from hmc_shared.hierarchy import Hierarchy

LARGE = 2**25
"""Bytes of a source from which on its rows are mapped: a smaller one is read again in a second or two."""
ARRAYS = ("inputs", "targets")


def mapped(reader: str, key: object, read: Callable[[], HierarchicalDataset]) -> HierarchicalDataset:
    """What ``read`` returns, a set of vectors, with inputs and targets mapped from the cache.

    ``reader`` names set and reader version, and ``key``, JSON values, all that the result depends on. A
    damaged entry is rebuilt. Without a place for the cache the rows stay in memory, with a warning.
    """
    digest = hashlib.sha256(json.dumps([reader, key], sort_keys=True).encode()).hexdigest()
    folder = cache_folder() / f"{reader.split()[0]}-{digest[:16]}"
    if (dataset := read_mapped(folder)) is not None:
        return dataset
    read_now = read()
    keep(lambda: write_mapped(read_now, folder), folder)
    return read_mapped(folder) or read_now


def read_mapped(folder: Path) -> HierarchicalDataset | None:
    """Map an entry; None if it is not there or is damaged."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        if index["seal"] != seal(folder, index["digest"]):
            return None
        splits: dict[str, Any] = {}
        for part, ids in json.loads((folder / "ids.json").read_text(encoding="utf-8")).items():
            inputs, targets = (_map(folder / f"{part}-{name}.npy") for name in ARRAYS)
            splits[part] = Split(inputs, targets, tuple(ids))
        statistics = torch.from_numpy(np.load(folder / "statistics.npy", allow_pickle=False))
        return HierarchicalDataset(
            index["name"],
            Hierarchy.from_json(index["hierarchy"]),
            torch.tensor(index["evaluated"]),
            "vector",
            **splits,
            sources=index["sources"],
            feature_mean=statistics[0],
            feature_scale=statistics[1],
            notes=tuple(index["notes"]),
            feature_names=tuple(index["feature_names"]),
        )
    except DAMAGED:
        return None


def write_mapped(dataset: HierarchicalDataset, folder: Path) -> None:
    """Write an entry under another name, then rename it: a reader never sees half an entry."""
    with new_entry(folder, read_mapped) as temporary:
        for part, split in dataset.splits.items():
            for name in ARRAYS:
                np.save(temporary / f"{part}-{name}.npy", np.asarray(getattr(split, name)))
        ids = {part: split.ids for part, split in dataset.splits.items()}
        (temporary / "ids.json").write_text(json.dumps(ids), encoding="utf-8")
        statistics = [np.asarray(dataset.feature_mean), np.asarray(dataset.feature_scale)]
        np.save(temporary / "statistics.npy", np.stack(statistics))
        index = {
            "name": dataset.name,
            "hierarchy": dataset.hierarchy.to_json(),
            "evaluated": dataset.evaluated.tolist(),
            "sources": dataset.sources,
            "notes": dataset.notes,
            "feature_names": dataset.feature_names,
            "digest": dataset.checksum,
        }
        index["seal"] = seal(temporary, dataset.checksum)
        (temporary / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _map(path: Path) -> torch.Tensor:
    """Copy-on-write, as torch takes no read-only memory: nothing is ever written to the file."""
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
