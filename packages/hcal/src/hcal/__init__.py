"""HCAL: hierarchical classification of images with prototypes, aggregation and adaptive level weights."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hcal.model import HCAL

__all__ = ["HCAL", "__version__"]

try:
    __version__ = version("hcal")
except PackageNotFoundError:  # imported from a source tree that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import: `hcal --help` must not pay for it.
    if name == "HCAL":
        from hcal.model import HCAL

        return HCAL
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
