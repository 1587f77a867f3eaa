"""What lies beside a table and says what its labels are: edges, a taxonomy, an ontology and annotations."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hmc_shared.data.formats.annotations import GAF, Annotations, read_annotations
from hmc_shared.data.formats.cells import as_texts
from hmc_shared.data.formats.label_cells import ids_of, label_names
from hmc_shared.data.formats.obo import SUFFIXES, Ontology, read_obo
from hmc_shared.data.formats.table_file import TableFile
from hmc_shared.data.formats.taxonomy import PRODUCTS
from hmc_shared.data.image_table import is_hidden
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import listed, shown, some

EDGES = "edges.csv"
LABELS = ("labels", "label", "finding labels")
"""Names of the column of labels, in any case of letters; the last is that of ChestX-ray14."""
ANNOTATIONS = ("annotations.tsv", "annotations.tsv.gz")
"""Of lines of a target and a term."""


@dataclass(frozen=True)
class Beside:
    """The files; None where there is none."""

    edges: Path | None = None
    obo: Path | None = None
    annotations: Path | None = None
    """Only with an ontology."""
    taxonomy: Path | None = None
    """Google's product taxonomy."""

    @property
    def files(self) -> list[Path]:
        every = (self.edges, self.obo, self.annotations, self.taxonomy)
        return [file for file in every if file is not None]


@dataclass(frozen=True, eq=False)
class RowLabels:
    """Classes, and the labels of each row."""

    hierarchy: Hierarchy
    labels: list[list[int]]
    columns: list[str]
    """Of the table: they are no features."""
    notes: list[str]
    rows: np.ndarray | None = None
    """The rows that have labels; None for all. ``labels`` of the others are empty."""
    not_evaluated: Collection[str] = ()
    """The roots of ontologies, which all samples have."""
    unknown: list[list[int]] | None = None
    """Classes of which nobody knows whether a row has them; None: there are none."""


def find_beside(folder: Path) -> Beside:
    """The files in a folder. Raises ValueError for several of one kind, and for several hierarchies."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not is_hidden(path.name))
    obo = [name for name in names if name.lower().endswith(SUFFIXES)]
    annotations = [name for name in names if name in ANNOTATIONS or name.lower().endswith(GAF)] if obo else []
    edges = [EDGES] if EDGES in names else []
    products = [name for name in names if PRODUCTS.fullmatch(name)]
    for what, found in (("hierarchy", [*edges, *obo, *products]), ("file of annotations", annotations)):
        if len(found) > 1:
            raise ValueError(f"{folder} should hold one {what} beside the table. Found {listed(found)}.")
    every = (edges, obo, annotations, products)
    return Beside(*(folder / found[0] if found else None for found in every))


def ontology_labels(table: TableFile, beside: Beside, obo: Path, evidence: Collection[str]) -> RowLabels:
    """Labels of rows as terms of an ontology, from the column ``labels`` or the annotations beside the table.

    Annotations are joined by the column ``id``; rows without any are left out, as what they have is unknown.
    The classes are the terms that rows have, and their ancestors.

    Raises ValueError, naming file and line, as the readers of the files do; for labels in both places, or in
    none; and if no row has annotations.
    """
    column = table.find(*LABELS)
    if column and beside.annotations:
        raise ValueError(
            f"{table.origin} has the column {column!r}, and {beside.annotations.name} lies beside it: labels "
            "should be in one of them."
        )
    ontology = read_obo(obo)
    if beside.annotations is None:
        names, notes = _of_column(table, column or "labels", ontology)
        return _of_terms(names, [column or "labels"], notes, ontology)
    annotations = read_annotations(beside.annotations, ontology, evidence)
    names, notes = _joined(table, annotations, beside.annotations)
    rows = np.flatnonzero([bool(of_row) for of_row in names])
    return _of_terms(names, [], [*annotations.notes, *notes], ontology, rows)


def _of_column(table: TableFile, column: str, ontology: Ontology) -> tuple[list[Sequence[str]], list[str]]:
    known = ontology.hierarchy.index.keys() | ontology.instead.keys()
    names, notes = label_names(table, column, known)
    terms: dict[str, tuple[str, ...]] = {}
    for row, of_row in enumerate(names):
        for name in of_row:
            if name not in terms:
                try:
                    terms[name] = ontology.resolve(name)
                except ValueError as error:
                    raise ValueError(f"{table.where(row)}: {error}.") from error
    return [[term for name in of_row for term in terms[name]] for of_row in names], notes


def _joined(table: TableFile, annotations: Annotations, file: Path) -> tuple[list[Sequence[str]], list[str]]:
    """The terms of each row, none where it has no annotations, and notes."""
    column = table.find("id")
    if column is None:
        raise ValueError(
            f"{table.origin} should have a column 'id', by which {file.name} is joined. Found none."
        )
    ids = [name.strip() for name in as_texts(table.column(column))]
    names: list[Sequence[str]] = []
    by_alias: list[str] = []
    for row, name in enumerate(ids):
        targets = [name] if name in annotations.terms else list(annotations.aliases.get(name, ()))
        if len(targets) > 1:
            raise ValueError(
                f"{table.where(row)}: an id should be of one object of {file.name}. {shown(name)} is "
                f"a symbol or synonym of {listed(targets, 5)}."
            )
        by_alias += [name] if targets and targets != [name] else []
        names.append(annotations.terms[targets[0]] if targets else ())
    without = [name for name, terms in zip(ids, names, strict=True) if not terms]
    if len(without) == len(ids):
        of_file = listed(annotations.terms, 3)
        raise ValueError(f"{file} should be of ids of {table.origin}, {listed(ids, 3)}. Found {of_file}.")
    notes = [f"rows left out, without annotations: {some(without)}"] if without else []
    if by_alias:
        notes.append(f"joined by symbol or synonym: {some(by_alias)}")
    return names, notes


def _of_terms(
    names: list[Sequence[str]],
    columns: list[str],
    notes: list[str],
    ontology: Ontology,
    rows: np.ndarray | None = None,
) -> RowLabels:
    """Labels over the terms that are used."""
    whole = ontology.hierarchy
    used = np.zeros((1, len(whole)), dtype=bool)
    used[0, [whole.index[name] for of_row in names for name in of_row]] = True
    kept = np.flatnonzero(whole.add_ancestors(used)[0]).tolist()
    if not kept:
        raise ValueError(f"{ontology.file} should have terms that rows have. Found no label.")
    terms = {whole.names[node]: None for node in kept}
    pairs = [(whole.names[parent], whole.names[child]) for parent, child in whole.edges.tolist()]
    hierarchy = Hierarchy.from_edges([pair for pair in pairs if pair[1] in terms], nodes=terms)
    roots = [hierarchy.names[root] for root in hierarchy.roots.tolist() if hierarchy.children(root)]
    notes = [f"classes: {len(hierarchy)} of the {len(whole)} terms of {ontology.file}", *notes]
    if roots:
        notes.append(f"metrics do not count the roots {listed(roots, 3)}")
    return RowLabels(hierarchy, ids_of(names, hierarchy), columns, notes, rows, roots)
