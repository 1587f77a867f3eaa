"""MulSupCon_LD: multi-label supervised contrastive learning with recovered label distributions."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mulsupcon_ld.classifier import MulSupConClassifier
    from mulsupcon_ld.model import MulSupCon

__all__ = ["MulSupCon", "MulSupConClassifier", "__version__"]

try:
    __version__ = version("mulsupcon-ld")
except PackageNotFoundError:  # imported from a source tree that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import: `mulsupcon-ld --help` must not pay for it.
    if name == "MulSupCon":
        from mulsupcon_ld.model import MulSupCon

        return MulSupCon
    if name == "MulSupConClassifier":
        from mulsupcon_ld.classifier import MulSupConClassifier

        return MulSupConClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
