"""HP-DVAL: dual-view alignment learning with hierarchical prompts, for long-tailed multi-label images."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hp_dval.model import HPDVAL

__all__ = ["HPDVAL", "__version__"]

try:
    __version__ = version("hp-dval")
except PackageNotFoundError:  # imported from a source tree that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import: `hp-dval --help` must not pay for it.
    if name == "HPDVAL":
        from hp_dval.model import HPDVAL

        return HPDVAL
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
