"""The markers of tests and when they are skipped, for the ``conftest.py`` of a method."""

from __future__ import annotations

import os

import pytest
import torch

DEVICE = os.environ.get("HMC_TEST_DEVICE", "cuda")
"""Where the tests marked `cuda` compute; "cpu" to see on any machine that they run."""
HAS_DEVICE = DEVICE == "cpu" or torch.cuda.is_available()
NEEDS_DEVICE = pytest.mark.skipif(not HAS_DEVICE, reason="needs a CUDA device")
"""For tests that others run, whose ``conftest.py`` need not import what is below."""


def pytest_configure(config: pytest.Config) -> None:
    """Say what the markers of the tests mean, for a ``conftest.py`` that imports this."""
    config.addinivalue_line("markers", "data: needs the benchmark files below the folder HMC_DATA")
    config.addinivalue_line("markers", "distributed: starts processes with torchrun or accelerate")
    config.addinivalue_line("markers", "cuda: needs a CUDA device, or HMC_TEST_DEVICE=cpu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests whose benchmark files or device are not there; imported as the above."""
    has = {"data": bool(os.environ.get("HMC_DATA")), "cuda": HAS_DEVICE}
    needs = {"data": "benchmark files: set HMC_DATA to their folder", "cuda": "a CUDA device"}
    for item in items:
        for marker in needs:
            if item.get_closest_marker(marker) and not has[marker]:
                item.add_marker(pytest.mark.skip(reason=f"needs {needs[marker]}"))
