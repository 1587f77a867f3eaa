"""What the estimators take as ``X`` and ``sample_weight``."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_array


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


def read_weights(sample_weight: Any, rows: int) -> np.ndarray:
    """Weights (rows,) float64. Raises ValueError for another shape, a negative one, and too many of 0."""
    kind: Any = np.float64
    weights = check_array(sample_weight, ensure_2d=False, dtype=kind, input_name="sample_weight")
    if weights.shape != (rows,):
        raise ValueError(f"`sample_weight` should have shape ({rows},). Found {weights.shape}.")
    if (weights < 0).any():
        raise ValueError(f"`sample_weight` should not be negative. Found {weights.min():g}.")
    if (weights > 0).sum() < 2:
        raise ValueError("`sample_weight` should not be zero for all rows, or for all but one.")
    return weights
