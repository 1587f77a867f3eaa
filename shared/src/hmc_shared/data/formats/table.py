"""`table:PATH`: a .csv or .parquet file with features and labels, and an edge list or columns of levels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from hmc_shared.data.choice import FeatureChoice
from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.formats.annotations import is_gaf
from hmc_shared.data.formats.beside import EDGES, LABELS, Beside, RowLabels, find_beside, ontology_labels
from hmc_shared.data.formats.features import choose_features, read_features
from hmc_shared.data.formats.label_cells import known_labels, labels_of_levels, path_labels, plain_labels
from hmc_shared.data.formats.level_columns import split_levels, split_rows
from hmc_shared.data.formats.split_tables import find_tables, name_of, open_tables
from hmc_shared.data.formats.table_file import TableFile, open_table
from hmc_shared.data.formats.taxonomy import column_of, read_products
from hmc_shared.data.preprocessing import Protocol
from hmc_shared.data.storage.mapped import LARGE, mapped
from hmc_shared.data.storage.raw import RawPart, RawSet
from hmc_shared.data.storage.sources import sha256
from hmc_shared.data.vector_dataset import vector_dataset
from hmc_shared.embed.embedder import FILE as EMBEDDER
from hmc_shared.embed.embedder import load_embedder
from hmc_shared.graph_depth import CycleError
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import listed, shown

VALIDATION_SHARE = 0.2
READER = "table 2"
"""Raise the number where the same table gives other numbers than before."""


def load(
    path: str,
    protocol: Protocol,
    levels: str | Sequence[str] | None = None,
    choice: FeatureChoice | None = None,
    evidence: Collection[str] = (),
) -> HierarchicalDataset:
    """Read a table: a row for each sample, a column for each feature, and these columns by their names.

    * ``labels`` (or ``label``): names of classes separated by "|" or ";", or a list of them, with ancestors
      or without. The file ``edges.csv`` beside the table, with the columns parent and child, joins them; a
      line without a parent names a root. Without that file the classes are the labels, and have no parents.
    * An ontology instead of ``edges.csv``, any file ``.obo``, and annotations instead of ``labels``, a file
      ``.gaf`` or ``annotations.tsv``: see :func:`hmc_shared.data.formats.beside.ontology_labels`. Of a
      ``.gaf`` only annotations with a code of ``evidence`` count; none: all.
    * Google's product taxonomy instead of ``edges.csv``, a file ``taxonomy*.txt``: ``labels``, or the column
      ``google_product_category``, are paths "a > b > c" or numbers of it.
    * With ``levels``, instead of these: columns of labels, coarse to fine, which spell out a tree; or one
      column that is read as ``labels`` is, or, with ";" or ">" at the end of its name, as paths with that
      between their parts.
    * ``split``, optional: train, val or test; instead, tables train.csv, val.csv and test.csv in one folder
      are the splits. Missing splits are sampled by iterative stratification: 20 % of
      the training rows for validation, or 60, 20 and 20 % of all.
    * ``id``, optional: names of the rows.

    These names count in any case of letters. Which of the other columns are features, and how, says
    :mod:`hmc_shared.data.formats.features`; ``choice`` chooses among them.

    ``path`` is the file, or a folder that holds one such file, or one for each split. The rows of a large one
    are mapped from the cache, see ``hmc_shared.data.storage.mapped``.

    Raises ValueError, naming file and line.
    """
    files, choice = tables_of(Path(path).expanduser()), choice or FeatureChoice()
    folder = files[0].parent
    beside = beside_table(folder, levels, evidence)
    sources = {source.name: sha256(source) for source in (*files, *beside.files)}
    read = partial(read_set, files, sources, protocol, levels, choice, beside, evidence)
    if sum(file.stat().st_size for file in files) < LARGE:
        dataset = read()
    else:
        columns = None if levels is None else split_levels(levels)
        key = [*map(str, files), sources, protocol, columns, asdict(choice), sorted(evidence)]
        dataset = mapped(READER, key, read)
    return with_embedder(dataset, folder)


def with_embedder(dataset: HierarchicalDataset, folder: Path) -> HierarchicalDataset:
    """The data set with the embedder in the folder of its table, if its features are that one's vectors."""
    embedder = load_embedder(folder)
    if embedder is None:
        return dataset
    if dataset.feature_names != embedder.features:
        note = f"{folder / EMBEDDER} is not of these features: raw {embedder.takes} cannot be predicted"
        return replace(dataset, notes=(*dataset.notes, note))
    note = f"features: vectors of {embedder.source}, by {embedder.encoder}"
    return replace(dataset, notes=(*dataset.notes, note), embedder=embedder)


def beside_table(folder: Path, levels: str | Sequence[str] | None, evidence: Collection[str]) -> Beside:
    """What says what the labels are, unless ``levels`` do. Raises ValueError for evidence without a .gaf."""
    beside = find_beside(folder) if levels is None else Beside()
    if evidence and not (beside.annotations and is_gaf(beside.annotations)):
        raise ValueError(f"`--evidence` is for tables with a .gaf file beside them. Found none in {folder}.")
    return beside


