"""Which data sets are there. Nothing here imports torch: a command tells at once of one that is missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from hmc_shared.data.catalog import CATALOG, EMBEDDED, FORMATS, added_entries, find_entry
from hmc_shared.data.storage.find import LABELS, find_files, find_folder, find_folders, find_sets
from hmc_shared.data.storage.hub import download, find_repository


def find_source(name: str, data_dir: str | Path | None = None, *, has_levels: bool = False) -> None:
    """Raise ValueError if a data set is not there; its files are not read.

    What "hf:OWNER/NAME" stands for is downloaded, unless it is any data set of the hub, read by its levels.
    Arguments are those of :func:`hmc_shared.data.load.load_dataset`.
    """
    source, _, path = name.partition(":")
    if path and source.lower() in FORMATS:
        if Path(path).expanduser().exists():
            return
        if source.lower() != "hf":
            raise ValueError(f"{name}: there is no such file or folder.")
        (find_repository if has_levels else download)(path)
        return
    entry, folder = find_entry(name), data_folder(name, data_dir)
    if entry is None or entry.kind in ("CLUS", "Mulan"):
        find_files(name, folder or "")
    elif entry.kind == "images":
        whole = entry.name if entry.name in CATALOG else entry.name.partition("-")[0]  # of an episode
        find_folder(whole, folder or "")


def data_folder(name: str, data_dir: str | Path | None) -> str | Path | None:
    """The folder of the data sets. Raises ValueError if a set needs one, and none is given."""
    data_dir, entry = data_dir or os.environ.get("HMC_DATA"), find_entry(name)
    if not data_dir and (entry is None or entry.kind not in ("embedded", "added")):
        known = ", ".join(EMBEDDED)
        raise ValueError(f"{name!r} is not an embedded data set ({known}): pass `data_dir` or set HMC_DATA.")
    return data_dir


def available(data_dir: str | Path | None = None) -> list[tuple[str, str, str]]:
    """All data sets that :func:`hmc_shared.data.load_dataset` knows, and all in a folder.

    Rows are (name, kind, where): kind is "embedded", "images", "CLUS", "Mulan" or "added" (by another
    distribution), where is the folder of the files, or "" for a published set that is missing. ``data_dir``
    defaults to the environment variable HMC_DATA. Raises ValueError if it is not a folder.
    """
    data_dir = data_dir or os.environ.get("HMC_DATA")
    built_in = [entry for entry in CATALOG.values() if entry.kind == "embedded"] + added_entries()
    rows = [(entry.name, entry.kind, "built in") for entry in built_in]
    for name in (name for name, entry in CATALOG.items() if entry.kind == "images"):
        present = data_dir and any(find_folders(name, data_dir))
        rows.append(
            (name, "images", _where(lambda name=name: find_folder(name, data_dir or "")) if present else "")
        )
    sets = find_sets(data_dir) if data_dir else {}
    present = {name.lower() for name in sets}
    kind_of = {
        name: entry.kind
        for name, entry in CATALOG.items()
        if entry.kind in ("CLUS", "Mulan") and name.lower() not in present
    }
    kind_of |= {name: "Mulan" if LABELS in parts else "CLUS" for name, parts in sets.items()}
    for name, kind in sorted(kind_of.items(), key=lambda item: item[0].lower()):
        where = ""
        if data_dir and name in sets:
            where = _where(lambda name=name: next(iter(find_files(name, data_dir)[1].values())).parent)
        rows.append((name, kind, where))
    return rows


def _where(find: Callable[[], Path]) -> str:
    try:
        return str(find())
    except ValueError as error:
        return f"incomplete: {error}"
