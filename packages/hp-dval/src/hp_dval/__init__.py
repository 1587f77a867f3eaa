"""HP-DVAL: dual-view alignment learning with hierarchical prompts, for long-tailed multi-label images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hmc_shared.cli.lazy import lazy_attribute
from hmc_shared.cli.version import distribution_version

if TYPE_CHECKING:
    from hp_dval.build import load_model
    from hp_dval.classifier import HPDVALClassifier
    from hp_dval.model import HPDVAL

__all__ = ["HPDVAL", "HPDVALClassifier", "__version__", "load_model"]
__version__ = distribution_version("hp-dval")

_MODULE_OF = {"HPDVAL": "model", "HPDVALClassifier": "classifier", "load_model": "build"}


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import: `hp-dval --help` must not pay for it.
    return lazy_attribute(__name__, name, _MODULE_OF)
