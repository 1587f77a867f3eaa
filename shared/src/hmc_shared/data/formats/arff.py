"""Reader of ARFF files, dense and sparse, of Weka, Mulan, MEKA and CLUS.

In the dialect of CLUS an attribute of type ``hierarchical`` lists the classes. Attributes that are no
features, strings, dates and keys, are left out, and named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hmc_shared.data.formats.arff_cells import WORD, split_cells, split_entries, unquoted
from hmc_shared.data.storage.sources import LONGEST_MESSAGE, file_error, text_lines
from hmc_shared.messages import clipped, some

ATTRIBUTE = re.compile(rf"@attribute\s+({WORD})\s*([a-z]*)\s*(.*)", re.IGNORECASE | re.DOTALL)
RELATION = re.compile(rf"@relation\s+({WORD})", re.IGNORECASE)
NOTHING = re.compile(r"\s*(%.*)?", re.DOTALL)
RANGE = re.compile(r"(\[[^\]]*\])?\s*(%.*)?", re.DOTALL)  # of old files; it restricts nothing
AFTER_TYPE = {
    "numeric": RANGE,
    "real": RANGE,
    "integer": RANGE,
    "date": re.compile(rf"({WORD})?\s*(%.*)?", re.DOTALL),  # their format
    "string": NOTHING,
    "key": NOTHING,  # of CLUS: the name of a row
}
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
LARGEST = float(np.finfo(np.float32).max)  # models take float32
BLOCK = 1 << 17  # so many cells are kept as text at a time
FREE_BYTES, GROWTH = 1 << 28, 1000
"""A table may take 256 MiB, or 1000 times its file; that of a sparse published set takes up to 500 times."""

Attribute = tuple[str, tuple[str, ...] | None]
"""Name and, for a nominal attribute, its values."""


@dataclass(frozen=True)
class Arff:
    """One parsed file; row i has ``values[i]`` and ``labels[i]`` and is line ``lines[i]``."""

    relation: str
    attributes: tuple[Attribute, ...]
    """The numeric and nominal ones, in their order."""
    left_out: tuple[str, ...]
    """The names of strings, dates and keys."""
    class_list: tuple[str, ...]
    """The entries of the hierarchical attribute; empty without one."""
    class_line: int
    values: np.ndarray
    """(n, attributes) float64: the number, or the position of the nominal value; NaN where missing."""
    labels: list[list[str]]
    """The classes of each row; no list for a file without a hierarchical attribute."""
    lines: list[int]
    data_line: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the reading."""
        if not self.left_out:
            return ()
        note = f"left out, neither numbers nor categories: {some(self.left_out, 10)}"
        return (clipped(note, LONGEST_MESSAGE),)

    @property
    def features(self) -> np.ndarray:
        """(n, F) float64; NaN where missing.

        A nominal attribute becomes one 0/1 column for each declared value, in their order; all of them are 0
        where it is missing.
        """
        widths = [1 if values is None else len(values) for _, values in self.attributes]
        starts = np.cumsum([0, *widths[:-1]])
        features = np.zeros((len(self.values), sum(widths)))
        numeric = np.array([values is None for _, values in self.attributes])
        features[:, starts[numeric]] = self.values[:, numeric]
        for column in np.flatnonzero(~numeric):
            span = slice(starts[column], starts[column] + widths[column])
            features[:, span] = self.values[:, [column]] == np.arange(widths[column])
        return features


@dataclass(frozen=True)
class _Column:
    name: str
    type: str
    """"numeric", "nominal", "hierarchical", "string", "date" or "key"."""
    values: tuple[str, ...] | None = None

    @property
    def is_feature(self) -> bool:
        return self.type in ("numeric", "nominal")


@dataclass
class _Header:
    relation: str = ""
    columns: list[_Column] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    repeats: bool = False
    """Whether two attributes may have one name."""
    class_list: tuple[str, ...] = ()
    class_line: int = 0
    data_line: int = 0
    first_row: str = ""
    """What stands behind @DATA in its line."""


