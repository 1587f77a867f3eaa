"""What the estimators take as ``y``, and how their answers are given back: as ``y`` was.

Three spellings: :class:`Indicators`, 0 and 1 for each class; :class:`Levels`, a label for each level;
:class:`Labels`, one label a row. :func:`read_targets` tells them apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets

from hmc_shared.data.formats.level_columns import tree_of
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.indicators import as_indicators
from hmc_shared.messages import shown


@dataclass(frozen=True, eq=False)
class Spelling:
    """How ``y`` spells the classes of a hierarchy."""

    hierarchy: Hierarchy
    classes: np.ndarray
    """(C,) what the estimator gives as ``classes_``."""

    def answer(self, labels: np.ndarray) -> Any:
        """Predicted classes (n, C) bool, ancestors included, as ``y`` was given."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Indicators(Spelling):
    """(n, C) of 0 and 1."""

    is_sparse: bool = False

    def targets(self, y: Any) -> np.ndarray:
        """(n, C) bool, ancestors included; the columns of a DataFrame in the order of the classes."""
        names = list(self.hierarchy.names)
        columns = column_names(y)
        if columns and columns != names:
            if sorted(columns) != sorted(names):
                unknown = next((name for name in columns if name not in names), columns[-1])
                raise ValueError(
                    f"`y` should have the classes as columns, each once. Found {shown(unknown)} among them."
                )
            y = y[names]
        return self.hierarchy.add_ancestors(indicators(y, names))

    def answer(self, labels: np.ndarray) -> Any:
        numbers = labels.astype(int)
        return csr_array(numbers) if self.is_sparse else numbers


@dataclass(frozen=True, eq=False)
class Labels(Spelling):
    """(n,) of labels, or one column of them: each row has one."""

    is_column: bool = False

    def answer(self, labels: np.ndarray) -> np.ndarray:
        deepest = np.where(labels, self.hierarchy.depth.numpy() + 1, 0).argmax(1)
        answers = self.classes[deepest]
        return answers[:, None] if self.is_column else answers


@dataclass(frozen=True, eq=False)
class Levels(Spelling):
    """(n, levels) of labels, coarse to fine: the tree is the one that they spell out."""

    labels: list[Any] = field(default_factory=list[Any])
    """Of the C classes, as they were given."""
    gap: str | None = None
    """What stands below the end of a path."""

    def answer(self, labels: np.ndarray) -> np.ndarray:
        """(n, levels) labels: of each level the class that is predicted.

        Integers where all labels are and no path ends early, text where they are text and gaps "", else any.
        """
        values = np.array([*self.labels, None], dtype=object)[:-1]
        paths = np.full((len(labels), self.hierarchy.num_levels), self.gap, dtype=object)
        for depth, level in enumerate(self.hierarchy.levels):
            of_level = labels[:, level.start : level.stop]
            is_there = of_level.any(1)
            paths[is_there, depth] = values[level.start + of_level[is_there].argmax(1)]
        kinds = {type(label) for label in self.labels}
        if kinds == {int} and self.gap not in paths:
            return paths.astype(int)
        return paths.astype(str) if kinds == {str} and self.gap == "" else paths


def read_targets(y: Any, hierarchy: Hierarchy | None) -> tuple[Spelling, np.ndarray]:
    """How ``y`` is spelled, and its targets (n, C) bool, ancestors included.

    One dimension, or one column without gaps: labels; with a hierarchy names of its classes. Two dimensions:
    with a hierarchy, or where several columns hold 0 and 1 alone, or sparse: indicators; else labels of
    levels. Raises ValueError, in words of ``y``, for anything else.
    """
    if y is None:
        raise ValueError("This estimator requires y to be passed, but the target y is None.")
    y = y if hasattr(y, "toarray") or hasattr(y, "__iter__") else np.asarray(y)
    if isinstance(y, str | bytes | Mapping | Set) or not hasattr(y, "__len__") or not getattr(y, "ndim", 1):
        raise ValueError(
            f"`y` should be an array, a list or a table, with the rows of `X`. Found {shown(y)}."
        )
    if has_one_dimension(y):
        return _labels(y, hierarchy)
    if hierarchy is not None or hasattr(y, "toarray") or _is_binary(y):
        spelling = _indicators(y, hierarchy)
        return spelling, spelling.targets(y)
    paths = level_paths(y)
    if all(len(path) == 1 for path in paths) and len(next(iter(_rows(y)))) == 1:
        return _labels(np.array([label for (label,) in paths]), None, is_column=True)
    return level_labels(y)


