"""What estimators for scikit-learn are given: targets as users have them, and options of a trainer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np

from hmc_shared.data.formats.level_columns import tree_of
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.indicators import as_indicators
from hmc_shared.messages import listed, shown

Config = TypeVar("Config")


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


@dataclass(frozen=True, eq=False)
class LevelLabels:
    """A level matrix (n, levels): the tree that it spells out, and the labels as they were given."""

    hierarchy: Hierarchy
    labels: list[Any]
    """Of the C classes."""
    targets: np.ndarray
    """(n, C) bool, ancestors included."""

    def paths(self, probabilities: np.ndarray) -> np.ndarray:
        """(n, levels) labels, None below the end: from the best root to the best child each time.

        The array is one of integers where all labels are, and all paths go down to the last level.
        """
        paths = np.full((len(probabilities), self.hierarchy.num_levels), None, dtype=object)
        for row, scores in enumerate(probabilities):
            candidates = self.hierarchy.roots.tolist()
            for level in range(self.hierarchy.num_levels):
                if not candidates:
                    break
                best = max(candidates, key=scores.__getitem__)
                paths[row, level] = self.labels[best]
                candidates = self.hierarchy.children(best)
        is_whole = all(type(label) is int for label in self.labels) and None not in paths
        return paths.astype(int) if is_whole else paths


def level_labels(y: Any) -> LevelLabels:
    """Read a level matrix, coarse to fine: lists, an array or a DataFrame of texts or integers.

    A row may be shorter, or end with None, NaN, pandas' NA or "". A whole number that is stored as a float,
    because of gaps, is the integer. Where a label stands below two parents, names of classes are paths,
    joined by "/"; the labels stay as they are. Raises ValueError, in words of ``y``, naming the row, for a
    single dimension, a gap in a path, a label that is neither text nor integer, and for no label.
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
    return LevelLabels(hierarchy, labels, targets)


def level_paths(y: Any) -> list[tuple[Any, ...]]:
    """The labels of each row of a level matrix. Raises ValueError as :func:`level_labels` does."""
    if hasattr(y, "toarray"):
        raise ValueError("`y` should be a level matrix of labels, as no `hierarchy` is given. Found sparse.")
    if y is None:
        raise ValueError("This estimator requires y to be passed, but the target y is None.")
    rows = y.to_numpy(dtype=object) if hasattr(y, "to_numpy") else y  # of pandas
    paths: list[tuple[Any, ...]] = []
    for number, row in enumerate(rows):
        if isinstance(row, str) or not hasattr(row, "__iter__"):
            raise ValueError(
                f"`y` should have shape (n, levels), labels from coarse to fine. Found {shown(row)} in row "
                f"{number}: a single level is a column, np.reshape(y, (-1, 1))."
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
    if cell is None or type(cell).__name__ in ("NAType", "NaTType") or (isinstance(cell, str) and not cell):
        return None
    if isinstance(cell, float):
        if math.isnan(cell):
            return None
        cell = int(cell) if cell.is_integer() else cell
    if not isinstance(cell, str | int):
        raise ValueError(f"`y` should hold labels, texts or integers. Found {shown(cell)} in row {number}.")
    return cell


def configured(config: Config, options: dict[str, Any]) -> Config:
    """The options of a trainer with others in their place. Raises ValueError for an unknown one."""
    known = [option.name for option in fields(config)]  # type: ignore[arg-type]
    if unknown := [name for name in options if name not in known]:
        raise ValueError(f"`options` should be some of {listed(known, 99)}. Found {unknown[0]!r}.")
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in options.items()}  # for YAML
    return replace(config, **plain)  # type: ignore[type-var]
