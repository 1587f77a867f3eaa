"""Files of named columns: .csv, .tsv and .parquet, and .npy without names."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from itertools import islice
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from hmc_shared.data.formats.cells import Column, as_texts, compute, is_number, is_text, plain
from hmc_shared.messages import listed, reason, shown

SUFFIXES = (".csv", ".tsv", ".parquet")
"""Of files whose columns have names."""
ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # by their mark
SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
LONGEST_ROW = 2**22  # bytes
TEXT = (
    2**18
)  # bytes of text that are parsed at a time, where rows allow it: Arrow reads 32 times as much ahead
BUFFER = 2**16  # bytes of a column of a parquet file that are read at a time

ARRAY_ERRORS = (
    *(OSError, ValueError, EOFError, ArithmeticError, SyntaxError, TypeError, LookupError, AttributeError),
    *(RecursionError, MemoryError, TokenError, BadZipFile),
)
"""What numpy ends in, as it reads the header of a .npy file as a text of Python."""


def nth_row(row: int, start: int = 0) -> str:
    return f"row {start + row + 1}"


@dataclass(frozen=True, eq=False)
class TableFile:
    """Named columns of cells: text in a .csv, any values in a .parquet."""

    origin: str
    """The file, for messages."""
    columns: dict[str, Column]
    size: int
    place: Callable[[int], str] = field(default=nth_row)
    """Where a row, counted from 0, stands in the file: "line 2" of the header's file, or "row 1"."""
    separator: str | None = None
    """Of the cells of a text file."""

    def __len__(self) -> int:
        return self.size

    def find(self, *names: str) -> str | None:
        """The column of one of these names, as it is written or else in other letters' case; None without."""
        lower = {column.lower(): column for column in reversed(self.columns)}
        exact = next((name for name in names if name in self.columns), None)
        return exact or next((lower[name.lower()] for name in names if name.lower() in lower), None)

    def column(self, name: str) -> Column:
        """Raises ValueError, naming the columns that there are, for an unknown one."""
        if name not in self.columns:
            hint = ""
            if len(self.columns) == 1 and self.separator:
                hint = f". Cells are taken to be separated by {SEPARATORS[self.separator]}"
            raise ValueError(
                f"{self.origin} should have a column {name!r}. Found {listed(self.columns)}{hint}."
            )
        return self.columns[name]

    def columns_of(self, names: Iterable[str]) -> dict[str, Column]:
        """Raises ValueError as :meth:`column` does."""
        return {name: self.column(name) for name in names}

    def texts(self, name: str) -> list[str]:
        """The cells of a column as text, see :func:`hmc_shared.data.formats.cells.as_texts`.

        Raises ValueError for an unknown column, and for one of lists and the like.
        """
        column = self.column(name)
        if not (is_text(column.type) or is_number(column.type)):
            raise ValueError(
                f"{self.origin}: the column {name!r} should hold one text or number in each row. "
                f"Found {shown(str(column.type))}."
            )
        return as_texts(column)

    def ids(self, start: int = 0) -> list[str]:
        """The names of the rows: the column "id", or without it numbers from ``start`` on."""
        name = self.find("id")
        return as_texts(self.columns[name]) if name else list(map(str, range(start, start + len(self))))

    def where(self, row: int) -> str:
        """File and place of a row, for messages."""
        return f"{self.origin}, {self.place(row)}"


def open_table(path: str | Path) -> TableFile:
    """Read a .csv or .tsv file with a header, or a .parquet file.

    Text is UTF-8, or UTF-16 with its mark; cells are separated by commas, semicolons or tabs, whichever the
    header has most of. Blank rows are none. Raises ValueError, naming file and line, for anything else.
    """
    return next(table_blocks(path))


