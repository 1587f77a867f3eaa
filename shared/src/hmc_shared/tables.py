"""Tables that commands read and write: raw features as .csv or .npy, and results as CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np


def read_table(path: str | Path) -> tuple[list[str], np.ndarray]:
    """Row ids, and features (n, F) float32 with NaN for missing values.

    A .npy file holds the features, whose ids are the row numbers. A .csv file has a header; a column named
    "id" names the rows, and an empty cell or "?" is a missing value. Raises ValueError, naming file and
    line, for what is not such a table.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} should be a .csv or .npy file. Found no file there.")
    if path.suffix == ".npy":
        names, features = read_array(path)
        return names, features.astype(np.float32)
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        id_column = header.index("id") if "id" in header else None
        ids, rows = [], []
        for cells in reader:
            if len(cells) != len(header):
                raise ValueError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells, but the header has {len(header)}."
                )
            ids.append(cells.pop(id_column) if id_column is not None else str(len(ids)))
            try:
                rows.append([float("nan") if cell.strip() in ("", "?") else float(cell) for cell in cells])
            except ValueError as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    width = len(header) - (id_column is not None)
    return ids, np.asarray(rows, dtype=np.float32).reshape(len(rows), width)


def read_array(path: str | Path) -> tuple[list[str], np.ndarray]:
    """Row numbers as names, and the numbers of a .npy file.

    Raises ValueError, naming the file, if it is damaged or holds something else.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is not readable as an array: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim == 0 or array.dtype.kind not in "fiub":
        found = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise ValueError(f"{path} should hold an array of numbers, a row for each sample. Found {found}.")
    return [str(row) for row in range(len(array))], array


def write_table(path: str | Path | None, header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> None:
    """Write CSV to a file, or to standard output for None."""
    with ExitStack() as stack:
        file = sys.stdout
        if path is not None:
            file = stack.enter_context(open(path, "w", newline="", encoding="utf-8"))
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