def parse_arff(content: bytes, path: Path, *, hierarchical: bool = True) -> Arff:
    """Parse the content of ``path``, of CLUS unless ``hierarchical`` is False.

    Raises ValueError, naming file and line, for anything malformed; for numbers beyond float32, instance
    weights and relational attributes; and where the rows take far more memory than the file. In files of
    CLUS, where names of attributes mean nothing, they may repeat (they do in expr).
    """
    lines = text_lines(content, path)
    header = _Header(repeats=hierarchical)
    _read_header(header, lines, path)
    start = header.data_line
    body = [(start, header.first_row), *enumerate(lines[start:], start + 1)]
    rows = [(number, row) for number, line in body if (row := line.strip()) and row[0] != "%"]
    if header.class_list and not hierarchical:
        rule = (
            "a hierarchical attribute, as in files of CLUS, which are named SET.train.arff or SET_train.arff"
        )
        raise file_error(path, header.class_line, rule)
    if bool(header.class_list) != hierarchical or not any(of.is_feature for of in header.columns):
        needed = f"a numeric or nominal attribute{' and a hierarchical one' if hierarchical else ''}"
        raise file_error(path, start, f"@DATA before {needed}")
    if not rows:
        raise file_error(path, len(lines), "the file ends before its first row")
    width = sum(len(column.values or " ") for column in header.columns)
    size = len(rows) * (8 * width + len(header.class_list))
    if size > max(FREE_BYTES, GROWTH * len(content)):
        table = f"{len(rows)} rows of {width} features and {len(header.class_list)} classes"
        raise file_error(path, start, f"{table} take {size / 2**30:.1f} GiB, too much for such a small file")
    cells = _Cells(header.columns, len(rows), path)
    cells.read(rows)
    return Arff(
        header.relation,
        tuple((column.name, column.values) for column in cells.features),
        tuple(column.name for column in header.columns if column.type in ("string", "date", "key")),
        header.class_list,
        header.class_line,
        cells.values,
        [[name.strip() for name in cell.split("@")] for cell in cells.classes],
        [number for number, _ in rows],
        start,
    )


def _read_header(header: _Header, lines: Sequence[str], path: Path) -> None:
    """Fill the header up to @DATA."""
    for number, line in enumerate(lines, 1):
        line = line.strip()
        keyword = re.split(r"[\s%]", line, maxsplit=1)[0].lower()
        try:
            if keyword == "@data":
                header.data_line, header.first_row = number, line[len(keyword) :]
                return
            if keyword == "@attribute":
                _declare(header, line, number)
            elif keyword == "@relation":
                header.relation = unquoted(match[1]) if (match := RELATION.match(line)) else ""
            elif keyword:  # neither blank nor a comment
                raise ValueError(f"expected an attribute, then @DATA, found {line[:40]!r}")
        except ValueError as error:
            raise file_error(path, number, str(error)) from error
    raise file_error(path, len(lines), "the file ends before @DATA")


def _declare(header: _Header, line: str, number: int) -> None:
    """Add the attribute that a line declares."""
    if not (match := ATTRIBUTE.match(line)):
        raise ValueError(f"expected @ATTRIBUTE, a name and a type, found {line[:40]!r}")
    name, kind, rest = unquoted(match[1]), match[2].lower(), match[3]
    if name in header.names and not header.repeats:
        raise ValueError(f"a second attribute has the name {name!r}")
    header.names.add(name)
    if rest.startswith("{") and not kind:
        header.columns.append(_Column(name, "nominal", _nominal_values(rest[1:])))
    elif kind == "hierarchical" and not header.class_list:
        entries, rest = split_cells(rest, blanks=False)
        if rest:
            raise ValueError(f"expected classes separated by commas, found {rest[:40]!r}")
        header.class_list, header.class_line = tuple(entries), number
        header.columns.append(_Column(name, kind))
    elif kind in AFTER_TYPE and AFTER_TYPE[kind].fullmatch(rest):
        header.columns.append(_Column(name, {"real": "numeric", "integer": "numeric"}.get(kind, kind)))
    else:
        expected = "expected the type numeric, {values} or hierarchical"
        raise ValueError(f"{expected}, found {line[match.end(1) :].strip()[:40]!r}")


def _nominal_values(text: str) -> tuple[str, ...]:
    """The values of a nominal attribute, from behind its first brace on."""
    values, rest = split_cells(text)
    if not NOTHING.fullmatch(rest.removeprefix("}")) or not rest:
        raise ValueError(f"expected values and a closing brace, found {rest[:40]!r}")
    for value, count in Counter(values).items():
        if count > 1 or value in ("", "?"):
            raise ValueError(
                f"the value {value!r} is declared again" if count > 1 else f"{value!r} is no value"
            )
    return tuple(values)


