"""Labels in the cells of a table: several in one cell, words for none, ids, lists."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from pyarrow import types

from hmc_shared.data.formats.cells import MISSING, is_list, whole
from hmc_shared.data.formats.level_columns import level_labels
from hmc_shared.data.formats.table_file import TableFile
from hmc_shared.data.formats.taxonomy import Parts, column_of, labels_of_paths, paths_of_cell, separator_of
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.indicators import refuse_vectors
from hmc_shared.messages import clipped, counted, listed, shown

Names = list[list[str]]
SEPARATOR = re.compile("[|;]")


def label_names(table: TableFile, column: str, known: Collection[str] = ()) -> tuple[Names, list[str]]:
    """The names of each row's labels, and notes.

    A cell is a list of names or ids; or text: names with ";" or "|" between them, or such a list written out
    as ["cat", "dog"]. A cell that is a name of ``known`` classes is that one class, whatever stands in it.
    A word for a missing value, such as NA, is no label unless it is known.

    Raises ValueError, naming file, row and value: for values that are neither names nor ids, such as a vector
    of 0 and 1.
    """
    cells = table.column(column)
    if is_list(cells.type):
        return _of_lists(table, column), []
    missing: dict[str, int] = {}
    names_of: dict[str, list[str]] = {}
    lists_of: dict[str, list[Any]] = {}
    labels: Names = []
    texts = table.texts(column)
    for row, cell in enumerate(texts):
        if cell not in names_of:
            text = cell.strip()
            if text in known:
                names_of[cell] = [text]
            elif text.startswith("[") and text.endswith("]"):
                lists_of[cell] = _written_out(text, lambda row=row: table.where(row))
                names_of[cell] = _listed(lists_of[cell], lambda row=row: table.where(row))
            else:
                parts = (whole(part.strip()) for part in SEPARATOR.split(text))
                names_of[cell] = list(dict.fromkeys(part for part in parts if part))
            words = [name for name in names_of[cell] if name.lower() in MISSING and name not in known]
            missing |= dict.fromkeys(words, row)
            names_of[cell] = [name for name in names_of[cell] if name not in words]
        labels.append(names_of[cell])
    refuse_vectors(
        [lists_of[cell] for cell in texts if cell in lists_of], f"{table.origin}: lists in {column!r}"
    )
    return labels, no_label_note(missing)


def no_label_note(words: Collection[str]) -> list[str]:
    return [f"no label where the cell says {listed(map(repr, sorted(words)))}"] if words else []


def path_note(names: Collection[str]) -> list[str]:
    """Where names without a hierarchy look like paths."""
    first: dict[str, str] = {}
    for name in names:
        if " > " in name:
            return [
                f"labels such as {shown(name)} are plain names, not paths: a tree takes the column's name "
                "with > at its end, as in --levels 'category>'"
            ]
        top, slash, _ = name.partition("/")
        if slash and first.setdefault(top, name) != name:
            return [
                f"labels such as {shown(first[top])} and {shown(name)} are plain names, not paths: a tree "
                "takes a column for each level, or an edge list"
            ]
    return []


def _of_lists(table: TableFile, column: str) -> Names:
    kind = table.column(column).type.value_type
    if not (types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind)):
        raise ValueError(
            f"{table.origin}: lists in {column!r} should hold names or ids of classes. "
            f"Found {shown(str(kind))[1:-1]}."
        )
    lists: list[Any] = table.column(column).to_pylist()
    if types.is_integer(kind):
        refuse_vectors(lists, f"{table.origin}: lists in {column!r}")
    return [_listed(cell or [], lambda row=row: table.where(row)) for row, cell in enumerate(lists)]


def _written_out(text: str, where: Callable[[], str]) -> list[Any]:
    """The list ``["cat", "dog"]``, also with quotes as Python writes them."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        try:
            return json.loads(text.replace("'", '"'))
        except (ValueError, RecursionError):
            raise ValueError(
                f"{where()}: {shown(text)} is not a list of labels: names with ';' between them will do."
            ) from None


def _listed(cell: Sequence[object], where: Callable[[], str]) -> list[str]:
    for item in cell:
        if (
            not isinstance(item, str | int | None)
            or isinstance(item, bool)
            or (isinstance(item, str) and not item.strip())
        ):
            raise ValueError(f"{where()}: {shown(item)} in a list is no name or id of a class.")
    return list(dict.fromkeys(whole(str(item).strip()) for item in cell if item is not None))


