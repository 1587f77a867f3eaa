"""HLSTM: an LSTM over hierarchy levels with the hybrid of MCLoss and LHLoss, and its baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hmc_shared.cli.lazy import lazy_attribute
from hmc_shared.cli.version import distribution_version

if TYPE_CHECKING:
    from hlstm.build import load_model
    from hlstm.classifier import HLSTMClassifier
    from hlstm.model import HLSTM

__all__ = ["HLSTM", "HLSTMClassifier", "__version__", "load_model"]
__version__ = distribution_version("hlstm")

_MODULE_OF = {"HLSTM": "model", "HLSTMClassifier": "classifier", "load_model": "build"}


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import: `hlstm --help` must not pay for it.
    return lazy_attribute(__name__, name, _MODULE_OF)
