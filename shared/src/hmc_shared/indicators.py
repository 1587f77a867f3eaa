"""Label sets as matrices of 0 and 1: the one check of all that take such, or ids of classes instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hmc_shared.messages import shown


def as_indicators(values: Any, names: Sequence[str], what: str = "targets") -> Tensor:
    """Label sets (n, C) as a bool tensor on the device they are on: bool, or numbers that are 0 or 1.

    Args:
        values: a numpy array or a tensor.
        names: of the C classes.
        what: the name of ``values`` in messages.

    Raises ValueError for another shape and, naming row (from 0), class and value, for any other value.
    """
    tensor = values if isinstance(values, Tensor) else _as_tensor(values, names, what)
    if tensor.ndim != 2 or tensor.shape[1] != len(names):
        raise ValueError(f"`{what}` should have shape (n, {len(names)}). Found {tuple(tensor.shape)}.")
    if tensor.dtype == torch.bool:
        return tensor
    present = tensor == 1
    if not bool((present | (tensor == 0)).all()):  # NaN equals neither
        row, column = map(int, (~(present | (tensor == 0))).nonzero()[0])
        _refuse(tensor[row, column].item(), row, names[column], what)
    return present


def refuse_vectors(lists: Iterable[Sequence[object] | None], where: str) -> None:
    """Raise ValueError where lists of numbers are vectors over all classes, and not ids of classes.

    Vectors are all as long. So they are vectors if a number stands twice in one of them, or if there are
    several of 0 and 1 alone: as ids these would say the same of all samples. Lists of other lengths hold ids;
    one that stands there twice counts once.
    """
    given = [cell for cell in lists if cell]
    if len({*map(len, given)}) != 1 or len(given[0]) < 2:
        return
    if not all(type(number) is int for cell in given for number in cell):
        return
    is_binary = all(number in (0, 1) for cell in given for number in cell)
    vector = next((cell for cell in given if len({*cell}) < len(cell)), None)
    if is_binary and len(given) > 1:
        vector = vector or given[0]
    if vector:
        kind = "0 and 1" if is_binary else "numbers"
        raise ValueError(
            f"{where} should hold ids or names of classes. Found a vector of {kind}, {shown(vector)}."
        )


def _as_tensor(values: Any, names: Sequence[str], what: str) -> Tensor:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" and array.ndim == 2 and array.shape[1] == len(names):
        cells = array.astype(object)
        for row in range(len(cells)):
            for cell, name in zip(cells[row], names, strict=True):
                if not isinstance(cell, int | float | np.number | np.bool) or cell not in (0, 1):
                    _refuse(cell, row, name, what)
        array = cells.astype(bool)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"`{what}` should have shape (n, {len(names)}). Found {array.shape}.")
    if array.dtype.kind != "b":
        present = array == 1
        wrong = ~present & (array != 0)
        if array.ndim == 2 and array.shape[1] == len(names) and wrong.any():
            at = np.argwhere(wrong)[0]
            row, column = int(at[0]), int(at[1])
            _refuse(array[row, column].item(), row, names[column], what)
        array = present
    # A copy: torch cannot share read-only arrays or negative strides.
    return torch.from_numpy(np.array(array, order="C"))


def _refuse(value: object, row: int, name: str, what: str) -> None:
    raise ValueError(
        f"`{what}` should hold 0 and 1. Found {shown(value)} in row {row}, column {shown(name)}."
    )
