"""`labels:PATH` of a table: a row for each image, its path and its labels, as ChestX-ray14 and CheXpert."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.formats.beside import EDGES, LABELS, Beside, RowLabels
from hmc_shared.data.formats.cells import as_numbers, is_number, is_text, why_no_number
from hmc_shared.data.formats.split_tables import name_of, open_tables
from hmc_shared.data.formats.table import beside_table, read_edges, read_labels, rows_of_splits
from hmc_shared.data.formats.table_file import TableFile
from hmc_shared.data.image_dataset import image_dataset
from hmc_shared.data.image_table import SUFFIXES as IMAGE_SUFFIXES
from hmc_shared.data.image_table import is_hidden
from hmc_shared.data.storage.sources import path_below, sha256
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import listed, shown, some
from hmc_shared.unsure import Blank, Uncertain

READER_VERSION = 1
IMAGES = (
    *("path", "image", "file", "filename", "file_name", "filepath", "file_path", "image_path", "img_path"),
    *("image index", "image_index", "image_name", "image_file", "image_id"),
)
"""Names of the column of images, in any case of letters; the first that is there counts."""


def load_image_rows(
    files: Sequence[Path], levels: str | Sequence[str] | None, uncertain: Uncertain, blank: Blank
) -> HierarchicalDataset:
    """A data set of the images that a table names, or several in one folder, one for each split.

    * The images: a column of one of the names IMAGES, paths below the table's folder. One that is not there
      is looked for in all folders below by the end of its path, with or without the suffix of an image.
    * The labels: a column of names, ``levels``, and what lies beside the table, as ``table:PATH`` reads them;
      or, without such a column, one of 0 and 1 for each class, see :func:`indicator_labels`.
    * ``split``: as in ``table:PATH``.

    Raises ValueError, naming file and line, as that reader does; for an image that is not there, that could
    be one of several files, lies outside the folder or is given twice; for cells that say nothing of a
    class, unless ``uncertain`` and ``blank`` do; and for these two where labels are names.
    """
    folder = files[0].parent
    table, beside = open_tables(files), beside_table(folder, levels, ())
    column = table.find(*IMAGES)
    if column is None:
        names = listed(IMAGES, len(IMAGES))
        raise ValueError(
            f"{table.origin} should have a column with the paths of the images, named {names}. Found "
            f"{listed(table.columns)}."
        )
    split = table.find("split")
    if levels is None and table.find(*LABELS) is None and beside.obo is None and beside.taxonomy is None:
        taken = {column, split}
        of_rows = indicator_labels(
            table, [name for name in table.columns if name not in taken], beside, uncertain, blank
        )
    else:
        of_rows = read_labels(table, beside, levels)
        _refuse_unsure(table, of_rows.columns, uncertain, blank)
    parts, notes = rows_of_splits(table, of_rows)
    images = image_paths(table, column, folder)
    return image_dataset(
        name_of(files, "labels"),
        folder,
        {part: {images[row]: of_rows.labels[row] for row in rows} for part, rows in parts.items()},
        of_rows.hierarchy,
        unknown=None if of_rows.unknown is None else dict(zip(images, of_rows.unknown, strict=True)),
        reader=f"image rows {READER_VERSION}",
        sources={source.name: sha256(source) for source in (*files, *beside.files)},
        notes=[*of_rows.notes, *notes],
    )


def _refuse_unsure(table: TableFile, columns: Sequence[str], uncertain: Uncertain, blank: Blank) -> None:
    """Raise ValueError for an option that would change nothing, because the labels are names in columns."""
    for option, value in (("uncertain", uncertain), ("blank", blank)):
        if value != "refuse":
            found = f"names of classes in {listed(columns)} of {table.origin}"
            raise ValueError(f"`--{option}` is for columns of 0 and 1. Found {found}.")


def indicator_labels(
    table: TableFile, columns: Sequence[str], beside: Beside, uncertain: Uncertain, blank: Blank
) -> RowLabels:
    """Labels of rows from a column of 0 and 1 for each class.

    With ``edges.csv`` they are the columns that are named as its classes; else those of ``columns`` that hold
    0 or 1 mostly, as most cells that are not empty, and the classes have no parents. In them 1 is a label, 0
    none, -1 what ``uncertain`` says, and an empty cell or a word such as NA what ``blank`` says.

    Raises ValueError, naming line and column, for any other cell, and for these two where they are refused.
    """
    hierarchy = None if beside.edges is None else read_edges(beside.edges)
    if hierarchy is not None:
        classes = [name for name in columns if name in hierarchy.index]
    else:
        classes = [name for name in columns if _is_indicator(table, name)]
    if not classes:
        of = "a column of 0 and 1 for each class" + (f" of {EDGES}" if hierarchy is not None else "")
        raise ValueError(f"{table.origin} should have a column 'labels', or {of}. Found {listed(columns)}.")
    hierarchy = hierarchy or Hierarchy.from_edges([], nodes=classes)
    labels, unknown = ([list[int]() for _ in range(len(table))] for _ in range(2))
    unsure = empty = 0
    for name in classes:
        values = indicators(table, name, uncertain, blank)
        is_unsure, is_empty = values == -1, np.isnan(values)
        unsure, empty = unsure + int(is_unsure.sum()), empty + int(is_empty.sum())
        is_positive = (values == 1) | (is_unsure & (uncertain == "positive"))
        is_unknown = (is_unsure & (uncertain == "unknown")) | (is_empty & (blank == "unknown"))
        for rows, of_rows in ((is_positive, labels), (is_unknown, unknown)):
            for row in np.flatnonzero(rows).tolist():
                of_rows[row].append(hierarchy.index[name])
    others = [name for name in columns if name not in classes]
    notes = [f"columns that are no classes: {some(others)}"] if others else []
    notes += [f"{unsure} cells of -1 were taken as {uncertain}"] if unsure else []
    notes += [f"{empty} empty cells were taken as {blank}"] if empty else []
    return RowLabels(hierarchy, labels, classes, notes, unknown=unknown if any(unknown) else None)


def _is_indicator(table: TableFile, name: str) -> bool:
    """Whether most cells of a column that are not empty are 0, 1 or -1."""
    kind = table.columns[name].type
    if not (is_text(kind) or is_number(kind)):
        return False
    values = as_numbers(table.columns[name]).values
    given = ~np.isnan(values)
    return bool(given.any()) and np.isin(values[given], (0, 1, -1)).mean() > 0.5


def indicators(table: TableFile, name: str, uncertain: Uncertain, blank: Blank) -> np.ndarray:
    """(n,) float64 of 0, 1, -1 and NaN, an empty cell. Raises ValueError as :func:`indicator_labels` does."""
    numbers = as_numbers(table.column(name))
    values = numbers.values
    if numbers.wrong is not None:
        cell = table.column(name)[numbers.wrong].as_py()
        raise ValueError(
            f"{table.where(numbers.wrong)}: {why_no_number(cell)}. The column {name!r} should hold 0 and 1."
        )
    is_blank = np.isnan(values)
    for is_wrong, what in (
        (~is_blank & ~np.isin(values, (0, 1, -1)), ""),
        ((values == -1) & (uncertain == "refuse"), "`--uncertain`, unknown, positive or negative,"),
        (is_blank & (blank == "refuse"), "`--blank`, unknown or negative,"),
    ):
        if is_wrong.any():
            row = int(is_wrong.argmax())
            cell = "an empty cell" if is_blank[row] else f"{values[row]:g}"
            way = f": {what} says what that is" if what else ". Take it out if it is no class"
            raise ValueError(
                f"{table.where(row)}: the column {name!r} should hold 0 and 1. Found {cell}{way}."
            )
    return values


def image_paths(table: TableFile, column: str, folder: Path) -> list[str]:
    """The path of each row's image, below the folder of the table. Raises ValueError, naming the line."""
    files, origin = _Files(folder), folder / "table"  # whose name no message has
    row_of: dict[str, int] = {}
    for row, cell in enumerate(table.texts(column)):
        try:
            if not cell.strip():
                raise ValueError(f"the column {column!r} should name an image. Found an empty cell")
            image = files.find(path_below(cell.strip(), origin))
        except ValueError as error:
            text = str(error).removeprefix(f"{origin}: ").rstrip(".")
            raise ValueError(f"{table.where(row)}: {text}.") from error
        if image in row_of:
            first = table.place(row_of[image])
            raise ValueError(f"{table.where(row)}: the image {shown(image)} stands in {first}, too.")
        row_of[image] = row
    return list(row_of)


