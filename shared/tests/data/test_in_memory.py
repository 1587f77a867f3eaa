"""Data sets of arrays in memory."""

import numpy as np
import pytest
import torch

from hmc_shared import Hierarchy
from hmc_shared.data.in_memory import from_arrays

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


def test_of_few_rows_one_is_drawn_always():
    """Where each class has few rows, stratification by itself takes none."""
    flat = Hierarchy.from_edges([], nodes="abcde")
    for n in (2, 3, 5, 9):
        for seed in range(5):
            targets = np.eye(5, dtype=bool)[np.random.default_rng(seed).integers(5, size=n)]
            dataset = from_arrays(np.zeros((n, 1)), targets, flat, seed=seed)
            assert 1 <= len(dataset.validation) < n


def test_images_stay_bytes_and_weights_go_with_their_rows():
    X = np.random.default_rng(0).integers(256, size=(20, 3, 4, 4), dtype=np.uint8)
    weights = np.arange(1.0, 21.0)
    dataset = from_arrays(X, np.ones((20, 3), dtype=bool), TREE, seed=0, weights=weights)
    assert dataset.kind == "image"
    for split in (dataset.train, dataset.train.select(np.array([3, 1])), dataset.training_split("paper")):
        rows = [int(row) for row in split.ids]
        assert split.inputs.dtype == torch.uint8
        np.testing.assert_array_equal(split.inputs.numpy(), X[rows])
        assert split.weights.tolist() == weights[rows].tolist()
