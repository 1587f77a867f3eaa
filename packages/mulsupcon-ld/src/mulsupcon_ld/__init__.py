"""MulSupCon_LD: multi-label supervised contrastive learning with recovered label distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hmc_shared.cli.lazy import lazy_attribute
from hmc_shared.cli.version import distribution_version

if TYPE_CHECKING:
    from mulsupcon_ld.build import load_model
    from mulsupcon_ld.classifier import MulSupConClassifier
    from mulsupcon_ld.model import MulSupCon

__all__ = ["MulSupCon", "MulSupConClassifier", "__version__", "load_model"]
__version__ = distribution_version("mulsupcon-ld")

_MODULE_OF = {"MulSupCon": "model", "MulSupConClassifier": "classifier", "load_model": "build"}


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import: `mulsupcon-ld --help` must not pay for it.
    return lazy_attribute(__name__, name, _MODULE_OF)
