"""HCAL: hierarchical classification of images with prototypes, aggregation and adaptive level weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hmc_shared.cli.lazy import lazy_attribute
from hmc_shared.cli.version import distribution_version

if TYPE_CHECKING:
    from hcal.build import load_model
    from hcal.classifier import HCALClassifier
    from hcal.model import HCAL

__all__ = ["HCAL", "HCALClassifier", "__version__", "load_model"]
__version__ = distribution_version("hcal")

_MODULE_OF = {"HCAL": "model", "HCALClassifier": "classifier", "load_model": "build"}


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import: `hcal --help` must not pay for it.
    return lazy_attribute(__name__, name, _MODULE_OF)