def plain_labels(table: TableFile, column: str) -> tuple[Hierarchy, list[list[int]], list[str]]:
    """Classes without a hierarchy, ids of each row's labels, and notes. Raises ValueError without a label."""
    labels, notes = label_names(table, column)
    used = sorted({name for names in labels for name in names})
    if not used:
        raise ValueError(f"{table.origin} should have labels in the column {column!r}. Found none.")
    hierarchy = Hierarchy.from_edges([], nodes=used)
    return hierarchy, ids_of(labels, hierarchy), [*notes, *path_note(used)]


def known_labels(
    table: TableFile, column: str, hierarchy: Hierarchy, source: str
) -> tuple[list[list[int]], list[str]]:
    """Ids of each row's labels, and notes. Raises ValueError, naming the row, for an unknown label."""
    labels, notes = label_names(table, column, hierarchy.index)
    unknown: dict[str, int] = {}  # to its first row
    for row, names in enumerate(labels):
        for name in names:
            if name not in hierarchy.index:
                unknown.setdefault(name, row)
    if unknown:
        name, row = next(iter(unknown.items()))
        more = len(unknown) - 1
        others = f", and {counted(more, 'more label')} {'is' if more == 1 else 'are'} none" if more else ""
        lower = {known.lower(): known for known in hierarchy.names}
        like = lower.get(name.lower())
        way = f"is it {like!r}?" if like else "add a line for it there, or take the label out."
        way = way if like or "," not in name else "labels are separated by ';' or '|'."
        raise ValueError(
            f"{table.where(row)}: {clipped(repr(name))} is not a class of {source}{others}: {way}"
        )
    return ids_of(labels, hierarchy), notes


def ids_of(labels: Sequence[Sequence[str]], hierarchy: Hierarchy) -> list[list[int]]:
    """One list for all rows that share the names: a million rows have few different ones."""
    ids: dict[int, list[int]] = {}
    return [ids.setdefault(id(names), [hierarchy.index[name] for name in names]) for names in labels]


def path_labels(
    table: TableFile, column: str, paths_of: Callable[[str], list[Parts]]
) -> tuple[Hierarchy, list[list[int]], list[str]]:
    """Classes, ids of each row's labels, and notes, where cells hold paths of classes.

    Raises ValueError, naming file and row, for what ``paths_of`` refuses in a cell, and as
    :func:`hmc_shared.data.formats.taxonomy.labels_of_paths` does.
    """
    found: dict[str, list[Parts]] = {}
    texts = table.texts(column)
    for row, text in enumerate(texts):
        if text not in found:
            try:
                found[text] = paths_of(text)
            except ValueError as error:
                raise ValueError(f"{table.where(row)}: {error} (column {column!r})") from error
    hierarchy, labels, notes = labels_of_paths([found[text] for text in texts], table.origin, table.where)
    return hierarchy, labels, [f"paths of classes: {column}", *notes]


def labels_of_levels(
    table: TableFile, columns: Sequence[str]
) -> tuple[Hierarchy, list[list[int]], list[str]]:
    """Classes, ids of each row's labels, and notes, from columns of labels, coarse to fine.

    One column alone whose name has ";" or ">" added holds paths with that between their parts. Another one
    alone is read as :func:`label_names` says: several labels a row, which have no parents.

    Raises ValueError, naming file and row, as :func:`path_labels`, :func:`label_names` and
    :func:`hmc_shared.data.formats.level_columns.level_labels` do.
    """
    if len(columns) == 1:
        if separator := separator_of(columns[0], table.columns):
            column = column_of(columns[0], table.columns)
            return path_labels(table, column, lambda text: paths_of_cell(text, separator))
        hierarchy, labels, notes = plain_labels(table, columns[0])
        return hierarchy, labels, [f"levels: {columns[0]}", *notes]
    missing: set[str] = set()
    several: list[str] = []
    texts: dict[str, list[str]] = {}
    for name in columns:
        if is_list(table.column(name).type):
            raise ValueError(
                f"{table.origin}: the column {name!r} holds lists of labels, which have no levels: "
                "`--levels` should name it alone."
            )
        cells = [cell.strip() for cell in table.texts(name)]
        words = {cell for cell in {*cells} if cell and cell.lower() in MISSING}
        missing |= words
        if cell := next((cell for cell in cells if SEPARATOR.search(cell)), None):
            several.append(
                f"labels of {name!r} such as {shown(cell)} are one name each: levels have one label"
            )
        texts[name] = ["" if cell in words else cell for cell in cells] if words else cells
    hierarchy, labels, notes = level_labels(texts, table.origin, table.where)
    return hierarchy, labels, [*notes, *no_label_note(missing), *several]
