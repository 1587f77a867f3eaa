"""`table:PATH`: a .csv or .parquet file with features and labels, and an edge list or columns of levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from hmc_shared.data.choice import FeatureChoice
from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.formats.cells import as_texts
from hmc_shared.data.formats.features import choose_features, read_features
from hmc_shared.data.formats.label_cells import known_labels, labels_of_levels, plain_labels
from hmc_shared.data.formats.level_columns import split_levels, split_rows
from hmc_shared.data.formats.table_file import SUFFIXES, TableFile, open_table
from hmc_shared.data.preprocessing import Protocol
from hmc_shared.data.storage.mapped import LARGE, mapped
from hmc_shared.data.storage.raw import RawPart, RawSet
from hmc_shared.data.storage.sources import sha256
from hmc_shared.data.vector_dataset import vector_dataset
from hmc_shared.graph_depth import CycleError
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import listed, shown

EDGES = "edges.csv"
VALIDATION_SHARE = 0.2
READER = "table 2"
"""Raise the number where the same table gives other numbers than before."""


def load(
    path: str,
    protocol: Protocol,
    levels: str | Sequence[str] | None = None,
    choice: FeatureChoice | None = None,
) -> HierarchicalDataset:
    """Read a table: a row for each sample, a column for each feature, and these columns by their names.

    * ``labels`` (or ``label``): names of classes separated by "|" or ";", or a list of them, with ancestors
      or without. The file ``edges.csv`` beside the table, with the columns parent and child, joins them; a
      line without a parent names a root. Without that file the classes are the labels, and have no parents.
    * With ``levels``, instead of these: columns of labels, coarse to fine, which spell out a tree; or one
      column that is read as ``labels`` is.
    * ``split``, optional: train, val or test. Missing splits are sampled by iterative stratification: 20 % of
      the training rows for validation, or 60, 20 and 20 % of all.
    * ``id``, optional: names of the rows.

    These names count in any case of letters. Which of the other columns are features, and how, says
    :mod:`hmc_shared.data.formats.features`; ``choice`` chooses among them.

    ``path`` is the file, or a folder that holds one such file. The rows of a large one are mapped from the
    cache, see ``hmc_shared.data.storage.mapped``. Raises ValueError, naming file and line.
    """
    file, choice = find_table(Path(path).expanduser()), choice or FeatureChoice()
    sources = {file.name: sha256(file)}
    if levels is None and file.with_name(EDGES).is_file():
        sources[EDGES] = sha256(file.with_name(EDGES))
    read = partial(read_set, file, sources, protocol, levels, choice)
    if file.stat().st_size < LARGE:
        return read()
    columns = None if levels is None else split_levels(levels)
    return mapped(READER, [str(file), sources, protocol, columns, asdict(choice)], read)


def read_set(
    file: Path,
    sources: dict[str, str],
    protocol: Protocol,
    levels: str | Sequence[str] | None,
    choice: FeatureChoice,
) -> HierarchicalDataset:
    """What :func:`load` returns, in memory. ``sources`` are table and edges to their SHA-256."""
    table = open_table(file)
    hierarchy, labels, label_columns, notes = read_labels(table, file, levels)
    split, id_column = table.find("split"), table.find("id")
    taken = {name for name in (*label_columns, split, id_column) if name is not None}
    feature_names, words, more = choose_features(table, taken, choice)
    notes += more
    ids = list(map(str, range(len(table))))
    if id_column:
        ids = as_texts(table.columns[id_column])
        refuse_repeats(table, ids)
    rows: dict[str, np.ndarray] = {"all": np.arange(len(table))}
    if split:
        found, more = split_rows([cell.strip() for cell in table.texts(split)], str(file), table.where)
        rows = {part: np.array(at) for part, at in found.items()}
        notes += more
    features = read_features(table, feature_names, rows=np.concatenate([*rows.values()]) if split else None)
    table.columns.clear()  # a large part of the memory, which Arrow keeps unless it is told
    pa.default_memory_pool().release_unused()
    ends = np.cumsum([len(at) for at in rows.values()])
    parts = {  # whose features are no copies
        part: RawPart(features[end - len(at) : end], [labels[row] for row in at])
        for (part, at), end in zip(rows.items(), ends.tolist(), strict=True)
    }
    ids_of = {part: [ids[row] for row in at] for part, at in rows.items()}
    del features, labels, ids, rows
    return vector_dataset(
        file.parent.name if file.stem == "table" else file.stem,
        RawSet(hierarchy, {part: parts.pop(part) for part in list(parts)}),
        sources,
        protocol,
        validation_share=VALIDATION_SHARE,
        origin="rows",
        ids=ids_of,
        feature_names=feature_names,
        words=words,
        notes=notes,
    )


def find_table(path: Path) -> Path:
    """The file itself, or the one table in a folder. Raises ValueError if there is none, or several."""
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.name != EDGES)
        if len(inside) != 1:
            names = listed(file.name for file in inside) or "none"
            raise ValueError(f"{path} should hold one table beside {EDGES}, .csv or .parquet. Found {names}.")
        return inside[0].resolve()
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        raise ValueError(
            f"table:PATH should name a .csv, .tsv or .parquet file, or its folder. Found none at {path}."
        )
    return path.resolve()


def read_labels(
    table: TableFile, file: Path, levels: str | Sequence[str] | None
) -> tuple[Hierarchy, list[list[int]], list[str], list[str]]:
    """Classes, ids of each row's labels, the columns that hold them, and notes."""
    if levels is not None:
        columns = split_levels(levels)
        hierarchy, labels, notes = labels_of_levels(table, columns)
        return hierarchy, labels, columns, notes
    column = table.find("labels", "label") or "labels"
    edges = file.with_name(EDGES)
    if not edges.is_file():
        hierarchy, labels, notes = plain_labels(table, column)
        return hierarchy, labels, [column], notes
    table.column(column)  # before the edges: the table is what the user named
    hierarchy = read_edges(edges)
    labels, notes = known_labels(table, column, hierarchy, EDGES)
    return hierarchy, labels, [column], notes


def read_edges(file: Path) -> Hierarchy:
    """The classes of an edge list with the columns parent and child; an edge given twice is one.

    Raises ValueError, naming file and line.
    """
    table = open_table(file)
    columns = {name: table.find(name) for name in ("parent", "child")}
    if None in columns.values():
        raise ValueError(
            f"{file} should have the columns parent and child, named in its first line. Found "
            f"{listed(table.columns)}."
        )
    parents, children = ([cell.strip() for cell in table.texts(name or "")] for name in columns.values())
    line_of: dict[tuple[str, str], int] = {}
    for row, edge in enumerate(zip(parents, children, strict=True)):
        line_of.setdefault(edge, row)
    nodes = dict.fromkeys(name for edge in line_of for name in edge if name)
    edges = [edge for edge in line_of if all(edge)]
    try:
        return Hierarchy.from_edges(edges, nodes=nodes)
    except CycleError as error:
        row = line_of[error.cycle[-2], error.cycle[-1]]
        raise ValueError(f"{table.where(row)}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def refuse_repeats(table: TableFile, ids: Sequence[str]) -> None:
    """Raises ValueError, naming the row, for a name of two rows."""
    seen: set[str] = set()
    for row, name in enumerate(ids):
        if name in seen:
            raise ValueError(
                f"{table.where(row)}: each row should have a name of its own in the column 'id'. Found "
                f"{shown(name)} again."
            )
        seen.add(name)
