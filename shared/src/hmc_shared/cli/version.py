"""Versions of distributions."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def distribution_version(name: str) -> str:
    """The version of a distribution, "0+unknown" where it is imported from a tree that is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "0+unknown"
