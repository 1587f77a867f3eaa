"""Predictions and other tables as CSV, parquet or JSON, to a file or to standard output."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import parquet

from hmc_shared.data.formats.cells import Column, is_list, is_text
from hmc_shared.predict.layout import Predictions, layout_table, to_records
from hmc_shared.runs.files import replacing

VALUES = 2**18
"""Cells of text that are in memory at a time."""


def write_predictions(
    output: str | None, blocks: Iterable[Predictions], *, layout: str = "wide", top_k: int | None = None
) -> None:
    """Write predictions of one model, block by block, to a file, or to standard output for None.

    The layouts are those of :mod:`hmc_shared.predict.layout`, of which "json" is a list of
    :func:`hmc_shared.predict.layout.to_records`. A .parquet file has numbers, and lists of labels. CSV has
    ";" between labels, ancestors first: for one path that is the path; a JSON list where a class has ";" or
    "|" in its name.

    A file appears once it is complete. Raises ValueError without a block.
    """
    waiting = iter(blocks)
    first = next(waiting, None)  # before the file is opened: most of what can be wrong is found now
    if first is None:
        raise ValueError("there should be predictions to write. Found none.")
    blocks = chain([first], waiting)
    table_of = layout_table(layout, top_k)
    if layout == "json":
        write_json(output, (record for block in blocks for record in to_records(block, top_k)))
    elif output is not None and Path(output).suffix.lower() == ".parquet":
        write_parquet(output, map(table_of, blocks))
    else:
        rows = max(1, VALUES // len(first.hierarchy))
        parts = (part for block in blocks for part in block.parts(rows))
        tables = map(table_of, parts)
        header = next(tables)
        is_ambiguous = any(separator in name for name in first.hierarchy.names for separator in ";|")
        of_table = partial(_csv_rows, is_ambiguous=is_ambiguous)
        write_table(output, header.column_names, chain.from_iterable(map(of_table, chain([header], tables))))


def _csv_rows(table: pa.Table, is_ambiguous: bool) -> Iterator[Sequence[str]]:
    columns = zip(table.column_names, table.columns, strict=True)
    texts = [_cells(column, joined=name == "labels" and not is_ambiguous) for name, column in columns]
    return zip(*texts, strict=True)


def _cells(column: Column, joined: bool) -> list[str]:
    """The cells of a column as text, "" for null: numbers in full, lists as JSON, or ``joined`` by ";"."""
    if is_list(column.type):
        lists = column.to_pylist()
        return [";".join(map(str, cell)) if joined else _as_json(cell) for cell in lists]
    try:
        texts = column if is_text(column.type) else column.cast(pa.string())
    except pa.ArrowNotImplementedError:  # structures and the like
        return [_as_json(cell) for cell in column.to_pylist()]
    return ["" if text is None else text for text in texts.to_pylist()]


def _as_json(cell: Any) -> str:
    return "" if cell is None else json.dumps(cell, ensure_ascii=False, default=str)


def write_parquet(path: str | Path, tables: Iterable[pa.Table]) -> None:
    """Write tables of one schema, at least one, to a .parquet file, one after the other."""
    waiting = iter(tables)
    first = next(waiting)
    with _binary(Path(path)) as file, parquet.ParquetWriter(file, first.schema) as writer:
        for table in chain([first], waiting):
            writer.write_table(table)


def write_json(output: str | None, records: Iterable[Any]) -> None:
    """Write a JSON list to a file, or to standard output for None, one record after the other."""
    with _text(output) as file:
        before = "[\n  "
        for record in records:
            # No line break stands inside a JSON string: those that there are separate lines.
            text = json.dumps(record, indent=2, ensure_ascii=False).replace("\n", "\n  ")
            file.write(before + text)
            before = ",\n  "
        file.write("[]\n" if before.startswith("[") else "\n]\n")


@contextmanager
def _binary(path: Path) -> Generator[IO[bytes], None, None]:
    """A file that takes the place of another once it is complete; a device or a pipe is just written to."""
    is_plain = path.is_file() or not path.exists()
    with replacing(path.resolve()) if is_plain else path.open("wb") as file:
        yield file


@contextmanager
def _text(path: str | Path | None) -> Generator[IO[str], None, None]:
    """The same for text in UTF-8; standard output for None."""
    if path is None:
        yield sys.stdout
        return
    with _binary(Path(path)) as file:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        yield text
        text.detach()


def write_table(path: str | Path | None, header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> None:
    """Write CSV to a file, tabs or parquet to one that is called so, or CSV to standard output for None."""
    if path is not None and Path(path).suffix.lower() == ".parquet":
        every = list(rows)
        columns = {str(name): pa.array([row[at] for row in every]) for at, name in enumerate(header)}
        write_parquet(path, [pa.table(columns)])
        return
    with _text(path) as file:
        is_tsv = path is not None and Path(path).suffix.lower() == ".tsv"
        writer = csv.writer(file, delimiter="\t" if is_tsv else ",", lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
