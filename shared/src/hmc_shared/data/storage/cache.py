"""The cache of parsed sources and of images: one `datasets` folder for each set of sources.

It lies under ``$HMC_CACHE``, else ``$XDG_CACHE_HOME/hmc``, else ``~/.cache/hmc``; delete it at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout

from hmc_shared.data.image_table import ImageTable, write_images
from hmc_shared.data.storage.raw import RawPart, RawSet
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import clipped

if TYPE_CHECKING:
    import datasets

DAMAGED = (
    *(OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError),
    *(MemoryError, RuntimeError, pa.ArrowException),
)
"""What reading damaged JSON and Arrow files may end in: they may hold anything."""


def cache_folder() -> Path:
    if folder := os.environ.get("HMC_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hmc"


def cached(reader: str, sources: dict[str, str], parse: Callable[[], RawSet]) -> RawSet:
    """What ``parse`` returns, from the cache if the same reader has parsed the same sources before.

    ``reader`` names set and reader version. A damaged entry is rebuilt. Nothing is stored if ``parse``
    raises.
    """
    key = hashlib.sha256(json.dumps([reader, sources], sort_keys=True).encode()).hexdigest()
    folder = cache_folder() / f"{reader.split()[0]}-{key[:16]}"
    raw = read_folder(folder)
    if raw is None:
        raw = parse()
        keep(lambda: write_folder(raw, folder), folder)
    return raw


def keep(write: Callable[[], None], folder: Path) -> None:
    """Write an entry if the disk allows it, with a warning if not."""
    try:
        write()
    except OSError as error:  # a full or read-only disk is no reason not to train
        warnings.warn(
            f"{folder} could not be written, the sources will be parsed again: {error}", stacklevel=3
        )


def read_folder(folder: Path) -> RawSet | None:
    """Read an entry; None if it is not there or is damaged.

    Reads the Arrow files directly: importing `datasets` takes longer than parsing the sources.
    """
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        parts = {}
        for part in index["parts"]:
            files = sorted((folder / part).glob("*.arrow"))
            table = pa.concat_tables(pa.ipc.open_stream(file.read_bytes()).read_all() for file in files)
            table.validate(full=True)  # offsets that lie would be followed out of the memory
            flat = table["features"].combine_chunks().flatten().to_numpy()
            parts[part] = RawPart(flat.reshape(len(table), -1), table["labels"].to_pylist())
        raw = RawSet(Hierarchy.from_json(index["hierarchy"]), parts, tuple(index["notes"]))
        return raw if raw.digest() == index["digest"] else None
    except DAMAGED:
        return None


def write_folder(raw: RawSet, folder: Path) -> None:
    """Write an entry under another name, then rename it: a reader never sees half an entry."""
    import datasets  # slow to import, and only needed to write
    from datasets.table import InMemoryTable

    tables = {}
    for name, part in raw.parts.items():
        flat = pa.array(np.ascontiguousarray(part.features).reshape(-1))
        columns = {
            "features": pa.FixedSizeListArray.from_arrays(flat, part.features.shape[1]),
            "labels": pa.array(part.labels, pa.list_(pa.int32())),
        }
        tables[name] = datasets.Dataset(InMemoryTable(pa.table(columns)))
    with new_entry(folder, read_folder) as temporary:
        save_quietly(datasets.DatasetDict(tables), temporary)
        index = {"parts": list(raw.parts), "hierarchy": raw.hierarchy.to_json(), "digest": raw.digest()}
        index["notes"] = list(raw.notes)
        (temporary / "index.json").write_text(json.dumps(index), encoding="utf-8")


def cached_labels(reader: str, sources: Iterable[Path], read: Callable[[], Any]) -> Any:
    """What ``read`` returns, JSON values, from the cache if the same reader has read the same sources before.

    For labels of images that take long to read. Sources are compared as in :func:`cached_images`, for the
    same reason. A damaged entry is rebuilt. Raises ValueError for a missing source, and as ``read`` does:
    nothing is stored then.
    """
    key = hashlib.sha256(json.dumps([reader, _stamps(sources)]).encode()).hexdigest()
    folder = cache_folder() / f"{reader.split()[0]}-{key[:16]}"
    text = read_text(folder)
    if text is None:
        text = json.dumps(read())
        keep(lambda: write_text(text, folder), folder)
    return json.loads(text)


def read_text(folder: Path) -> str | None:
    """Read an entry of :func:`cached_labels`; None if it is not there or is damaged."""
    try:
        digest, _, text = (folder / "labels.json").read_text(encoding="utf-8").partition("\n")
    except DAMAGED:
        return None
    return text if digest == hashlib.sha256(text.encode()).hexdigest() else None


def write_text(text: str, folder: Path) -> None:
    with new_entry(folder, read_text) as temporary:
        digest = hashlib.sha256(text.encode()).hexdigest()
        (temporary / "labels.json").write_text(f"{digest}\n{text}", encoding="utf-8")


def cached_images(
    reader: str,
    origin: Path,
    names: Sequence[str],
    sources: Iterable[Path],
    read: Callable[[], Iterable[bytes]],
) -> tuple[ImageTable, str]:
    """A table of encoded images, from the cache if the same reader has read the same sources before.

    Sources are the same if their names, sizes and modification times are: a set of images may be too large to
    be read in full at every start. A damaged entry is rebuilt.

    Args:
        reader: names set and reader version.
        origin: folder or archive, for messages.
        names: one for each image, such as its path in the source; the rows of the table are in this order.
        sources: the files that hold the images, one each or archives.
        read: yields the encoded images, in the order of ``names``.

    Returns:
        The table, and the SHA-256 over names and contents.

    Raises ValueError, and stores nothing, for a missing source, and if the cache cannot be written.
    """
    key = hashlib.sha256(json.dumps([reader, list(names), _stamps(sources)]).encode()).hexdigest()
    folder = cache_folder() / f"{reader.split()[0]}-{key[:16]}"
    if entry := read_images(folder):
        table, digest = entry
        table.origin = origin
        return table, digest
    sha = hashlib.sha256()

    def rows() -> Iterator[dict[str, str | bytes]]:
        for name, content in zip(names, read(), strict=True):
            sha.update(f"{name} {len(content)}\n".encode() + content)
            yield {"id": name, "image": content}

    try:
        with new_entry(folder, read_images) as temporary:
            with tempfile.TemporaryDirectory(dir=temporary) as rest:
                save_quietly(write_images(Path(rest, "rows"), rows()), temporary)
            index = {"digest": sha.hexdigest(), "seal": seal(temporary, sha.hexdigest())}
            (temporary / "index.json").write_text(json.dumps(index), encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{folder} cannot be written, set HMC_CACHE to another place: {error}") from error
    return ImageTable(_arrow_files(folder), origin=origin), sha.hexdigest()


def read_images(folder: Path) -> tuple[ImageTable, str] | None:
    """Read an entry of :func:`cached_images`; None if it is not there or is damaged."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        if index["seal"] != seal(folder, index["digest"]):
            return None
        return ImageTable(_arrow_files(folder)), index["digest"]
    except DAMAGED:
        return None


