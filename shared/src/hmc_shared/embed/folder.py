"""The folder of an embedding: parts while it is written, one table at the end; resumed after a kill."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout
from pyarrow import parquet

from hmc_shared.data.formats.beside import EDGES
from hmc_shared.embed import embedder as of_embedder
from hmc_shared.embed.embedder import VECTOR, Embedder, load_embedder
from hmc_shared.embed.sources import Source
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import shown
from hmc_shared.object_files import read_json
from hmc_shared.runs.files import replacing

TABLE, STATE, PARTS, LOCK = "table.parquet", "embedding.json", "parts", "embedding.lock"
FILES = (TABLE, EDGES, of_embedder.FILE, of_embedder.ARRAYS, STATE)
ROWS = 1024
"""Rows of a part, and of a row group of the table."""


class EmbeddingFolder:
    """Writer of a folder that ``table:DIR`` reads.

    Raises ValueError for a folder that is not empty, unless ``resume`` (go on there) or ``overwrite`` (write
    it anew; only what an embedding wrote is removed), and if another process writes there.
    """

    def __init__(self, path: Path, *, resume: bool, overwrite: bool) -> None:
        self.path = path
        if path.is_file():
            raise ValueError(f"`--output` should be a folder. Found the file {path}.")
        occupied = path.is_dir() and any(inside.name != LOCK for inside in path.iterdir())
        if occupied and not (resume or overwrite):
            raise ValueError(f"{path} is not empty: pass --resume to go on there, or --overwrite.")
        if occupied and not (path / STATE).is_file():
            option = "resume" if resume else "overwrite"
            raise ValueError(f"{path} holds no embedding (no {STATE}): `--{option}` will not write there.")
        path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path / LOCK, timeout=0, is_singleton=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ValueError(f"{path} is in use: another process is writing there.") from error
        self._is_stale = not resume

    @property
    def embedder(self) -> Embedder | None:
        """The one that was begun with; None without."""
        return None if self._is_stale else load_embedder(self.path)

    @property
    def is_complete(self) -> bool:
        return not self._is_stale and (self.path / TABLE).is_file()

    def begin(self, state: Mapping[str, Any], *, free: frozenset[str]) -> None:
        """Say what is embedded, where nothing is; with ``overwrite`` the folder is emptied first.

        Raises ValueError, naming it, if another thing was begun here.
        """
        if self._is_stale:
            self._empty()
            self._is_stale = False
        path = self.path / STATE
        content = json.loads(json.dumps(state, default=str))
        before = read_json(path) if path.is_file() else content
        for name, value in content.items():
            if name not in free and before.get(name) != value:
                raise ValueError(
                    f"`--resume` should keep what {path} says: `{name}` is {shown(before.get(name))} there. "
                    f"Found {shown(value)}."
                )
        if not self.is_complete:
            with replacing(path) as file:
                file.write((json.dumps(content, indent=2) + "\n").encode())

    def missing_parts(self, size: int) -> list[range]:
        """The rows of each part that is not there yet."""
        parts = [range(start, min(start + ROWS, size)) for start in range(0, size, ROWS)]
        return [rows for rows in parts if not self._part(rows.start).is_file()]

    def write_part(self, first: int, vectors: np.ndarray) -> None:
        """``vectors`` (n, F) float16 of the rows from ``first`` on."""
        content = io.BytesIO()
        np.save(content, vectors, allow_pickle=False)
        (self.path / PARTS).mkdir(exist_ok=True)
        with replacing(self._part(first)) as file:
            file.write(content.getvalue())

    def finish(self, source: Source) -> Path:
        """Put the parts together: edges.csv, then table.parquet. Returns the table."""
        write_edges(self.path / EDGES, source.hierarchy)
        names: Any = ["labels", "split"]  # its stub knows a bool only
        tables = self._tables(source)
        first = next(tables)
        with (
            replacing(self.path / TABLE) as file,
            parquet.ParquetWriter(file, first.schema, use_dictionary=names) as writer,
        ):
            writer.write_table(first)
            for table in tables:
                writer.write_table(table)
        shutil.rmtree(self.path / PARTS)
        self._lock.release()
        return self.path / TABLE

    def _tables(self, source: Source) -> Iterator[pa.Table]:
        names = source.hierarchy.names
        for start in range(0, len(source.ids), ROWS):
            vectors = np.load(self._part(start), allow_pickle=False)
            rows = slice(start, start + len(vectors))
            labels = [[names[node] for node in nodes] for nodes in source.labels[rows]]
            columns = {
                "id": pa.array(source.ids[rows], pa.string()),
                "labels": pa.array(labels, pa.list_(pa.string())),
                "split": pa.array(source.splits[rows], pa.string()),
                VECTOR: pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
            }
            yield pa.table(columns)

    def _part(self, first: int) -> Path:
        return self.path / PARTS / f"{first:09}.npy"

    def _empty(self) -> None:
        if (self.path / PARTS).is_dir():
            shutil.rmtree(self.path / PARTS)
        for name in FILES:  # the state last: as long as it is there, --overwrite may go on
            (self.path / name).unlink(missing_ok=True)


def write_edges(path: Path, hierarchy: Hierarchy) -> None:
    """The edge list that ``table:`` reads as the same hierarchy, its classes in the same order."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["parent", "child"])
    for node, name in enumerate(hierarchy.names):
        parents = [hierarchy.names[parent] for parent in hierarchy.parents(node)]
        writer.writerows([parent, name] for parent in parents or [""])
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def digest_of(ids: Sequence[str]) -> str:
    """SHA-256 of names in order."""
    return hashlib.sha256(json.dumps([*ids]).encode()).hexdigest()
