"""Data sets of arrays in memory."""

import numpy as np
import pytest
import torch

from hmc_shared import Hierarchy
from hmc_shared.data.vector_dataset import from_arrays

TREE = Hierarchy.from_paths(["a/b", "a/c"])


@pytest.mark.parametrize(("n", "drawn"), [(2, 1), (7, 1), (50, 5)])
def test_a_tenth_is_drawn_and_the_inputs_are_those_rows_on_another_scale(n, drawn):
    rng = np.random.default_rng(n)
    X = rng.normal(3, 2, (n, 4)).astype(np.float32)
    X[0, 1] = np.nan
    targets = TREE.add_ancestors(rng.random((n, 3)) < 0.4)
    dataset = from_arrays(X, targets, TREE, seed=1)
    assert len(dataset.validation) == drawn
    assert dataset.validation.ids == dataset.test.ids
    rows = [int(row) for row in dataset.train.ids + dataset.validation.ids]
    assert sorted(rows) == list(range(n))
    inputs = torch.cat([dataset.train.inputs, dataset.validation.inputs]).double()
    scale = torch.where(dataset.feature_scale.isinf(), 0.0, dataset.feature_scale).double()
    varies = (scale > 0).numpy() & ~np.isnan(X[rows])
    back = (inputs * scale + dataset.feature_mean.double()).numpy()
    np.testing.assert_allclose(back[varies], X[rows][varies], atol=1e-5)
    found = torch.cat([dataset.train.targets, dataset.validation.targets]).numpy()
    np.testing.assert_array_equal(found, targets[rows])


def test_the_seed_decides_which_rows():
    X, targets = np.zeros((40, 1)), np.ones((40, 3), dtype=bool)
    first, again, other = (from_arrays(X, targets, TREE, seed=seed).validation.ids for seed in (0, 0, 1))
    assert first == again != other
