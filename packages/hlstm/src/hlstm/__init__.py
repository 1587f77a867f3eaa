"""HLSTM: an LSTM over hierarchy levels with the hybrid of MCLoss and LHLoss, and its baselines."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hlstm.classifier import HLSTMClassifier
    from hlstm.model import HLSTM

__all__ = ["HLSTM", "HLSTMClassifier", "__version__"]

try:
    __version__ = version("hlstm")
except PackageNotFoundError:  # imported from a source tree that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import: `hlstm --help` must not pay for it.
    if name == "HLSTM":
        from hlstm.model import HLSTM

        return HLSTM
    if name == "HLSTMClassifier":
        from hlstm.classifier import HLSTMClassifier

        return HLSTMClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
