"""Label sets as matrices of 0 and 1: the one check of all that take such."""

from __future__ import annotations

from collections.abc import Sequence
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
