"""The cache of parsed sources: one `datasets` folder for each set of source checksums.

It lies under ``$HMC_CACHE``, else ``$XDG_CACHE_HOME/hmc``, else ``~/.cache/hmc``; delete it at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import datasets

    from hmc_shared.data.raw import RawSet


def cache_folder() -> Path:
    if chosen := os.environ.get("HMC_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hmc"


def cached(reader: str, sources: dict[str, str], parse: Callable[[], RawSet]) -> RawSet:
    """What ``parse`` returns, from the cache if the same reader has parsed the same sources before.

    ``reader`` names set and reader version. A damaged entry is made anew. Nothing is stored if ``parse``
    raises.
    """
    key = hashlib.sha256(json.dumps([reader, sources], sort_keys=True).encode()).hexdigest()
    folder = cache_folder() / f"{reader.split()[0]}-{key[:16]}"
    raw = read_folder(folder)
    if raw is None:
        raw = parse()
        try:
            write_folder(raw, folder)
        except OSError as error:  # a full or read-only disk is no reason not to train
            warnings.warn(
                f"{folder} could not be written, the sources will be parsed again: {error}", stacklevel=2
            )
    return raw


def read_folder(folder: Path) -> RawSet | None:
    """Read an entry; None if it is not there or is damaged.

    Reads the Arrow files directly: importing `datasets` takes longer than parsing the sources.
    """
    import pyarrow as pa

    from hmc_shared.data.raw import RawPart, RawSet
    from hmc_shared.hierarchy import Hierarchy

    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        parts = {}
        for part in index["parts"]:
            files = sorted((folder / part).glob("*.arrow"))
            table = pa.concat_tables(pa.ipc.open_stream(file.read_bytes()).read_all() for file in files)
            flat = table["features"].combine_chunks().flatten().to_numpy()
            parts[part] = RawPart(flat.reshape(len(table), -1), table["labels"].to_pylist())
        raw = RawSet(Hierarchy.from_json(index["hierarchy"]), parts)
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException):
        return None
    return raw if raw.digest() == index["digest"] else None


def write_folder(raw: RawSet, folder: Path) -> None:
    """Write an entry under another name, then rename: a reader never sees half of one."""
    import datasets
    import pyarrow as pa
    from datasets.table import InMemoryTable

    tables = {}
    for name, part in raw.parts.items():
        flat = pa.array(np.ascontiguousarray(part.features).reshape(-1))
        columns = {
            "features": pa.FixedSizeListArray.from_arrays(flat, part.features.shape[1]),
            "labels": pa.array(part.labels, pa.list_(pa.int32())),
        }
        tables[name] = datasets.Dataset(InMemoryTable(pa.table(columns)))
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        save_quietly(datasets.DatasetDict(tables), temporary)
        index = {"parts": list(raw.parts), "hierarchy": raw.hierarchy.to_json(), "digest": raw.digest()}
        (temporary / "index.json").write_text(json.dumps(index), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # a damaged entry
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster with the same entry
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_quietly(tables: datasets.DatasetDict, folder: Path) -> None:
    """``save_to_disk`` without its progress bars."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        tables.save_to_disk(str(folder))
    finally:
        if shown:
            datasets.enable_progress_bars()
