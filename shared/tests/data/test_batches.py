"""Orders of rows and the batches that they are dealt out in."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight

from hmc_shared.data.batches import (
    Batch,
    balanced_weights,
    batches,
    class_aware_order,
    deal,
    places_in_batch,
    sampled_batches,
    seed_step,
)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize(("n", "batch_size"), [(10, 4), (7, 7), (5, 2), (3, 8)])
def test_the_weighted_sum_over_processes_is_the_mean_of_a_batch(n: int, batch_size: int, world: int) -> None:
    order, values = torch.randperm(n), torch.randn(n)
    ranks = [list(deal(order, batch_size, rank=rank, world=world)) for rank in range(world)]
    assert len({len(rank) for rank in ranks}) == 1
    seen = []
    for start, together in zip(range(0, n, batch_size), zip(*ranks, strict=True), strict=True):
        means = [(weights * values[rows]).sum() for rows, weights in together]
        expected = values[order[start : start + batch_size]].mean()
        torch.testing.assert_close(torch.stack(means).mean(), expected)
        seen += [rows for rows, weights in together if weights.any()]
    assert torch.cat(seen).sort().values.tolist() == list(range(n))


def test_batches_depend_on_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat([rows for rows, _ in batches(50, 8, seed=seed, epoch=epoch)]).tolist()

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 7), st.integers(0, 300), st.integers(0, 2**31 - 1))
def test_each_class_is_sampled_equally_often_and_each_of_its_rows_too(
    n: int, classes: int, size: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, n)
    targets = torch.from_numpy(np.eye(classes + 1, dtype=bool)[labels])  # the last class has no row
    order = class_aware_order(targets, size, seed=seed, epoch=1)
    assert order.shape == (size,)
    times = np.bincount(order.numpy(), minlength=n)
    of_class = [times[labels == label] for label in np.unique(labels)]
    totals = [rows.sum() for rows in of_class]
    assert max(totals) - min(totals) <= 1
    assert all(rows.max() - rows.min() <= 1 for rows in of_class)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.booleans())
def test_balanced_weights_are_those_of_scikit_learn(classes: list[int], are_weighted: bool) -> None:
    of_samples = torch.arange(1.0, len(classes) + 1) if are_weighted else None
    found = balanced_weights(torch.tensor(classes), of_samples)
    times = np.arange(1, len(classes) + 1) if are_weighted else np.ones(len(classes), dtype=int)
    repeated = np.repeat(classes, times)  # a sample of weight 3 is as three samples
    of_class = dict(zip(repeated.tolist(), compute_sample_weight("balanced", repeated), strict=True))
    expected = times * [of_class[label] for label in classes]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_samples_without_a_class_have_no_balanced_weight() -> None:
    assert balanced_weights(torch.tensor([-1, 2, 2, -1, 1])).tolist() == [0, 0.75, 0.75, 0, 1.5]


def test_a_rare_class_among_many_labels_gets_its_turn() -> None:
    targets = torch.zeros(1000, 4, dtype=torch.bool)
    targets[:, 0] = True
    targets[7, 3] = targets[8, 3] = targets[9, 2] = True
    order = class_aware_order(targets, 3000, seed=0, epoch=0)
    assert targets[order][:, 3].sum() in range(
        1000, 1010
    )  # of three classes with rows; class 0 finds some too
    assert (order == 9).sum() in range(1000, 1005)
    assert len(order.unique()) > 600


def test_the_order_depends_on_seed_and_epoch() -> None:
    targets = torch.rand(60, 5) < 0.3
    orders = {
        tuple(class_aware_order(targets, 60, seed=seed, epoch=epoch).tolist())
        for seed in (0, 0, 1, 2)
        for epoch in (0, 1)
    }
    assert len(orders) == 6


def test_a_set_without_positives_is_refused() -> None:
    with pytest.raises(ValueError, match="`targets` should have a positive"):
        class_aware_order(torch.zeros(5, 3, dtype=torch.bool), 5, seed=0, epoch=0)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_places_are_those_of_the_rows_in_the_batch(world: int) -> None:
    order, batch_size = torch.randperm(22), 8
    for rank in range(world):
        for number, (rows, weights) in enumerate(deal(order, batch_size, rank=rank, world=world)):
            together = order[number * batch_size : (number + 1) * batch_size]
            if weights.any():
                places = places_in_batch(rows, batch_size, rank=rank, world=world)
                assert torch.equal(together[places], rows)


def test_a_place_is_in_the_batch_also_for_a_row_that_is_none_of_it() -> None:
    ((rows, weights),) = deal(torch.tensor([5]), 1, rank=1, world=2)
    assert not weights.any()
    assert places_in_batch(rows, 1, rank=1, world=2).tolist() == [0]


def test_a_step_has_random_numbers_of_its_own() -> None:
    def numbers(*step: int) -> tuple[float, ...]:
        generator = torch.Generator()
        torch.rand(5, generator=generator)  # what was before does not matter
        seed_step(generator, *step)
        return tuple(torch.rand(4, generator=generator).tolist())

    steps = [(seed, epoch, step) for seed in (0, 1, 2**31) for epoch in (0, 1, 50) for step in (0, 1, 999)]
    assert len({numbers(*step) for step in steps}) == len(steps)
    assert numbers(3, 2, 1) == numbers(3, 2, 1)
    assert numbers(2**63, 10**6, 10**6)  # larger than torch takes


def test_a_batch_is_a_tuple_with_names() -> None:
    inputs, labels, weights, rows = batch = Batch(*torch.zeros(4, 3))
    assert batch.inputs is inputs
    assert batch.labels is labels
    assert batch.weights is weights
    assert batch.rows is rows


def long_tail() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(200, 4, generator=generator) < torch.tensor([0.8, 0.3, 0.05, 0.0])
    targets[:3] = False
    return targets


@settings(deadline=None, max_examples=20)
@given(
    batch_size=st.integers(1, 70),
    world=st.integers(1, 3),
    sampling=st.sampled_from(["random", "class-aware"]),
)
def test_processes_together_see_what_one_would(batch_size: int, world: int, sampling: str) -> None:
    alone = sampled_batches(long_tail(), batch_size, sampling, seed=5, epoch=2)
    shares = [
        sampled_batches(long_tail(), batch_size, sampling, seed=5, epoch=2, rank=rank, world=world)
        for rank in range(world)
    ]
    assert {len(share) for share in shares} == {len(alone)}
    for step, (rows, weights) in enumerate(alone):
        torch.testing.assert_close(weights, torch.full((len(rows),), 1 / len(rows)))
        dealt = [share[step] for share in shares]
        seen = sorted(row for part, w in dealt for row, x in zip(part.tolist(), w.tolist(), strict=True) if x)
        assert seen == sorted(rows.tolist())
        assert sum(w.sum().item() for _, w in dealt) / world == pytest.approx(1)


def test_class_aware_sampling_sees_rare_classes_more_often() -> None:
    targets = long_tail()
    order = sampled_batches(targets, 16, "class-aware", seed=0, epoch=0)
    drawn = torch.cat([rows for rows, _ in order])
    assert len(drawn) == len(targets)
    assert targets[drawn, 2].sum() >= 200 // 3 > 3 * targets[:, 2].sum()