def read_set(
    files: Sequence[Path],
    sources: dict[str, str],
    protocol: Protocol,
    levels: str | Sequence[str] | None,
    choice: FeatureChoice,
    beside: Beside,
    evidence: Collection[str] = (),
) -> HierarchicalDataset:
    """What :func:`load` returns, in memory. ``sources``: tables and what lies beside it to their SHA-256."""
    labelled = read_rows(files, beside, levels, evidence)
    table, rows, ids = labelled.table, labelled.parts, labelled.ids
    feature_names, words, more = choose_features(table, labelled.taken, choice)
    notes = [*labelled.notes, *more]
    size = len(table)
    every = np.concatenate([*rows.values()])
    is_whole = len(every) == size and bool((np.diff(every) == 1).all())
    features = read_features(table, feature_names, rows=None if is_whole else every)
    table.columns.clear()  # a large part of the memory, which Arrow keeps unless it is told
    pa.default_memory_pool().release_unused()
    ends = np.cumsum([len(at) for at in rows.values()])
    parts = {  # whose features are no copies
        part: RawPart(features[end - len(at) : end], [labelled.labels[row] for row in at])
        for (part, at), end in zip(rows.items(), ends.tolist(), strict=True)
    }
    ids_of = {part: [ids[row] for row in at] for part, at in rows.items()}
    hierarchy, not_evaluated = labelled.hierarchy, labelled.not_evaluated
    del features, labelled, ids, rows
    return vector_dataset(
        name_of(files, "table"),
        RawSet(hierarchy, {part: parts.pop(part) for part in list(parts)}),
        sources,
        protocol,
        validation_share=VALIDATION_SHARE,
        origin="rows",
        not_evaluated=not_evaluated,
        ids=ids_of,
        feature_names=feature_names,
        words=words,
        notes=notes,
    )


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """A table, and what its rows are."""

    table: TableFile
    hierarchy: Hierarchy
    labels: list[list[int]]
    """The class ids of each row, as in the source: without their ancestors."""
    not_evaluated: Collection[str]
    ids: list[str]
    parts: dict[str, np.ndarray]
    """The rows that have labels: of "train", "test" and perhaps "validation"; or of "all"."""
    taken: set[str]
    """Columns that are no features."""
    notes: list[str]


def read_rows(
    files: Sequence[Path],
    beside: Beside,
    levels: str | Sequence[str] | None,
    evidence: Collection[str] = (),
) -> LabelledRows:
    """Labels, names and splits of the rows of a table, or of one for each split.

    Raises ValueError, naming file and line.
    """
    table = open_tables(files)
    of_rows = read_labels(table, beside, levels, evidence)
    notes = of_rows.notes
    split, id_column = table.find("split"), table.find("id")
    taken = {name for name in (*of_rows.columns, split, id_column) if name is not None}
    ids = table.ids()
    if id_column:
        refuse_repeats(table, ids)
    rows, more = rows_of_splits(table, of_rows)
    notes += more
    return LabelledRows(
        table, of_rows.hierarchy, of_rows.labels, of_rows.not_evaluated, ids, rows, taken, notes
    )


def rows_of_splits(table: TableFile, of_rows: RowLabels) -> tuple[dict[str, np.ndarray], list[str]]:
    """Part to the rows that have labels, by the column ``split``, and notes. Raises ValueError."""
    split, notes = table.find("split"), list[str]()
    rows: dict[str, np.ndarray] = {"all": np.arange(len(table))}
    if split:
        cells = [cell.strip() for cell in table.texts(split)]
        found, notes = split_rows(cells, table.origin, table.where)
        rows = {part: np.array(at) for part, at in found.items()}
    if of_rows.rows is not None:
        rows = {part: at[np.isin(at, of_rows.rows)] for part, at in rows.items()}
    return rows, notes


def tables_of(path: Path) -> list[Path]:
    """What :func:`hmc_shared.data.formats.split_tables.find_tables` finds; ValueError if that is nothing."""
    files = find_tables(path)
    if not files:
        raise ValueError(
            "table:PATH should name a .csv, .tsv or .parquet file, or a folder with one. Found none at "
            f"{path}."
        )
    return files


def read_labels(
    table: TableFile, beside: Beside, levels: str | Sequence[str] | None, evidence: Collection[str] = ()
) -> RowLabels:
    """Classes and labels of each row. Raises ValueError, naming file and line."""
    if levels is not None:
        columns = split_levels(levels)
        hierarchy, labels, notes = labels_of_levels(table, columns)
        return RowLabels(hierarchy, labels, [column_of(name, table.columns) for name in columns], notes)
    if beside.taxonomy is not None:
        column = table.find(*LABELS, "google_product_category", "google product category")
        taxonomy = read_products(beside.taxonomy)
        hierarchy, labels, notes = path_labels(table, column or "labels", taxonomy.paths)
        return RowLabels(hierarchy, labels, [column or "labels"], notes)
    if beside.obo is not None:
        return ontology_labels(table, beside, beside.obo, evidence)
    column = table.find(*LABELS) or "labels"
    if beside.edges is None:
        hierarchy, labels, notes = plain_labels(table, column)
        return RowLabels(hierarchy, labels, [column], notes)
    table.column(column)  # before the edges: the table is what the user named
    hierarchy = read_edges(beside.edges)
    labels, notes = known_labels(table, column, hierarchy, EDGES)
    return RowLabels(hierarchy, labels, [column], notes)


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
