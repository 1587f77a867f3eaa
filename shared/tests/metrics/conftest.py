"""Metrics in one block and in many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hmc_shared.metrics import _inputs, cafa, levels, ranking


@pytest.fixture(scope="module", params=[_inputs.BLOCK, 3], ids=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set the number of scores that are copied at a time."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (_inputs, levels, ranking):
            patch.setattr(module, "BLOCK", request.param)
        patch.setattr(cafa, "MANY", request.param)
        yield