def table_blocks(path: str | Path, rows: int | None = None) -> Iterator[TableFile]:
    """What :func:`open_table` reads, ``rows`` at a time, in the memory that these take; None: all at once.

    The last block may have fewer rows; a file without rows is one block without rows. Raises ValueError as
    :func:`open_table` does, once the block is reached.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or not path.is_file():
        raise ValueError(f"{path} should be a .csv, .tsv or .parquet file. Found no such file.")
    yield from _parquet_blocks(path, rows) if suffix == ".parquet" else _text_blocks(path, rows)


def _parquet_blocks(path: Path, rows: int | None) -> Iterator[TableFile]:
    start = 0
    try:
        # A buffer, or Arrow holds a row group as it is in the file.
        with parquet.ParquetFile(path, buffer_size=0 if rows is None else BUFFER, pre_buffer=False) as file:
            names = [name.strip() for name in file.schema_arrow.names]
            _refuse_repeats(path, names)
            if rows is None:
                blocks = iter([file.read()])
            else:
                blocks = _in_blocks(file.schema_arrow, file.iter_batches(rows), rows)
            for block in blocks:
                block.validate(full=True)
                columns = {name: plain(block[i]) for i, name in enumerate(names)}
                yield TableFile(str(path), columns, len(block), partial(nth_row, start=start))
                start += len(block)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable as a table: {reason(error)}") from error


def _in_blocks(schema: pa.Schema, batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Batches of any size as tables of ``rows`` rows, the last of fewer; at least one."""
    waiting, is_first = schema.empty_table(), True
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
        while len(waiting) >= rows:
            yield waiting.slice(0, rows)
            waiting, is_first = waiting.slice(rows), False
    if len(waiting) or is_first:
        yield waiting


def _text_blocks(path: Path, rows: int | None) -> Iterator[TableFile]:
    encoding, separator, header = read_header(path)
    _refuse_repeats(path, [name.strip() for name in header])
    start = 0
    for size in (TEXT, LONGEST_ROW):
        try:
            for block in _parsed_blocks(path, rows, size, start, encoding, separator, header):
                yield block
                start += len(block)
            return
        except (OSError, pa.ArrowException, UnicodeError) as error:
            if isinstance(error, pa.ArrowInvalid) and size < LONGEST_ROW:
                continue  # perhaps a row longer than a piece of text: on from there
            if isinstance(error, pa.ArrowInvalid) and _has_no_rows(path, encoding, separator):
                yield TableFile(
                    str(path), {name.strip(): _texts([]) for name in header}, 0, separator=separator
                )
                return
            raise ValueError(_what_is_wrong(path, encoding, separator, len(header), error)) from error


def _parsed_blocks(
    path: Path, rows: int | None, size: int, start: int, encoding: str, separator: str, header: list[str]
) -> Iterator[TableFile]:
    """The blocks from row ``start`` on, ``size`` bytes of text parsed at a time."""

    def skip_blank(row: Any) -> str:
        cells = next(csv.reader(StringIO(row.text, newline=""), delimiter=separator), [])
        return "error" if any(cell.strip() for cell in cells) else "skip"

    names = [name.strip() for name in header]
    place = _Places(path, encoding, separator)
    with arrow_csv.open_csv(
        path,
        read_options=arrow_csv.ReadOptions(
            use_threads=False, block_size=size, encoding=encoding.removesuffix("-sig")
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=separator, newlines_in_values=True, invalid_row_handler=skip_blank
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False
        ),
    ) as reader:
        if reader.schema.names != header:  # the two parsers see another header: quotes that do not match
            raise ValueError(f"{path}, line 1: the header should be plain names. Found {listed(names)}.")
        batches = _without_first(map(_without_blank_rows, reader), start)
        for block in _in_blocks(reader.schema, batches, rows or sys.maxsize):
            columns = dict(zip(names, block.columns, strict=True))
            yield TableFile(str(path), columns, len(block), partial(place, start=start), separator)
            start += len(block)


