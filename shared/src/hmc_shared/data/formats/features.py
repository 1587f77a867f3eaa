"""Which columns of a table are features, and how: one rule for `table:`, `hf:` and what ``predict`` reads.

* Numbers and truths are features; a word for a missing value is NaN.
* A column of equally long lists of numbers is one feature for each place, ``name[0]``, ``name[1]``, ...
* A column of words that ``categorical`` names is one feature for each word, ``name=word``: 1 where the cell
  is that word, 0 where it is another, known or not, NaN where it is missing.
* Everything else is left out, with a note: words, dates, and the row numbers that pandas writes.

These names say all, so that a model reads the columns of a table by the names of its features.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hmc_shared.data.choice import FeatureChoice
from hmc_shared.data.formats.cells import (
    FLOAT32_MAX,
    MISSING,
    Column,
    as_numbers,
    as_texts,
    compute,
    is_number,
    is_text,
    is_vector,
    why_no_number,
)
from hmc_shared.data.formats.table_file import TableFile, read_array, table_blocks
from hmc_shared.messages import listed, shown

FEW = 20
"""Different words of a column that is worth offering as categories."""
MANY = 1000
"""Different words of a column that cannot be categories."""

_ROW_NUMBER = re.compile(r"(unnamed: ?\d+|__index_level_\d+__|index|idx)?", re.IGNORECASE)
_PLACE = re.compile(r"(.*)\[(\d+)\]", re.DOTALL)


def choose_features(
    table: TableFile, taken: Collection[str], choice: FeatureChoice
) -> tuple[list[str], list[str], list[str]]:
    """Names of the features, those of them that stand for a word, and a note on what is left out.

    Args:
        table: as it was read.
        taken: columns with another use.
        choice: of the user.

    Raises ValueError, naming file, row and column: without any feature; for a cell without a number among
    numbers; for a column that is chosen and holds no numbers.
    """
    choice.check(table.columns, taken, table.origin)
    names: list[str] = []
    words: list[str] = []
    left_out: list[str] = []
    for column in list(table.columns):
        if column in taken or column in choice.drop:
            continue
        is_chosen = column in choice.features
        if column in choice.categorical:
            found = [f"{column}={word}" for word in categories(table, column)]
            names, words = names + found, words + found
        elif not choice.features or is_chosen:
            found = features_of(table, column, is_chosen)
            if isinstance(found, str):
                left_out.append(f"{shown(column)} ({found})")
            else:
                names += found
    if not names:
        why = f" Left out: {listed(left_out)}." if left_out else ""
        raise ValueError(
            f"{table.origin} should have columns of features. Found {listed(table.columns)}.{why}"
        )
    repeated = {name for name in names if names.count(name) > 1} if len({*names}) < len(names) else set()
    if repeated:
        raise ValueError(f"{table.origin}: two features would be called {min(repeated)!r}: `--drop` one.")
    return names, words, [f"columns left out: {listed(left_out, 20)}"] if left_out else []


def features_of(table: TableFile, column: str, is_chosen: bool) -> list[str] | str:
    """Names of the features that a column is, or why it is none."""
    cells = table.columns[column]
    if is_number(cells.type) or is_text(cells.type):
        numbers = as_numbers(cells)
        if numbers.wrong is None:
            if not is_chosen and is_row_number(column, numbers.values):
                return "row numbers"
            return [column]
        if numbers.some or is_chosen:
            wrong = why_no_number(cells[numbers.wrong].as_py())
            ways = f"`--categorical` takes {shown(column)} as words, `--drop` leaves it out"
            raise ValueError(f"{table.where(numbers.wrong)}: {wrong} (column {column!r}). {ways}.")
        count = compute.count_distinct(cells).as_py()
        return f"text, {count} words: `--categorical` takes it" if count <= FEW else "text"
    if is_vector(cells.type):
        return [f"{column}[{place}]" for place in range(vectors(table, column).shape[1])]
    if is_chosen:
        raise ValueError(f"{table.origin}: the column {column!r} should hold numbers. Found {cells.type}.")
    return shown(str(cells.type))[1:-1]


def is_row_number(name: str, values: np.ndarray) -> bool:
    """Whether a column is the index that pandas wrote: by its name, and as its values are different integers.

    Where rows are sorted by class such a column gives the class away.
    """
    if not _ROW_NUMBER.fullmatch(name) or np.isnan(values).any() or (values != np.floor(values)).any():
        return False
    return len(np.unique(values)) == len(values)


def categories(table: TableFile, column: str) -> list[str]:
    """The different words of a column, sorted. Raises ValueError for none, and for more than ``MANY``."""
    words = sorted({word for word in words_of(table, column) if word is not None})
    if not words or len(words) > MANY:
        raise ValueError(
            f"`--categorical` should name columns of 1 to {MANY} different words. Found {len(words)} in "
            f"{column!r} of {table.origin}."
        )
    return words


def words_of(table: TableFile, column: str) -> list[str | None]:
    """The cells of a column as words, None for missing ones."""
    word_of: dict[str, str | None] = {}
    texts = [text.strip() for text in table.texts(column)]
    for text in texts:
        if text not in word_of:
            word_of[text] = None if text.lower() in MISSING else text
    return [word_of[text] for text in texts]


def texts_of(table: TableFile, columns: Sequence[str]) -> list[str | None]:
    """The texts of each row, joined with a blank; None where all cells are missing."""
    cells = [
        ["" if text.strip().lower() in MISSING else text.strip() for text in table.texts(column)]
        for column in columns
    ]
    return [" ".join(part for part in row if part) or None for row in zip(*cells, strict=True)]


def vectors(table: TableFile, column: str, width: int | None = None) -> np.ndarray:
    """(n, k) float64 of a column of lists; NaN where a list or one of its numbers is missing.

    Raises ValueError, naming the row, where a list has another length than ``width``; default: the first's.
    """
    cells = table.column(column)
    lengths = compute.list_value_length(cells)
    found = compute.drop_null(compute.unique(lengths)).to_pylist()
    k = width if width is not None else next(iter(found), 0)
    if {*found} - {k}:
        other = compute.fill_null(compute.not_equal(lengths, k), False).to_numpy()
        row = int(other.argmax())
        raise ValueError(
            f"{table.where(row)}: lists in {column!r} should be of one length. Found {k} and "
            f"{lengths[row].as_py()}."
        )
    values = np.full((len(table), k), np.nan)
    flat = pa.chunked_array([compute.list_flatten(cells.combine_chunks())])
    values[lengths.is_valid().to_numpy()] = as_numbers(flat).values.reshape(-1, k) if k else np.nan
    return values


def read_features(
    table: TableFile,
    names: Sequence[str],
    widths: dict[str, int] | None = None,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """(n, F) float64 of features by their names, NaN where missing; of some ``rows``, in their order.

    ``widths``, of columns of lists, are those of the blocks of a file before this one; it adds its own.

    Raises ValueError, naming file, row and column: for a name without a column, a cell that is no number, and
    a number that float32 does not hold, such as inf.
    """
    widths = {} if widths is None else widths
    features = np.empty((len(table) if rows is None else len(rows), len(names)))
    words: dict[str, np.ndarray] = {}
    lists: dict[str, np.ndarray] = {}
    for at, name in enumerate(names):
        place = _PLACE.fullmatch(name)
        column, word = category_of(name, table.columns)
        if name in table.columns:
            values = numbers_of(table, name)
        elif place and place[1] in table.columns and is_vector(table.columns[place[1]].type):
            at_place, column = int(place[2]), place[1]
            if column not in lists:
                lists[column] = vectors(table, column, widths.get(column))
                if table.columns[column].null_count < len(table):
                    widths[column] = lists[column].shape[1]
            width = lists[column].shape[1]
            if at_place < width:
                values = lists[column][:, at_place]
            elif table.columns[column].null_count == len(table):
                values = np.full(len(table), np.nan)
            else:
                raise ValueError(f"{table.origin}: lists in {column!r} should hold {name}. Found {width}.")
        elif column is not None:
            if column not in words:
                words[column] = np.array(words_of(table, column), dtype=object)
            values = np.where(words[column] == None, np.nan, words[column] == word)  # noqa: E711
        else:
            table.column(place[1] if place else name.partition("=")[0] or name)  # raises, as a rule
            raise ValueError(
                f"{table.origin} should have the feature {name!r}. Found {listed(table.columns)}."
            )
        too_large = ~(np.abs(values) <= FLOAT32_MAX) & ~np.isnan(values)
        if too_large.any():
            row = int(too_large.argmax())
            raise ValueError(
                f"{table.where(row)}: features should be finite, at most {FLOAT32_MAX:.2g}. Found "
                f"{values[row]} (column {name!r})."
            )
        features[:, at] = values if rows is None else values[rows]
    return features


def category_of(name: str, columns: Iterable[str]) -> tuple[str | None, str]:
    """Column and word of a feature ``column=word``, of the longest column that fits; no column: None."""
    fitting = [column for column in columns if name.startswith(f"{column}=")]
    column = max(fitting, key=len, default=None)
    return column, "" if column is None else name[len(column) + 1 :]


def numbers_of(table: TableFile, column: str) -> np.ndarray:
    """(n,) float64. Raises ValueError, naming row and column, where a cell is no number."""
    cells = table.column(column)
    if not (is_number(cells.type) or is_text(cells.type)):
        raise ValueError(f"{table.origin}: the column {column!r} should hold numbers. Found {cells.type}.")
    numbers = as_numbers(cells)
    if numbers.wrong is not None:
        wrong = why_no_number(cells[numbers.wrong].as_py())
        raise ValueError(f"{table.where(numbers.wrong)}: {wrong} (column {column!r}).")
    return numbers.values


def read_table(path: str | Path, columns: Sequence[str] = ()) -> tuple[list[str], np.ndarray]:
    """All rows of :func:`feature_blocks` at once."""
    return next(feature_blocks(path, columns))[:2]


class Rows(NamedTuple):
    """Rows of what ``predict`` is given."""

    ids: list[str]
    features: np.ndarray
    """(b, F) float32, NaN where missing."""
    kept: dict[str, Column]
    """Columns of the table that the result has, too."""


def feature_blocks(
    path: str | Path, columns: Sequence[str] = (), rows: int | None = None, keep: Sequence[str] = ()
) -> Iterator[Rows]:
    """The rows of a table or array, which is read once.

    A .npy file holds the features, whose ids are the row numbers. In a .csv, .tsv or .parquet file a column
    named "id" names the rows.

    Args:
        path: the file.
        columns: names of the features, in the order that a model takes; other columns are left out. Default:
            all that can be features, in their order, which is what a .npy file always gives.
        rows: b, fewer in the last block; all at once for None. Without ``columns`` a table is read whole, as
            what a column holds is known at its end.
        keep: more columns of a table.

    Raises ValueError, naming file and line or column, for anything else, and for no rows.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} should be a .csv, .tsv, .parquet or .npy file. Found no file there.")
    is_array = path.suffix.lower() == ".npy"
    start = 0
    blocks = _array_blocks(path, rows) if is_array else _named_blocks(path, columns, rows, keep)
    for ids, features, kept in blocks:
        if not len(features):
            raise ValueError(f"{path} should have rows. Found none.")
        with np.errstate(over="ignore"):  # what becomes inf is refused
            narrow = features.astype(np.float32)
        infinite = np.isinf(narrow).reshape(len(narrow), -1).any(1)
        if infinite.any():
            row = start + int(infinite.argmax()) + 1
            raise ValueError(f"{path}, row {row}: features should be finite, at most {FLOAT32_MAX:.2g}.")
        ids = ids or list(map(str, range(start, start + len(narrow))))
        start += len(narrow)
        size = rows or len(narrow)
        for at in range(0, len(narrow), size):
            of_block = {name: column.slice(at, size) for name, column in kept.items()}
            yield Rows(ids[at : at + size], narrow[at : at + size], of_block)


def _array_blocks(path: Path, rows: int | None) -> Iterator[Rows]:
    array = read_array(path)
    size = rows or max(len(array), 1)
    for start in range(0, max(len(array), 1), size):
        yield Rows([], array[start : start + size], {})


def _named_blocks(
    path: Path, columns: Sequence[str], rows: int | None, keep: Sequence[str]
) -> Iterator[Rows]:
    widths: dict[str, int] = {}
    for table in table_blocks(path, rows if columns else None):
        name = table.find("id")
        names = columns or choose_features(table, {name or "id"}, FeatureChoice())[0]
        ids = as_texts(table.columns[name]) if name else []
        yield Rows(ids, read_features(table, names, widths), table.columns_of(keep))
