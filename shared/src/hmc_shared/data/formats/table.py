"""`table:PATH`: a .csv or .parquet file with features and labels, and an edge list or columns of levels."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.formats.level_columns import level_labels, split_levels, split_rows
from hmc_shared.data.formats.table_file import SUFFIXES, TableFile, open_table
from hmc_shared.data.preprocessing import Protocol
from hmc_shared.data.storage.raw import RawPart, RawSet
from hmc_shared.data.vector_dataset import vector_dataset
from hmc_shared.hierarchy import Hierarchy

EDGES = "edges.csv"
VALIDATION_SHARE = 0.2


def load(path: str, protocol: Protocol, levels: str | Sequence[str] | None = None) -> HierarchicalDataset:
    """Read a table: a row for each sample, a column for each feature, and these columns by their names.

    * ``labels``: names of classes separated by "|" or ";", with ancestors or without. The file ``edges.csv``
      beside the table, with the columns parent and child, joins them; a line without a parent names a root.
      Without that file the classes are the labels, and have no parents.
    * With ``levels``, instead of these: columns of labels, coarse to fine, which spell out a tree.
    * ``split``, optional: train, val or test. Missing splits are sampled by iterative stratification: 20 % of
      the training rows for validation, or 60, 20 and 20 % of all.
    * ``id``, optional: names of the rows.

    All other columns are features: numbers, where an empty cell or "?" is a missing value.

    ``path`` is the file, or a folder that holds one such file. Raises ValueError, naming file and line.
    """
    file = find_table(Path(path).expanduser())
    table = open_table(file)
    sources = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}
    if levels is None:
        label_columns, notes = ["labels"], []
        hierarchy = read_edges(file.with_name(EDGES)) if file.with_name(EDGES).is_file() else None
        if hierarchy:
            sources[EDGES] = hashlib.sha256(file.with_name(EDGES).read_bytes()).hexdigest()
        hierarchy, labels = read_labels(table, hierarchy)
    else:
        label_columns = split_levels(levels)
        hierarchy, labels, notes = level_labels(
            {name: [cell.strip() for cell in table.texts(name)] for name in label_columns}, str(file)
        )
    features = [name for name in table.columns if name not in {"id", "split", *label_columns}]
    if not features:
        raise ValueError(f"{file} should have columns of features. Found {', '.join(table.columns)}.")
    numbers = np.stack([table.numbers(name) for name in features], axis=1)
    if np.isinf(numbers).any():
        row = int(np.isinf(numbers).any(1).argmax())
        raise ValueError(f"{table.where(row)}: features should be finite. Found inf.")
    ids = table.texts("id") if "id" in table.columns else list(map(str, range(len(table))))
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise ValueError(f"{file} should name each row once in the column 'id'. Found {twice!r} again.")
    rows = {"all": list(range(len(table)))}
    if "split" in table.columns:
        rows, more = split_rows([cell.strip() for cell in table.texts("split")], str(file))
        notes += more
    raw = RawSet(
        hierarchy,
        {part: RawPart(numbers[at], [labels[row] for row in at]) for part, at in rows.items()},
    )
    return vector_dataset(
        file.parent.name if file.stem == "table" else file.stem,
        raw,
        sources,
        protocol,
        validation_share=VALIDATION_SHARE,
        origin="rows",
        ids={part: [ids[row] for row in at] for part, at in rows.items()},
        feature_names=features,
        notes=notes,
    )


def find_table(path: Path) -> Path:
    """The file itself, or the one table in a folder. Raises ValueError if there is none, or several."""
    if path.is_dir():
        inside = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.name != EDGES)
        if len(inside) != 1:
            names = ", ".join(file.name for file in inside) or "none"
            raise ValueError(f"{path} should hold one table beside {EDGES}, .csv or .parquet. Found {names}.")
        return inside[0].resolve()
    if path.suffix not in SUFFIXES or not path.is_file():
        raise ValueError(
            f"table:PATH should name a .csv or .parquet file, or its folder. Found none at {path}."
        )
    return path.resolve()


def read_edges(file: Path) -> Hierarchy:
    """The classes of an edge list with the columns parent and child. Raises ValueError, naming the file."""
    table = open_table(file)
    pairs = list(zip(table.texts("parent"), table.texts("child"), strict=True))
    pairs = [(parent.strip(), child.strip()) for parent, child in pairs]
    nodes = dict.fromkeys(name for pair in pairs for name in pair if name)
    try:
        return Hierarchy.from_edges([pair for pair in pairs if pair[0]], nodes=nodes)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def read_labels(table: TableFile, hierarchy: Hierarchy | None) -> tuple[Hierarchy, list[list[int]]]:
    """Classes, and the ids of each row's labels. Raises ValueError for a label that is not a class."""
    cells = [[name.strip() for name in re.split(r"[|;]", cell)] for cell in table.texts("labels")]
    cells = [[name for name in names if name] for names in cells]
    if hierarchy is None:
        used = sorted({name for names in cells for name in names})
        if not used:
            raise ValueError(f"{table.path} should have labels in the column 'labels'. Found none.")
        hierarchy = Hierarchy.from_edges([], nodes=used)
    for row, names in enumerate(cells):
        for name in names:
            if name not in hierarchy.index:
                raise ValueError(f"{table.where(row)}: {name!r} is not a class of {EDGES}.")
    return hierarchy, [[hierarchy.index[name] for name in names] for names in cells]
