"""The embedded features of photographs of products, beside the images that they are of."""

import os
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from hmc_shared.data import HierarchicalDataset, load_dataset

SIZES = {"train": 2640, "validation": 296, "test": 2485}


@pytest.fixture(scope="module")
def products() -> HierarchicalDataset:
    return load_dataset("products")


def test_the_splits_are_the_official_ones(products: HierarchicalDataset) -> None:
    assert {name: len(split) for name, split in products.splits.items()} == SIZES
    for name, folder in {"train": "train", "validation": "val", "test": "test"}.items():
        split = products.splits[name]
        assert all(sample.startswith(f"{folder}/") and sample.endswith(".jpg") for sample in split.ids)
        assert split.inputs.shape == (len(split), 256)
        assert split.inputs.dtype == torch.float32
    assert len({sample for split in products.splits.values() for sample in split.ids}) == sum(SIZES.values())


def test_the_tree_has_three_levels(products: HierarchicalDataset) -> None:
    hierarchy = products.hierarchy
    assert hierarchy.is_tree
    assert [len(level) for level in hierarchy.levels] == [3, 43, 81]
    assert hierarchy.names[:3] == ("Fruit", "Packages", "Vegetables")
    assert {int(node) for node in hierarchy.leaves} == set(hierarchy.levels[2])
    assert products.is_single_path
    assert products.evaluated.all()


def test_every_sample_has_the_classes_of_its_folders(products: HierarchicalDataset) -> None:
    """Test/Fruit/Apple/Golden-Delicious/1.jpg: the product stands last, the top level second."""
    names = products.hierarchy.names
    for split in products.splits.values():
        specific = products.hierarchy.most_specific(split.targets)
        assert (specific.sum(1) == 1).all()
        assert (split.targets.sum(1) == 3).all()
        for sample, row, leaf in zip(split.ids, split.targets, specific.int().argmax(1), strict=True):
            folders = sample.split("/")
            assert row[products.hierarchy.index[folders[1]]]
            assert names[leaf].split("/")[-1] == folders[-2]


def test_one_scale_for_all_axes_of_the_training_rows(products: HierarchicalDataset) -> None:
    train = products.train.inputs.double().numpy()
    np.testing.assert_allclose(products.feature_mean, train.mean(0))
    assert products.feature_scale.shape == (256,)
    np.testing.assert_allclose(
        products.feature_scale, np.sqrt(((train - train.mean(0)) ** 2).mean()), rtol=1e-2
    )
    # Principal axes: uncorrelated, by falling spread, but for the rounding to 8 bits.
    covariance = np.cov(train.T)
    off_diagonal = covariance - np.diag(np.diag(covariance))
    assert np.abs(off_diagonal).max() < 0.01 * covariance[0, 0]
    assert (np.diff(np.diag(covariance)) < 0.01 * covariance[0, 0]).all()


def test_the_file_is_small_and_its_licence_stands_beside_it(products: HierarchicalDataset) -> None:
    folder = files("hmc_shared.data") / "assets"
    assert len((folder / "products.npz").read_bytes()) < 2 * 2**20
    text = (folder / "products.txt").read_text(encoding="utf-8")
    for words in (
        "Copyright (c) 2019 Marcus Klasson",
        "WACV",
        "Apache License 2.0",
        "shall be included in all",
    ):
        assert words in text
    assert products.sources["products.npz"].startswith("025c75fdb768d079")


def test_images_are_another_data_set() -> None:
    with pytest.raises(
        ValueError, match="'products' has feature vectors, no images: those are the data set 'groc"
    ):
        load_dataset("products", view="image")


@pytest.mark.data
def test_samples_are_those_of_the_images(products: HierarchicalDataset) -> None:
    grocery = load_dataset("grocery", Path(os.environ["HMC_DATA"]))
    columns = [products.hierarchy.index[name] for name in grocery.hierarchy.names]
    for name, split in grocery.splits.items():
        assert split.ids == products.splits[name].ids
        assert split.targets.equal(products.splits[name].targets[:, columns])
