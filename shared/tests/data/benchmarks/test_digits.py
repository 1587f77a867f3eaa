"""The embedded sets: real scans, a tree of three levels, scenes that say the truth about themselves."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.benchmarks.digits import DIGITS, digest, read_scans

PLACES = {"top left": (0, 0), "top right": (0, 16), "bottom left": (16, 0), "bottom right": (16, 16)}


@pytest.fixture(scope="module", params=["digits", "digit-scenes"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def vectors(name: str) -> HierarchicalDataset:
    return load_dataset(name)


@pytest.fixture(scope="module")
def images(name: str) -> HierarchicalDataset:
    return load_dataset(name.upper(), view="image")


@pytest.fixture(scope="module")
def scenes() -> HierarchicalDataset:
    return load_dataset("digit-scenes", view="image")


def digits_in(dataset: HierarchicalDataset, split: str) -> np.ndarray:
    columns = [dataset.hierarchy.index[name] for name in DIGITS]
    return dataset.splits[split].targets[:, columns].numpy()


def test_the_tree_has_three_levels_and_every_digit_is_a_leaf_of_the_last(images: HierarchicalDataset) -> None:
    hierarchy = images.hierarchy
    assert hierarchy.is_tree
    assert [len(level) for level in hierarchy.levels] == [2, 4, 10]
    assert {hierarchy.names[i] for i in hierarchy.leaves.tolist()} == set(DIGITS)
    assert {hierarchy.names[i] for i in hierarchy.levels[2]} == set(DIGITS)
    assert images.evaluated.all()


def test_targets_are_closed_and_reach_the_last_level(images: HierarchicalDataset) -> None:
    for split in images.splits.values():
        assert images.hierarchy.has_ancestors(split.targets)
        specific = images.hierarchy.most_specific(split.targets)
        assert not specific[:, :6].any()
        assert specific.any(1).all()


def test_views_differ_in_inputs_only(vectors: HierarchicalDataset, images: HierarchicalDataset) -> None:
    assert vectors.checksum == images.checksum
    assert (vectors.kind, images.kind) == ("vector", "image")
    side = 8 if vectors.name == "digits" else 32
    pixels = images.train.inputs.double().flatten(1)
    mean, deviation = pixels.mean(0), pixels.std(0, correction=0)
    deviation[deviation == 0] = torch.inf
    for name, split in vectors.splits.items():
        other = images.splits[name]
        assert split.inputs.shape == (len(split), side * side)
        assert split.inputs.dtype == torch.float32
        assert other.inputs.shape == (len(split), 1, side, side)
        assert other.inputs.dtype == torch.uint8
        assert split.targets.equal(other.targets)
        assert split.ids == other.ids
        assert split.inputs.equal(other.inputs.flatten(1).float())  # pixels, 0 to 255
    assert images.feature_mean is None
    assert images.feature_scale is None
    assert vectors.feature_mean.dtype == vectors.feature_scale.dtype == torch.float64
    torch.testing.assert_close(vectors.feature_mean, mean)
    torch.testing.assert_close(vectors.feature_scale, deviation)


def test_ids_are_unique(vectors: HierarchicalDataset) -> None:
    ids = [name for split in vectors.splits.values() for name in split.ids]
    assert len(set(ids)) == len(ids)


def test_digits_are_the_scans_of_scikit_learn_with_their_labels() -> None:
    from sklearn.datasets import load_digits

    source = load_digits()
    dataset = load_dataset("digits", view="image")
    seen = 0
    for name, split in dataset.splits.items():
        rows = [int(i.removeprefix("scan-")) for i in split.ids]
        np.testing.assert_array_equal(
            (split.inputs[:, 0].numpy() / 255 * 16).round(), np.ceil(source.images[rows] - 0.5)
        )
        np.testing.assert_array_equal(digits_in(dataset, name).argmax(1), source.target[rows])
        seen += len(set(rows))
    assert seen == 1797
    assert dataset.is_single_path


def test_digits_are_split_by_digit() -> None:
    dataset = load_dataset("digits")
    counts = np.array([digits_in(dataset, name).sum(0) for name in dataset.splits])  # (3, 10)
    shares = counts / counts.sum(0)
    assert np.abs(shares - [[0.6], [0.2], [0.2]]).max() < 0.01
    assert abs(len(dataset.train) / 1797 - 0.6) < 0.005


def test_the_bytes_are_the_same_everywhere() -> None:
    assert digest(*read_scans()).startswith("94859be606ec0f76")
    scenes = load_dataset("digit-scenes", view="image")
    pictures = [split.inputs[:, 0].numpy() for split in scenes.splits.values()]
    assert digest(*pictures) == scenes.sources["scenes"]
    assert scenes.sources["scenes"].startswith("277fde8ce590b6e4")


def test_training_scenes_have_a_long_tail_and_the_others_are_balanced(scenes: HierarchicalDataset) -> None:
    train = digits_in(scenes, "train").sum(0)
    groups = [(train >= 100).sum(), ((train >= 20) & (train < 100)).sum(), (train < 20).sum()]
    assert min(groups) >= 2
    for name in ("validation", "test"):
        counts = digits_in(scenes, name).sum(0)
        assert counts.max() < 1.35 * counts.min()
    numbers = [np.bincount(digits_in(scenes, name).sum(1), minlength=5) for name in scenes.splits]
    assert all(n[0] == 0 and n[1:].min() > 0.2 * n.sum() and len(n) == 5 for n in numbers)
    assert not scenes.is_single_path


def test_captions_tell_what_is_where(scenes: HierarchicalDataset) -> None:
    for name, split in scenes.splits.items():
        assert len(split.captions) == len(split)
        for caption, image, present in zip(
            split.captions, split.inputs[:, 0], digits_in(scenes, name), strict=True
        ):
            parts = re.split(", | and ", caption)
            matches = [re.fullmatch(r"a (small|large) (\w+) at the (\w+ \w+)", part) for part in parts]
            assert {match[2] for match in matches if match} == {DIGITS[i] for i in present.nonzero()[0]}
            assert len(matches) == present.sum()
            lit = {match[3]: match[1] for match in matches if match}
            for place, (y, x) in PLACES.items():
                quarter = image[y : y + 16, x : x + 16]
                assert bool(quarter.any()) == (place in lit)
                rows = quarter.any(1).nonzero()
                if lit.get(place) == "small":
                    assert int(rows.max() - rows.min()) < 8


def test_scenes_of_a_split_use_scans_of_that_split_only(scenes: HierarchicalDataset) -> None:
    digits = load_dataset("digits", view="image")
    scans = {name: {x.numpy().tobytes() for x in split.inputs[:, 0]} for name, split in digits.splits.items()}
    for name, split in scenes.splits.items():
        for caption, image in zip(split.captions, split.inputs[:, 0].numpy(), strict=True):
            for place in re.findall(r"large \w+ at the (\w+ \w+)", caption):  # it fills its quarter
                y, x = PLACES[place]
                scan = image[y : y + 16 : 2, x : x + 16 : 2]
                np.testing.assert_array_equal(image[y : y + 16, x : x + 16], scan.repeat(2, 0).repeat(2, 1))
                assert scan.tobytes() in scans[name]


def test_import_and_embedded_sets_are_light() -> None:
    code = """if True:
        import sys
        import hmc_shared.data
        slow = {"datasets", "matplotlib", "networkx", "pandas", "sklearn", "torchvision"}
        assert not slow & set(sys.modules), slow & set(sys.modules)
        for view in ("vector", "image"):
            hmc_shared.data.load_dataset("digits", view=view)  # by scikit-learn
        slow = {"datasets", "matplotlib", "networkx", "torchvision"}
        assert not slow & set(sys.modules), slow & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)
