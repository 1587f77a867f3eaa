"""Long-tailed parts of data sets, beside scipy's Pareto distribution."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pareto

from hmc_shared import Hierarchy
from hmc_shared.data import HierarchicalDataset, ImageTable, Split, load_dataset
from hmc_shared.data.long_tail import make_long_tail, pareto_counts, sample_long_tail


def toy(targets: np.ndarray) -> HierarchicalDataset:
    """The columns are leaves below one root each two, which are not evaluated; an input is its row number."""
    leaves = targets.shape[1]
    names = [f"leaf-{i}" for i in range(leaves)]
    hierarchy = Hierarchy.from_parents(
        {f"root-{i}": None for i in range((leaves + 1) // 2)}
        | {name: f"root-{i // 2}" for i, name in enumerate(names)}
    )
    leaf_targets = torch.zeros(len(targets), len(hierarchy), dtype=torch.bool)
    leaf_targets[:, -leaves:] = torch.from_numpy(targets)
    rows = torch.arange(len(targets))
    ids = tuple(f"row-{row}" for row in rows)
    split = Split(rows[:, None].float(), hierarchy.add_ancestors(leaf_targets), ids, ids)
    evaluated = torch.tensor([name in names for name in hierarchy.names])
    sources = {"file": "digest"}
    return HierarchicalDataset("toy", hierarchy, evaluated, "vector", split, split, split, sources)


@pytest.mark.parametrize("classes", [2, 20, 80])
@pytest.mark.parametrize(("maximum", "minimum", "alpha"), [(800, 1, 6.0), (1200, 1, 6.0), (50, 5, 2.0)])
def test_the_curve_is_the_density_of_scipy(classes: int, maximum: int, minimum: int, alpha: float) -> None:
    counts = pareto_counts(classes, maximum, minimum, alpha)
    x = np.linspace(pareto.ppf(0.0, alpha), pareto.ppf(0.99, alpha), classes)
    expected = minimum + (maximum - minimum) * pareto.pdf(x, alpha) / pareto.pdf(1, alpha)
    assert np.abs(counts - expected).max() <= 0.5 + 1e-9
    assert counts[0] == maximum
    assert (np.diff(counts) <= 0).all()


def test_samples_of_one_class_each_follow_the_curve_exactly() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 3000)
    dataset = toy(np.eye(10, dtype=bool)[labels])
    available = np.bincount(labels)
    part = make_long_tail(dataset)
    counts = np.sort(part.train_counts[part.evaluated].numpy())[::-1]
    ranked = np.minimum(pareto_counts(10, available.max()), available)
    assert counts.tolist() == np.sort(ranked)[::-1].tolist()
    small = make_long_tail(dataset, maximum=100, minimum=7, alpha=2.0)
    counts = np.sort(small.train_counts[small.evaluated].numpy())[::-1]
    assert counts.tolist() == pareto_counts(10, 100, 7, 2.0).tolist()


def test_the_part_is_a_part_and_the_rest_stays() -> None:
    rng = np.random.default_rng(1)
    dataset = toy(rng.random((2000, 12)) < np.linspace(0.02, 0.4, 12))
    part = make_long_tail(dataset, maximum=500)
    rows = part.train.inputs[:, 0].long()
    assert (rows.diff() > 0).all()
    assert part.train.targets.equal(dataset.train.targets[rows])
    assert part.train.ids == part.train.captions == tuple(f"row-{row}" for row in rows)
    assert part.validation is dataset.validation
    assert part.test is dataset.test
    assert part.name == "toy-lt"
    assert "Pareto with alpha 6, 500 to 1 samples a class, seed 0" in part.notes[-1]
    other = make_long_tail(dataset, seed=1, maximum=500)
    assert other.train.ids != part.train.ids
    assert len({part.checksum, other.checksum, dataset.checksum}) == 3
    assert make_long_tail(dataset, maximum=500).checksum == part.checksum


def test_the_classes_that_go_with_most_others_become_frequent() -> None:
    rng = np.random.default_rng(2)
    targets = rng.random((4000, 10)) < 0.1
    targets[:, 4] |= targets[:, [0, 1, 2]].any(1)  # it goes with them
    counts = targets[sample_long_tail(targets, pareto_counts(10, 300), seed=0)].sum(0)
    assert counts.argmax() == 4
    assert counts[4] > 100
    assert counts.min() < 15


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1, 8), st.floats(0.05, 0.9), st.integers(0, 2**31 - 1))
def test_every_class_that_has_samples_keeps_one(n: int, classes: int, density: float, seed: int) -> None:
    targets = np.random.default_rng(seed).random((n, classes)) < density
    rows = sample_long_tail(targets, pareto_counts(classes, n), seed)
    assert (np.diff(rows) > 0).all()
    assert (targets[rows].any(0) == targets.any(0)).all()
    assert targets[rows].any(1).all()


def test_images_stay_encoded(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    for label, number in [("a", 30), ("b", 30)]:
        (tmp_path / label).mkdir()
        for i in range(number):
            (tmp_path / label / f"{i}.png").write_bytes(encode((i + 1, 3)))
    dataset = load_dataset(f"folder:{tmp_path}")
    part = make_long_tail(dataset)
    assert isinstance(part.train.inputs, ImageTable)
    assert sorted(part.train_counts.tolist()) == [1, 18]
    for row, name in enumerate(part.train.ids):
        assert part.train.inputs[row].shape[1] == int(Path(name).stem) + 1


def test_bad_options_are_refused() -> None:
    dataset = toy(np.eye(3, dtype=bool))
    with pytest.raises(ValueError, match=r"`minimum` should be from 1 to `maximum`, 1\. Found 2"):
        make_long_tail(dataset, minimum=2)
    with pytest.raises(ValueError, match=r"`minimum` should be from 1 to `maximum`, 5\. Found 0"):
        make_long_tail(dataset, minimum=0, maximum=5)
    with pytest.raises(ValueError, match=r"`alpha` should be above 0\. Found 0\.0"):
        make_long_tail(dataset, alpha=0.0)


def test_published_counts_are_not_those_of_the_part() -> None:
    dataset = toy(np.eye(4, dtype=bool).repeat(50, 0))
    published = replace(dataset, published_counts=torch.full((len(dataset.hierarchy),), 7))
    assert published.train_counts.tolist() == [7] * len(dataset.hierarchy)
    assert make_long_tail(published).train_counts.equal(make_long_tail(dataset).train_counts)