def indicators(y: Any, names: Sequence[str] | None = None) -> np.ndarray:
    """``y`` as (n, C) bool: an array, a list, a DataFrame or a sparse matrix of 0 and 1.

    ``names`` are those of the C classes; None: as many classes as columns. Raises ValueError, in words of
    ``y``, for another shape, rows of different length, and any other value, such as -1, NaN or a name.
    """
    if hasattr(y, "toarray"):  # sparse
        y = y.toarray()
    try:
        array = np.asarray(y)
    except ValueError:
        raise ValueError("`y` should have rows of one length. Found different ones.") from None
    if array.ndim != 2:
        hint = ". A single label as a column: np.reshape(y, (-1, 1))" if array.ndim == 1 else ""
        raise ValueError(
            f"`y` should be a 2D array, (n, classes) of 0 and 1. Found the shape {array.shape}{hint}."
        )
    return as_indicators(array, names or list(map(str, range(array.shape[1]))), "y").numpy()


def has_one_dimension(y: Any) -> bool:
    """Whether ``y`` has a label for each row, not a list of them."""
    if hasattr(y, "toarray"):
        return False
    first = next(iter(_rows(y)), None)
    return isinstance(first, str) or not hasattr(first, "__iter__")


def column_names(table: Any) -> list[str]:
    """The names of a DataFrame's columns, if all are text."""
    names: list[Any] = list(getattr(table, "columns", ()))
    return [str(name) for name in names] if all(isinstance(name, str) for name in names) else []


def _rows(y: Any) -> Any:
    return y.to_numpy() if hasattr(y, "to_numpy") else y  # of pandas


def _is_binary(y: Any) -> bool:
    """Whether several columns hold 0 and 1 alone."""
    try:
        array = np.asarray(_rows(y))
    except ValueError:  # rows of different length
        return False
    if array.ndim != 2 or array.shape[1] < 2:
        return False
    if array.dtype == object:
        kinds = (int, float, bool, np.number, np.bool)
        return all(isinstance(cell, kinds) and cell in (0, 1) for cell in array.flat)
    return array.dtype.kind in "biuf" and bool(np.isin(array, (0, 1)).all())


def _indicators(y: Any, hierarchy: Hierarchy | None) -> Indicators:
    is_sparse = hasattr(y, "toarray")
    if hierarchy is not None:
        return Indicators(hierarchy, np.asarray(hierarchy.names), is_sparse)
    names = column_names(y)
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"`y` should have each class as one column. Found {shown(twice[0])} again.")
    # Numbers for columns without names: before 1.9, scorers of scikit-learn look for the label 1 among them.
    classes = np.asarray(names or range(np.shape(y)[1]))
    return Indicators(Hierarchy.from_edges([], nodes=map(str, classes)), classes, is_sparse)


def _labels(y: Any, hierarchy: Hierarchy | None, *, is_column: bool = False) -> tuple[Labels, np.ndarray]:
    if hierarchy is None:
        labels = _one_a_row(_rows(y))
        if labels.dtype.kind == "f":
            assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
        classes, places = np.unique(labels, return_inverse=True)
        hierarchy = Hierarchy.from_edges([], nodes=map(str, classes))
        return Labels(hierarchy, classes, is_column), np.eye(len(classes), dtype=bool)[places]
    labels = list(_rows(y))
    targets = np.zeros((len(labels), len(hierarchy)), dtype=bool)
    for row, label in enumerate(labels):
        if not isinstance(label, str) or label not in hierarchy.index:
            raise ValueError(
                f"`y` should hold names of classes of the hierarchy. Found {shown(label)} in row {row}."
            )
        targets[row, hierarchy.index[label]] = True
    return Labels(hierarchy, np.asarray(hierarchy.names)), hierarchy.add_ancestors(targets)


def _one_a_row(labels: Any) -> np.ndarray:
    """(n,) labels. Raises ValueError, naming the row, for what is missing, a list, or text among others.

    numpy alone would make a class 'nan' of a NaN in a list, and one class of 1 and '1'.
    """
    if isinstance(labels, np.ndarray) and labels.dtype.kind not in "OU":
        return labels
    cells = list(labels)
    for row, cell in enumerate(cells):
        if _is_missing(cell):
            raise ValueError(
                f"`y` should have a label in each row. Found {shown(cell)} in row {row}: leave such rows "
                "out, or name them."
            )
        if not isinstance(cell, str | bytes) and hasattr(cell, "__iter__"):
            raise ValueError(
                f"`y` should have one label in each row, or a list of them in each. Found {shown(cell)} in "
                f"row {row}."
            )
        if isinstance(cell, str) != isinstance(cells[0], str):
            raise ValueError(
                f"`y` should hold texts alone, or numbers alone. Found {shown(cells[0])}, and {shown(cell)} "
                f"in row {row}."
            )
    return labels if isinstance(labels, np.ndarray) else np.asarray(labels)


