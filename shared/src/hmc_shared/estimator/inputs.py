"""What the estimators take as ``X`` and ``sample_weight``."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite

from hmc_shared.messages import shown


def is_images(X: Any) -> bool:
    """Whether ``X`` has more than two dimensions, as an array or a list of arrays."""
    if isinstance(X, list | tuple):
        return np.ndim(X[0]) > 1 if X else False
    return getattr(X, "ndim", 0) > 2


def read_images(X: Any) -> np.ndarray:
    """Images (n, height, width, 3), or (n, height, width) if grey, as (n, channels, height, width) uint8.

    Raises ValueError, in words of ``X``, for another shape and for what are no bytes.
    """
    try:
        array = np.asarray(X)
    except ValueError:
        raise ValueError("`X` should have images of one size. Found different ones.") from None
    images = array[..., None] if array.ndim == 3 else array
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape[1:]:
        raise ValueError(
            "`X` should be images, (n, height, width, 3), or (n, height, width) if grey. Found the shape "
            f"{array.shape}."
        )
    if images.dtype.kind not in "iu" or (images.size and not 0 <= images.min() <= images.max() <= 255):
        raise ValueError(
            f"`X` should hold pixels as whole numbers from 0 to 255 (uint8). Found {array.dtype} values from "
            f"{array.min():g} to {array.max():g}."
        )
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2).astype(np.uint8))


def column_of_words(X: Any) -> tuple[str, Any] | None:
    """The first column of a DataFrame that cannot be read as numbers: its name, and its first such cell."""
    for place, name in enumerate(getattr(X, "columns", ())):
        column = X.iloc[:, place]
        for cell in column[column.notna()]:
            try:
                float(cell)
            except (TypeError, ValueError):
                return str(name), cell
    return None


def read_weights(sample_weight: Any, rows: int, *, least: int = 2) -> np.ndarray:
    """Weights (rows,) float64.

    Raises ValueError for another shape, no numbers, a negative one, and fewer than ``least`` above 0.
    """
    try:
        weights = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"`sample_weight` should hold numbers. Found {shown(sample_weight)}.") from None
    if weights.shape != (rows,):
        raise ValueError(f"`sample_weight` should have shape ({rows},). Found {weights.shape}.")
    assert_all_finite(weights, input_name="sample_weight")
    if (weights < 0).any():
        raise ValueError(f"`sample_weight` should not be negative. Found {weights.min():g}.")
    if (weights > 0).sum() < least:
        but = ", or for all but one" if least > 1 else ""
        raise ValueError(f"`sample_weight` should not be zero for all rows{but}.")
    return weights
