"""Shared by the tests of every package."""

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `data` where the benchmark files are not there."""
    if os.environ.get("HMC_DATA"):
        return
    skip = pytest.mark.skip(reason="needs the benchmark files: set HMC_DATA to their folder")
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(skip)
