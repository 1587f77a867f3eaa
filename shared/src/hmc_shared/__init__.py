"""Hierarchy, constraints, data sets, metrics and run folders shared by the method packages."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hmc_shared.hierarchy import Hierarchy

__all__ = ["Hierarchy", "__version__"]

try:
    __version__ = version("hmc-shared")
except PackageNotFoundError:  # imported from a source tree that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import: `hmc --help` and option parsing must not pay for it.
    if name == "Hierarchy":
        from hmc_shared.hierarchy import Hierarchy

        return Hierarchy
    raise AttributeError(f"module 'hmc_shared' has no attribute {name!r}")
