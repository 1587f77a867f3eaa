"""Data sets of arrays in memory."""

import numpy as np
import pytest
import torch

from hmc_shared import Hierarchy
from hmc_shared.data.vector_dataset import from_arrays

TREE = Hierarchy.from_paths(["a/b", "a/c"])


@pytest.mark.parametrize(("n", "drawn"), [(2, 1), (7, 1), (50, 5)])
def test_a_tenth_is_drawn_and_the_inputs_are_those_rows(n, drawn):
    rng = np.random.default_rng(n)
    X = rng.normal(3, 2, (n, 4)).astype(np.float32)
    X[0, 1] = np.nan
    targets = TREE.add_ancestors(rng.random((n, 3)) < 0.4)
    dataset = from_arrays(X, targets, TREE, seed=1)
    assert len(dataset.validation) == drawn
    assert dataset.validation.ids == dataset.test.ids
    rows = [int(row) for row in dataset.train.ids + dataset.validation.ids]
    assert sorted(rows) == list(range(n))
    whole = dataset.train.concatenate(dataset.validation)
    np.testing.assert_array_equal(whole.inputs.numpy(), X[rows])  # NaN where it was
    np.testing.assert_array_equal(whole.targets.numpy(), targets[rows])


def test_the_statistics_are_those_of_the_training_rows():
    X = np.random.default_rng(0).normal([1e6, 3, 0], [1, 2, 0], (50, 3))
    X[::4, 1] = np.nan
    dataset = from_arrays(X, np.ones((50, 3), dtype=bool), TREE, seed=1)
    train = X[[int(row) for row in dataset.train.ids]]
    means = np.nanmean(train, axis=0)
    imputed = np.where(np.isnan(train), means, train)
    assert dataset.feature_mean.dtype == dataset.feature_scale.dtype == torch.float64
    np.testing.assert_allclose(dataset.feature_mean, means, rtol=1e-12)
    np.testing.assert_allclose(dataset.feature_scale, [*imputed.std(0)[:2], np.inf], rtol=1e-9)


def test_the_seed_decides_which_rows():
    X, targets = np.zeros((40, 1)), np.ones((40, 3), dtype=bool)
    first, again, other = (from_arrays(X, targets, TREE, seed=seed).validation.ids for seed in (0, 0, 1))
    assert first == again != other