class _Cells:
    """Turns rows into numbers and classes."""

    def __init__(self, columns: list[_Column], rows: int, path: Path) -> None:
        self.columns, self.path = columns, path
        self.sources = [i for i, column in enumerate(columns) if column.is_feature]
        self.features = [columns[i] for i in self.sources]
        self.positions = [{value: i for i, value in enumerate(of.values or ())} for of in self.features]
        self.targets = {source: feature for feature, source in enumerate(self.sources)}
        self.class_column = next((i for i, of in enumerate(columns) if of.type == "hierarchical"), None)
        self.values = np.zeros((rows, len(self.features)))  # a sparse row leaves out zeros and first values
        self.classes = [""] * rows if self.class_column is not None else []

    def read(self, rows: Sequence[tuple[int, str]]) -> None:
        """Fill ``values`` and ``classes`` from (line, row) pairs, a block at a time."""
        step = max(1, BLOCK // len(self.columns))
        for start in range(0, len(rows), step):
            dense: dict[int, list[str]] = {}
            for index, (line, row) in enumerate(rows[start : start + step], start):
                try:
                    if row[0] == "{":
                        self._fill_sparse(index, split_entries(row))
                    else:
                        dense[index] = self._dense_cells(row)
                except ValueError as error:
                    raise file_error(self.path, line, str(error)) from error
            if dense:
                odd = any("_" in rows[index][1] or not rows[index][1].isascii() for index in dense)
                self._fill_dense(dense, [rows[index][0] for index in dense], odd)

    def _dense_cells(self, row: str) -> list[str]:
        cells, rest = split_cells(row)
        if rest:
            raise ValueError(
                f"expected the end of the row, found {rest[:40]!r}: instance weights are not read"
            )
        if len(cells) != len(self.columns):
            raise ValueError(f"expected {len(self.columns)} fields, found {len(cells)}")
        return cells

    def _fill_sparse(self, index: int, entries: list[tuple[int, str]]) -> None:
        last = -1
        for source, cell in entries:
            if not last < source < len(self.columns):
                rule = f"expected ascending indices below {len(self.columns)}, each once"
                raise ValueError(f"{rule}, found {source}" + (f" behind {last}" if last >= 0 else ""))
            last = source
            if source == self.class_column:
                self.classes[index] = cell
            elif source in self.targets:
                self.values[index, self.targets[source]] = self._value(self.targets[source], cell)

    def _fill_dense(self, rows: dict[int, list[str]], lines: list[int], odd: bool) -> None:
        table, indices = np.array(list(rows.values()), dtype=object), np.array(list(rows))
        if self.class_column is not None:
            for index, cells in rows.items():
                self.classes[index] = cells[self.class_column]
        numeric = [i for i, of in enumerate(self.features) if of.type == "numeric"]
        values = np.zeros((len(rows), len(self.features)))
        cells = table[:, self.sources]
        values[:, numeric], doubtful = _as_numbers(cells[:, numeric], odd)
        again = np.zeros(values.shape, dtype=bool)
        again[:, numeric] = doubtful
        for i, positions in enumerate(self.positions):
            if self.features[i].type == "nominal":
                values[:, i] = [positions.get(cell, np.nan) for cell in cells[:, i].tolist()]
                again[:, i] = np.isnan(values[:, i])
        for row, i in np.argwhere(again):
            try:
                values[row, i] = self._value(int(i), str(cells[row, i]))
            except ValueError as error:
                raise file_error(self.path, lines[row], str(error)) from error
        self.values[indices] = values

    def _value(self, feature: int, cell: str) -> float:
        """One cell as a number. Raises ValueError that names the attribute."""
        column = self.features[feature]
        if cell == "?":
            return np.nan
        if column.type == "nominal":
            if cell not in self.positions[feature]:
                raise ValueError(f"{cell[:40]!r} is not a value of the nominal attribute {column.name!r}")
            return self.positions[feature][cell]
        if cell.lower() == "nan":  # what Weka keeps for a missing number
            return np.nan
        if not NUMBER.fullmatch(cell):
            raise ValueError(f"{cell[:40]!r} is not a number (attribute {column.name!r})")
        if abs(number := float(cell)) > LARGEST:
            raise ValueError(f"{cell[:40]!r} is too large for float32 (attribute {column.name!r})")
        return number


def _as_numbers(cells: np.ndarray, odd: bool) -> tuple[np.ndarray, np.ndarray]:
    """Text as float64, "?" as NaN; and which cells Python may read otherwise than Weka, or not at all.

    Those may be all where rows are ``odd``: Python takes ``_`` in numbers, and digits beyond ASCII.
    """
    missing = cells == "?"
    try:
        numbers = np.where(missing, "nan", cells).astype(np.float64)
    except ValueError:
        return np.full(cells.shape, np.nan), ~missing
    doubtful = ~missing & ~(np.abs(numbers) <= LARGEST)
    return numbers, doubtful | ~missing if odd else doubtful
