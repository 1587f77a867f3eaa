"""HCAL: hierarchical classification of images with prototypes, aggregation and adaptive level weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hmc_shared.cli.lazy import lazy_attribute
from hmc_shared.cli.version import distribution_version

if TYPE_CHECKING:
    from hcal.build import load_model
    from hcal.model import HCAL

__all__ = ["HCAL", "__version__", "load_model"]
__version__ = distribution_version("hcal")


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import: `hcal --help` must not pay for it.
    return lazy_attribute(__name__, name, {"HCAL": "model", "load_model": "build"})