def level_labels(y: Any) -> tuple[Levels, np.ndarray]:
    """Read a level matrix, coarse to fine: lists, an array or a DataFrame of texts or integers.

    A row may be shorter, or end with None, NaN, pandas' NA or "". A whole number that is stored as a float,
    because of gaps, is the integer. Where a label stands below two parents, names of classes are paths,
    joined by "/"; the labels stay as they are. Returns the spelling and targets (n, C) bool. Raises
    ValueError, in words of ``y``, naming the row, for a single dimension, a gap in a path, a label that is
    neither text nor integer, and for no label.
    """
    paths = level_paths(y)
    if not any(paths):
        raise ValueError("`y` should hold labels. Found none.")
    texts = [[str(label) for label in path] for path in paths]
    depth = max(map(len, texts))
    matrix = [[*path, *[""] * (depth - len(path))] for path in texts]
    hierarchy, qualified = tree_of(matrix, lambda row: f"`y`, row {row}")
    labels: list[Any] = [None] * len(hierarchy)
    targets = np.zeros((len(paths), len(hierarchy)), dtype=bool)
    for row, (path, names) in enumerate(zip(paths, texts, strict=True)):
        for end, label in enumerate(path, 1):
            node = hierarchy.index["/".join(names[:end]) if qualified else names[end - 1]]
            if type(labels[node]) not in (type(None), type(label)):
                raise ValueError(
                    f"`y` should have one label for a class. Found {labels[node]!r}, and {label!r} in "
                    f"row {row}."
                )
            labels[node], targets[row, node] = label, True
    is_text = getattr(getattr(y, "dtype", None), "kind", "") == "U"
    has_text_gaps = is_text or any(isinstance(cell, str) and not cell for row in _rows(y) for cell in row)
    gap = "" if has_text_gaps else None
    return Levels(hierarchy, np.asarray(hierarchy.names), labels, gap), targets


def level_paths(y: Any) -> list[tuple[Any, ...]]:
    """The labels of each row of a level matrix. Raises ValueError as :func:`level_labels` does."""
    if hasattr(y, "toarray"):
        raise ValueError("`y` should be a level matrix of labels, as no `hierarchy` is given. Found sparse.")
    rows = y.to_numpy(dtype=object) if hasattr(y, "to_numpy") else y  # of pandas
    paths: list[tuple[Any, ...]] = []
    for number, row in enumerate(rows):
        if isinstance(row, str | Mapping | Set) or not hasattr(row, "__iter__"):
            hint = (
                "a set has no order"
                if isinstance(row, Set)
                else "a single level is a column, np.reshape(y, (-1, 1))"
            )
            raise ValueError(
                f"`y` should have shape (n, levels), labels from coarse to fine. Found {shown(row)} in row "
                f"{number}: {hint}."
            )
        paths.append(_path(number, row))
    return paths


def _path(number: int, row: Any) -> tuple[Any, ...]:
    """The labels of a row, without what is missing at its end."""
    labels = [_label(number, cell) for cell in row]
    while labels and labels[-1] is None:
        labels.pop()
    if None in labels:
        raise ValueError(f"`y` should have no gap in a path. Found {shown(labels, 200)} in row {number}.")
    return tuple(labels)


def _label(number: int, cell: Any) -> Any:
    """A label as a Python value; None for a missing one."""
    cell = cell.item() if isinstance(cell, np.generic) else cell
    if _is_missing(cell):
        return None
    if isinstance(cell, float):
        cell = int(cell) if cell.is_integer() else cell
    if not isinstance(cell, str | int):
        raise ValueError(f"`y` should hold labels, texts or integers. Found {shown(cell)} in row {number}.")
    return cell


def _is_missing(cell: Any) -> bool:
    """Whether a cell is None, NaN, pandas' NA or ""."""
    if isinstance(cell, float):
        return math.isnan(cell)
    return (
        cell is None or type(cell).__name__ in ("NAType", "NaTType") or (isinstance(cell, str) and not cell)
    )