def _arrow_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.arrow"))


def _stamps(files: Iterable[Path]) -> list[str]:
    """Name, size and modification time of each file. Raises ValueError if one is missing."""
    stamps = []
    for file in files:
        try:
            status = file.stat()
        except (OSError, ValueError) as error:  # the latter for a name that no system takes
            raise ValueError(f"{clipped(str(file), 300)} is missing.") from error
        stamps.append(f"{file.name} {status.st_size} {status.st_mtime_ns}")
    return stamps


def seal(folder: Path, digest: str) -> str:
    """A digest that changes if anything but its writer changes the tables, arrays or ids of an entry."""
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix in (".arrow", ".npy") or path.name == "ids.json"
    ]
    return hashlib.sha256("\n".join([digest, *_stamps(files)]).encode()).hexdigest()


@contextmanager
def new_entry(folder: Path, read: Callable[[Path], object]) -> Generator[Path, None, None]:
    """A folder to fill, which is then renamed to ``folder``: a reader never sees half an entry.

    ``read`` returns None for a damaged entry. If another process writes a sound one meanwhile, that stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder.parent)
    temporary = folder.with_name(f".{folder.name}-{uuid4().hex[:8]}")
    lock = folder.with_name(f"{temporary.name}.lock")
    with FileLock(lock):  # as long as it is held, the folder is no leftover
        try:
            temporary.mkdir()
            yield temporary
            if read(folder) is None:
                shutil.rmtree(folder, ignore_errors=True)
            try:
                temporary.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            lock.unlink(missing_ok=True)


def _remove_leftovers(cache: Path) -> None:
    """Remove what killed processes have left half written: nobody holds its lock."""
    for lock in cache.glob(".*.lock"):
        try:
            with FileLock(lock, timeout=0):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
        except (OSError, Timeout):
            continue


def save_quietly(tables: datasets.Dataset | datasets.DatasetDict, folder: Path) -> None:
    """``save_to_disk`` without its progress bars."""
    import datasets  # slow to import, and only needed to write

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        tables.save_to_disk(str(folder))
    finally:
        if shown:
            datasets.enable_progress_bars()
