"""Sizes of steps over the epochs, and the batches that make one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmc_shared.cli.train_options import CosineOptions
from hmc_shared.runs.steps import Steps, step_factor


def test_step_sizes_warm_up_and_follow_a_cosine() -> None:
    cosine = CosineOptions(warmup_epochs=2.0)
    factors = [step_factor(cosine, epoch, 10) for epoch in (0.5, 2, 5, 10)]
    assert factors == pytest.approx(
        [0.25 * (1 + np.cos(np.pi * 0.05)) / 2, (1 + np.cos(0.2 * np.pi)) / 2, 0.5, 0.0]
    )
    constant = CosineOptions(warmup_epochs=0.0, schedule="none")
    assert [step_factor(constant, epoch, 10) for epoch in (0.1, 5, 9.9)] == [1, 1, 1]


@given(rows=st.integers(1, 90), batch_size=st.integers(1, 40), accumulate=st.integers(1, 6))
def test_the_batches_of_a_step_together_are_the_mean_over_its_rows(
    rows: int, batch_size: int, accumulate: int
) -> None:
    steps = Steps(CosineOptions(batch_size=batch_size, accumulate=accumulate), rows)
    values, start = np.random.default_rng(0).normal(size=rows), 0
    total, seen = 0.0, 0
    for batch in range(steps.batches):
        part = values[batch * batch_size : (batch + 1) * batch_size]
        total += steps.share(batch) * part.mean()
        seen += len(part)
        if steps.ends(batch):
            assert total == pytest.approx(values[start : start + batch_size * accumulate].mean())
            total, start = 0.0, seen
    assert start == rows
    assert total == 0
    if accumulate == 1:
        assert all(steps.share(batch) == 1 for batch in range(steps.batches))