class _Files:
    """The images below a folder, by the ends of their paths."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, name: str) -> str:
        """The path of a file from here, as ``name`` or with that as its end. Raises ValueError."""
        if os.path.isfile(self.root / name):  # pathlib raises for a name that is too long
            return name
        path = PurePosixPath(name)
        if path.parts[0] == self.root.name and len(path.parts) > 1:  # from the folder above, as in CheXpert
            name = path.relative_to(self.root.name).as_posix()
            if os.path.isfile(self.root / name):
                return name
        ends = f"/{name}"
        found = [
            file
            for file in self.by_name.get(path.name, ())
            if f"/{file}".endswith(ends) or f"/{PurePosixPath(file).with_suffix('')}".endswith(ends)
        ]
        if len(found) > 1:
            raise ValueError(f"the image {shown(name)} could be any of {listed(found, 3)}")
        if not found:
            raise ValueError(f"there is no image {shown(name)} in {self.root}, or below it")
        return found[0]

    @cached_property
    def by_name(self) -> dict[str, list[str]]:
        """Names of files, with suffix and without, to their paths from the folder."""
        named: dict[str, list[str]] = {}
        for place, folders, files in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            below = PurePosixPath(Path(place).relative_to(self.root).as_posix())
            for name in sorted(files):
                if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES:
                    for key in (name, PurePosixPath(name).stem):
                        named.setdefault(key, []).append((below / name).as_posix())
        return named
