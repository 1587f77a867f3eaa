"""Attributes of a package that are imported when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any


def lazy_attribute(package: str, name: str, module_of: Mapping[str, str]) -> Any:
    """What ``package.__getattr__(name)`` returns: ``name`` of its module ``module_of[name]``."""
    if name not in module_of:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(import_module(f"{package}.{module_of[name]}"), name)