def _without_first(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.slice(min(rows, len(batch)))
        rows -= min(rows, len(batch))


def _without_blank_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    blank: Any = None
    for column in batch.columns:
        empty = compute.equal(compute.utf8_trim_whitespace(column), "")
        blank = empty if blank is None else compute.and_(blank, empty)
        if not compute.any(blank).as_py():
            return batch
    return batch.filter(compute.invert(blank))


def read_header(path: Path) -> tuple[str, str, list[str]]:
    """Encoding, separator and names of the columns. Raises ValueError for an empty file, or no text."""
    with path.open("rb") as file:
        start = file.read(4)
    encoding = next((name for mark, name in ENCODINGS.items() if start.startswith(mark)), "utf-8")
    counts = dict.fromkeys(SEPARATORS, 0)
    try:
        for separator in counts:
            header = next(_rows(path, encoding, separator), (0, []))[1]
            counts[separator] = len(header)
    except (UnicodeError, csv.Error, OSError) as error:
        raise ValueError(_what_is_wrong(path, encoding, ",", 0, error)) from error
    separator = "\t" if path.suffix.lower() == ".tsv" else max(counts, key=counts.__getitem__)
    header = next(_rows(path, encoding, separator), (0, []))[1]
    if not header:
        raise ValueError(f"{path} should begin with a line of names, its header. Found an empty file.")
    return encoding, separator, header


def _rows(path: Path, encoding: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The line, from 1, that each row begins in, and its cells; blank rows left out."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        with path.open(newline="", encoding=encoding) as file:
            reader, line, is_header = csv.reader(file, delimiter=separator), 1, True
            for cells in reader:
                if any(cell.strip() for cell in cells) or (is_header and cells):
                    yield line, cells
                    is_header = False
                line = reader.line_num + 1
    finally:
        csv.field_size_limit(limit)


def _has_no_rows(path: Path, encoding: str, separator: str) -> bool:
    """Whether there is a header and nothing else, which Arrow takes for an error."""
    try:
        return next(islice(_rows(path, encoding, separator), 1, None), None) is None
    except (UnicodeError, csv.Error, OSError):
        return False


@dataclass(frozen=True)
class _Places:
    """Lines of the rows, looked for in the file only where a message needs one."""

    path: Path
    encoding: str
    separator: str

    def __call__(self, row: int, start: int = 0) -> str:
        try:
            rows = _rows(self.path, self.encoding, self.separator)
            return f"line {next(islice(rows, start + row + 1, None))[0]}"
        except (StopIteration, UnicodeError, csv.Error, OSError):  # quotes that two parsers read differently
            return nth_row(row, start)


def _what_is_wrong(path: Path, encoding: str, separator: str, width: int, error: Exception) -> str:
    """A line that names the place: found by reading the file again."""
    try:
        for line, cells in _rows(path, encoding, separator):
            if width and len(cells) != width:
                of = f"{SEPARATORS[separator]} between cells"
                return f"{path}, line {line}: {len(cells)} cells, but the header has {width} ({of})."
    except UnicodeError:
        line, byte = _not_decodable(path, encoding)
        kind = "UTF-8" if encoding.startswith("utf-8") else "UTF-16"
        return (
            f"{path} is not readable as a table: line {line} is not {kind}{byte}. Save the file as UTF-8; it "
            "may be in latin-1 or windows-1252 now."
        )
    except (csv.Error, OSError):
        pass
    return f"{path} is not readable as a table: {reason(error)}"


def _not_decodable(path: Path, encoding: str) -> tuple[int, str]:
    content = path.read_bytes()
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = 1 + max(before.count(b"\n"), before.count(b"\r"))
        return line, f" (byte 0x{content[error.start]:02x})"
    return 1, ""


def _refuse_repeats(path: Path, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{path} should have one column of each name. Found {shown(name)} again.")
        seen.add(name)


def _texts(cells: Sequence[str]) -> Column:
    return pa.chunked_array([pa.array(cells, pa.string())])


def read_array(path: str | Path) -> np.ndarray:
    """The numbers of a .npy file, mapped. Raises ValueError, naming it, if it is damaged or holds else."""
    try:  # mapped, so that a header that promises more than the file holds takes no memory
        with np.errstate(over="raise"):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ARRAY_ERRORS as error:
        raise ValueError(f"{path} is not readable as an array: {reason(error)}") from error
    if not isinstance(array, np.ndarray) or array.ndim == 0 or array.dtype.kind not in "fiub":
        content = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise ValueError(f"{path} should hold an array of numbers, a row for each sample. Found {content}.")
    return array
