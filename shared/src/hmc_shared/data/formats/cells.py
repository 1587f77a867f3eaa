"""What the cells of a column hold: numbers, vectors, texts. The same for CSV, parquet and `datasets`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute
from pyarrow import types

from hmc_shared.messages import shown

Column: TypeAlias = pa.ChunkedArray
compute: Any = pyarrow.compute  # its functions are made when it is imported: no type checker knows them
MISSING = ("", "?", "na", "n/a", "#n/a", "#na", "nan", "-nan", "null", "none", "<na>")
"""Words for a missing value, in any case of letters."""
TRUTH = {"true": 1.0, "false": 0.0}
FLOAT32_MAX = float(np.finfo(np.float32).max)

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity)", re.ASCII | re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?[\d.]*,\d+([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"([+-]?\d+)\.0+", re.ASCII)


def plain(column: Column) -> Column:
    """The column as plain values: those of dictionaries (categories of pandas), and one type of text."""
    kind = column.type
    if types.is_dictionary(kind):
        return column.cast(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return column.cast(pa.string())
    return column


def is_text(kind: pa.DataType) -> bool:
    return types.is_string(kind)


def is_number(kind: pa.DataType) -> bool:
    """Whether cells of this type are numbers: integers, floats, decimals, booleans; or nothing at all."""
    tests = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null)
    return any(test(kind) for test in tests)


def is_list(kind: pa.DataType) -> bool:
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def is_vector(kind: pa.DataType) -> bool:
    return is_list(kind) and is_number(kind.value_type)


@dataclass(frozen=True, eq=False)
class Numbers:
    """A column read as numbers."""

    values: np.ndarray
    """(n,) float64, NaN where a cell is missing or is no number."""
    wrong: int | None = None
    """The first row whose cell is neither a number nor missing."""
    some: bool = True
    """Whether any cell looks like a number; without one, a column with wrong cells is one of texts."""


def as_numbers(column: Column) -> Numbers:
    """A column of numbers or of texts, words for truth as 1 and 0."""
    if not is_text(column.type):
        # Arrow casts no null type, and a boolean by way of an integer.
        if types.is_null(column.type):
            return Numbers(np.full(len(column), np.nan))
        numbers = column.cast(pa.int8()) if types.is_boolean(column.type) else column
        return Numbers(numbers.cast(pa.float64(), safe=False).to_numpy())
    try:
        return Numbers(column.cast(pa.float64()).to_numpy())
    except pa.ArrowInvalid:  # missing values, blanks, or texts
        trimmed = compute.utf8_trim_whitespace(column)
        values = compute.if_else(is_missing(trimmed), pa.scalar(None, pa.string()), trimmed)
    try:
        return Numbers(values.cast(pa.float64()).to_numpy())
    except pa.ArrowInvalid:
        return _by_distinct(values)


def _by_distinct(values: Column) -> Numbers:
    """Each different text is read once."""
    codes, distinct = encoded(values)
    table = np.full(len(distinct) + 1, np.nan)  # the last one stands for missing cells, whose code is -1
    is_wrong = np.zeros(len(distinct) + 1, dtype=bool)
    some = False
    for code, text in enumerate(distinct):
        if _NUMBER.fullmatch(text):
            table[code], some = float(text), True
        elif text.lower() in TRUTH:
            table[code], some = TRUTH[text.lower()], True
        else:
            is_wrong[code] = True
            some = some or bool(_DECIMAL_COMMA.fullmatch(text))
    wrong = np.flatnonzero(is_wrong[codes])
    return Numbers(table[codes], int(wrong[0]) if len(wrong) else None, some)


def encoded(column: Column) -> tuple[np.ndarray, list[str]]:
    """(n,) code of each cell of a column of texts, -1 for a missing one, and the text of each code."""
    array = column.combine_chunks().dictionary_encode()
    return array.indices.fill_null(-1).to_numpy(zero_copy_only=False), array.dictionary.to_pylist()


def is_missing(trimmed: Column) -> Column:
    """(n,) bool: whether a text without blanks around it is a word for a missing value, or null."""
    words = compute.is_in(compute.utf8_lower(trimmed), value_set=pa.array(MISSING))
    return compute.or_(words, compute.fill_null(compute.is_null(trimmed), True))


def why_no_number(cell: object) -> str:
    """What a message says of a cell that should be a number."""
    if isinstance(cell, str) and _DECIMAL_COMMA.fullmatch(cell.strip()):
        return f"{shown(cell)} is not a number, whose decimals stand after a point, as in 1.5"
    return f"{shown(cell)} is not a number"


def as_texts(column: Column) -> list[str]:
    """The cells as text, "" for null and NaN; a whole number stored as a float is written without decimals.

    Integers with gaps are floats in a table of pandas, and would else have other names.
    """
    if types.is_floating(column.type):
        return ["" if cell is None or cell != cell else whole(str(cell)) for cell in column.to_pylist()]
    if is_text(column.type):
        codes, distinct = encoded(column)
        texts = np.array([*map(whole, distinct), ""], dtype=object)
        return texts[codes].tolist()
    return ["" if cell is None else str(cell) for cell in column.to_pylist()]


def whole(text: str) -> str:
    """A text without the decimals of a whole number: "12.0" to "12", any other as it is."""
    if match := _WHOLE.fullmatch(text.strip()):
        return match[1]
    return str(int(float(text))) if re.fullmatch(r"\d\.?\d*e\+\d+", text) else text
