"""Hierarchy, constraints, data sets, metrics and run folders shared by the method packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hmc_shared.cli.lazy import lazy_attribute
from hmc_shared.cli.version import distribution_version

if TYPE_CHECKING:
    from hmc_shared.hierarchy import Hierarchy
    from hmc_shared.model import load_model

__all__ = ["Hierarchy", "__version__", "load_model"]
__version__ = distribution_version("hmc-shared")


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import: `hmc --help` and option parsing must not pay for it.
    return lazy_attribute(__name__, name, {"Hierarchy": "hierarchy", "load_model": "model"})
