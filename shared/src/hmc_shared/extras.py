"""Libraries that only some users need, installed as extras of this package."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def needed(module: str, extra: str, what: str) -> Any:
    """Import the library that ``what`` needs. Raises ValueError, saying how to install it, if there is none.

    Such libraries take seconds to import: this is for the functions that use them.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(f"{what} needs {module}: pip install 'hmc-shared[{extra}]'") from error
