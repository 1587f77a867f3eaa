"""Tables that commands read and write: raw features as .csv, .parquet or .npy, and results as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

SUFFIXES = (".csv", ".parquet")
"""Of files whose columns have names."""


@dataclass(frozen=True, eq=False)
class TableFile:
    """Named columns of cells, text in a .csv, any values in a .parquet."""

    path: Path
    columns: dict[str, Sequence[Any]]
    lines: Sequence[int]
    """Where each row stands in the file: its line, or its row number."""

    def __len__(self) -> int:
        return len(self.lines)

    def texts(self, name: str) -> list[str]:
        """The cells of a column as text, "" for empty ones. Raises ValueError for an unknown column."""
        return [cell_text(cell) for cell in self._cells(name)]

    def numbers(self, name: str) -> np.ndarray:
        """(n,) float64, NaN where a cell is empty, None or "?".

        Raises ValueError, naming file and line, for any other text, and for an unknown column.
        """
        cells = self._cells(name)
        try:
            return np.asarray(cells, dtype=np.float64)
        except (TypeError, ValueError):  # missing values, or text
            numbers = np.full(len(cells), np.nan)
        for row, cell in enumerate(cells):
            if cell is None or (isinstance(cell, str) and cell.strip() in ("", "?")):
                continue
            try:
                numbers[row] = float(cell)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{self.where(row)}: {error} (column {name!r})") from error
        return numbers

    def where(self, row: int) -> str:
        """File and place of a row, for messages."""
        return f"{self.path}, {'line' if self.path.suffix == '.csv' else 'row'} {self.lines[row]}"

    def _cells(self, name: str) -> Sequence[Any]:
        if name not in self.columns:
            raise ValueError(f"{self.path} should have a column {name!r}. Found {', '.join(self.columns)}.")
        return self.columns[name]


def cell_text(cell: object) -> str:
    """A cell as text, "" for an empty one: None, or NaN in a column of numbers."""
    return "" if cell is None or cell != cell else str(cell)


def open_table(path: str | Path) -> TableFile:
    """Read a .csv file with a header, or a .parquet file.

    Raises ValueError, naming file and line, for anything else.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES or not path.is_file():
        raise ValueError(f"{path} should be a .csv or .parquet file. Found no such file.")
    if path.suffix == ".parquet":
        try:
            table = parquet.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{path} is not readable as a table: {error}") from error
        # Numbers without gaps become arrays, everything else lists of cells.
        columns = {
            name: column.to_numpy()
            if pa.types.is_floating(column.type)
            or (pa.types.is_integer(column.type) and not column.null_count)
            else column.to_pylist()
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
        return TableFile(path, columns, range(len(table)))
    rows, lines = [], []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets begin with a byte order mark
            reader = csv.reader(file)
            header = next(reader, [])
            for cells in reader:
                rows.append(cells)
                lines.append(reader.line_num)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not readable as a table: {error}") from error
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise ValueError(f"{path} should have one column of each name. Found {twice!r} again.")
    for line, cells in zip(lines, rows, strict=True):
        if len(cells) != len(header):
            raise ValueError(f"{path}, line {line}: {len(cells)} cells, but the header has {len(header)}.")
    return TableFile(path, {name: [row[i] for row in rows] for i, name in enumerate(header)}, lines)


def read_table(path: str | Path, columns: Sequence[str] = ()) -> tuple[list[str], np.ndarray]:
    """Row ids, and features (n, F) float32 with NaN for missing values.

    A .npy file holds the features, whose ids are the row numbers. A .csv file has a header; there and in a
    .parquet file a column named "id" names the rows, and an empty cell or "?" is a missing value.

    Args:
        path: the file.
        columns: names of the features, in the order that a model takes; other columns are left out. Default:
            all in their order, which is what a .npy file always gives.

    Raises ValueError, naming file and line or column, for anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} should be a .csv, .parquet or .npy file. Found no file there.")
    if path.suffix == ".npy":
        names, features = read_array(path)
        return names, features.astype(np.float32)
    table = open_table(path)
    ids = table.texts("id") if "id" in table.columns else [str(row) for row in range(len(table))]
    names = columns or [name for name in table.columns if name != "id"]
    features = np.zeros((len(table), len(names)), dtype=np.float32)
    for column, name in enumerate(names):
        features[:, column] = table.numbers(name)
    return ids, features


def read_array(path: str | Path) -> tuple[list[str], np.ndarray]:
    """Row numbers as names, and the numbers of a .npy file.

    Raises ValueError, naming the file, if it is damaged or holds something else.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is not readable as an array: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim == 0 or array.dtype.kind not in "fiub":
        content = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise ValueError(f"{path} should hold an array of numbers, a row for each sample. Found {content}.")
    return [str(row) for row in range(len(array))], array
