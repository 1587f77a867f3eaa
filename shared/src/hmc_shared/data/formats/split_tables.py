"""The tables of a folder as one: a single one, or one for each split, called train, val and test."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import pyarrow as pa

from hmc_shared.data.formats.beside import find_beside
from hmc_shared.data.formats.cells import Column, is_number, is_text
from hmc_shared.data.formats.table_file import SUFFIXES, TableFile, open_table
from hmc_shared.data.image_table import is_hidden
from hmc_shared.data.split_names import split_of
from hmc_shared.messages import listed, reason


def find_tables(path: Path) -> list[Path]:
    """The file itself, or the tables in a folder, of whose names each says a split if they are several.

    None where there is none. What lies beside a table, such as ``edges.csv``, does not count. Raises
    ValueError for several tables with other names.
    """
    if not path.is_dir():
        return [path.resolve()] if path.suffix.lower() in SUFFIXES and path.is_file() else []
    others = find_beside(path).files
    tables = (p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not is_hidden(p.name))
    inside = sorted(p.resolve() for p in tables if p not in others)
    if len(inside) > 1 and not all(split_of(file.stem) for file in inside):
        raise ValueError(
            f"{path} should hold one table, or one for each split, called train, val and test. Found "
            f"{listed(file.name for file in inside)}."
        )
    return inside


def name_of(files: Sequence[Path], plain: str) -> str:
    """What a data set is called: as its table, or as the folder of several, or of one called ``plain``."""
    return files[0].parent.name if len(files) > 1 or files[0].stem == plain else files[0].stem


def open_tables(files: Sequence[Path]) -> TableFile:
    """The rows of a table; or of several, one file after the other, whose names are in the column "split".

    Raises ValueError, naming the file, as :func:`hmc_shared.data.formats.table_file.open_table` does; and if
    several tables have other columns, have no rows, or say splits themselves.
    """
    tables = [open_table(file) for file in files]
    if len(tables) == 1:
        return tables[0]
    first = tables[0]
    for file, table in zip(files, tables, strict=True):
        if differing := first.columns.keys() ^ table.columns.keys():
            raise ValueError(
                f"{file} should have the same columns as {files[0].name}. Found {listed(sorted(differing))} "
                "in one of them alone."
            )
        if column := table.find("split"):
            raise ValueError(f"{file}: its name says the split. Found a column {column!r}, too.")
        if not len(table):
            raise ValueError(f"{file} should have rows, or not be there. Found its header alone.")
    columns_of = {name: alike([table.columns[name] for table in tables]) for name in first.columns}
    try:
        joined = pa.concat_tables(
            [pa.table({name: columns_of[name][i] for name in columns_of}) for i in range(len(tables))],
            promote_options="permissive",
        )
    except pa.ArrowException as error:
        raise ValueError(f"{files[0].parent}: the tables do not fit together: {reason(error)}") from error
    names = [file.stem for file, table in zip(files, tables, strict=True) for _ in range(len(table))]
    starts = [0, *accumulate(map(len, tables))]

    def place(row: int) -> str:
        at = bisect_right(starts, row) - 1
        return f"{tables[at].place(row - starts[at])} of {files[at].name}"

    columns = {name: joined[name] for name in first.columns}
    split = pa.chunked_array([pa.array(names, pa.string())])
    return TableFile(str(files[0].parent), columns | {"split": split}, starts[-1], place, first.separator)


def alike(columns: Sequence[Column]) -> list[Column]:
    """Columns of one name: the numbers of a .parquet as texts, if those of a .csv beside it are."""
    kinds = [column.type for column in columns]
    if not any(map(is_text, kinds)):
        return [*columns]
    return [
        column.cast(pa.string()) if is_number(kind) else column
        for column, kind in zip(columns, kinds, strict=True)
    ]
