"""The Mulan sets themselves: their counts, and Yeast beside scipy's reader."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import arff as scipy_arff

from hmc_shared.data import HierarchicalDataset, load_dataset

# Train, test, features, labels, labels per row as counted by other code on the same files. The rows of
# mediamill_reduced end with three comment lines a file.
COUNTS = {
    "yeast": (1500, 917, 103, 14, "4.228", "4.252"),
    "scene": (1211, 1196, 294, 6, "1.062", "1.086"),
    "delicious": (12920, 3185, 500, 983, "19.047", "18.910"),
    "mediamill_reduced": (1500, 500, 120, 101, "4.437", "4.264"),
}


def rows_of(dataset: HierarchicalDataset) -> torch.Tensor:
    """The targets of the training file, in its order."""
    ids = [
        int(name.removeprefix("train-"))
        for split in (dataset.train, dataset.validation)
        for name in split.ids
    ]
    targets = torch.cat([dataset.train.targets, dataset.validation.targets])
    assert sorted(ids) == list(range(len(ids)))
    return targets[torch.tensor(ids).argsort()]


@pytest.mark.data
@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    train, test, features, labels, *cardinality = COUNTS[name]
    dataset = load_dataset(name, os.environ["HMC_DATA"], view="vector")
    targets = rows_of(dataset)
    assert (len(targets), len(dataset.test), dataset.num_features) == (train, test, features)
    assert len(dataset.validation) == pytest.approx(0.2 * train, rel=0.05)
    assert (len(dataset.hierarchy), dataset.hierarchy.num_levels) == (labels, 1)
    assert [f"{t.sum(1).double().mean():.3f}" for t in (targets, dataset.test.targets)] == cardinality
    if name == "delicious":
        assert [int((~t.any(1)).sum()) for t in (targets, dataset.test.targets)] == [10, 4]
    assert not dataset.train.inputs.isnan().any()
    assert dataset.feature_mean is not None
    torch.testing.assert_close(dataset.feature_mean, dataset.train.inputs.double().mean(0), rtol=0, atol=1e-5)


@pytest.mark.data
def test_yeast_is_that_of_scipy() -> None:
    folder = Path(os.environ["HMC_DATA"], "multilabel", "yeast")
    dataset = load_dataset("yeast", folder)
    columns = dict(
        zip(
            dataset.hierarchy.names,
            rows_of(dataset).T.numpy().astype(int),
            strict=True,
        )
    )
    with gzip.open(folder / "yeast-train.arff.gz", "rt") as file:
        oracle, _ = scipy_arff.loadarff(file)
    for name, column in columns.items():
        np.testing.assert_array_equal(column, oracle[name].astype(int))
    x = np.stack([oracle[f"Att{i}"] for i in range(1, 104)], axis=1)
    rows = [int(name.removeprefix("train-")) for name in dataset.train.ids]
    np.testing.assert_array_equal(dataset.train.inputs, x[rows].astype(np.float32))
    assert dataset.feature_mean is not None
    assert dataset.feature_scale is not None
    np.testing.assert_allclose(dataset.feature_mean, x[rows].mean(0))
    np.testing.assert_allclose(dataset.feature_scale, x[rows].std(0))
