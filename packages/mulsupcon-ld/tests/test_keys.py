"""The queue against a deque, the momentum update against its formula."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmc_shared.data.batches import batches
from mulsupcon_ld.keys import KeyQueue, Keys, gather_keys, update_key_network

DIM, NUM_LABELS = 2, 3


def some_keys(first, rows):
    """Keys that are all different: the n-th ever made holds its number n."""
    numbers = torch.arange(first, first + rows, dtype=torch.float32)
    labels = (numbers.long().unsqueeze(1) >> torch.arange(NUM_LABELS)) % 2 == 1
    distributions = torch.stack([numbers, -numbers, 1 / (1 + numbers)], 1)
    return Keys(torch.stack([numbers, numbers + 0.5], 1), labels, distributions)


def rows_of(keys):
    return [(e.tolist(), y.tolist(), d.tolist()) for e, y, d in zip(*keys, strict=True)]


@given(st.integers(0, 7), st.lists(st.integers(0, 17), max_size=8))
@settings(deadline=None, max_examples=150)
def test_the_queue_holds_what_a_deque_holds(capacity, pushes):
    queue, model, made = KeyQueue(capacity, DIM, NUM_LABELS), deque(maxlen=capacity), 0
    for rows in pushes:
        keys = some_keys(made, rows)
        made += rows
        queue.push(keys)
        model.extend(rows_of(keys))
        assert len(queue) == len(model)
        assert sorted(rows_of(queue.contents())) == sorted(model)


@given(st.integers(1, 7), st.lists(st.integers(0, 9), max_size=5), st.lists(st.integers(0, 9), max_size=5))
@settings(deadline=None, max_examples=50)
def test_a_restored_queue_goes_on_as_the_saved_one(capacity, before, after):
    saved, restored = (KeyQueue(capacity, DIM, NUM_LABELS) for _ in range(2))
    made = 0
    for rows in before:
        saved.push(some_keys(made, rows))
        made += rows
    restored.load_state_dict({name: value.clone() for name, value in saved.state_dict().items()})
    for rows in after:
        saved.push(some_keys(made, rows))
        restored.push(some_keys(made, rows))
        made += rows
    assert rows_of(restored.contents()) == rows_of(saved.contents())  # in the same order, too
    assert len(restored) == min(made, capacity)


def test_contents_are_views_and_carry_no_gradient():
    queue = KeyQueue(4, DIM, NUM_LABELS)
    keys = some_keys(0, 3)
    queue.push(keys._replace(embeddings=keys.embeddings.requires_grad_()))
    contents = queue.contents()
    assert contents.embeddings.data_ptr() == queue.embeddings.data_ptr()
    assert not contents.embeddings.requires_grad


def test_joined_keys_are_the_first_then_the_others():
    first, second, third = some_keys(0, 2), some_keys(2, 0), some_keys(2, 3)
    assert rows_of(first.concatenate(second, third)) == rows_of(some_keys(0, 5))


def in_processes(world, function):
    """What ``function(accelerator)`` returns in each of ``world`` processes, played by threads."""
    barrier, sent = Barrier(world), [None] * world

    def run(rank):
        def gather(values):
            sent[rank] = values
            barrier.wait(timeout=5)
            together = torch.cat(sent)
            barrier.wait(timeout=5)
            return together

        return function(SimpleNamespace(process_index=rank, num_processes=world, gather=gather))

    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(run, range(world)))


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 4, 5, 6])
def test_every_process_gathers_the_keys_of_the_global_batch(world, n):
    """Of the rows that `batches` deals out; a row that is alone comes twice, as in `training_batches`."""
    whole = some_keys(0, n)
    (order, _) = next(batches(n, 6, seed=0, epoch=0))

    def process(accelerator):
        rank = accelerator.process_index
        rows, weights = next(batches(n, 6, seed=0, epoch=0, rank=rank, world=world))
        rows = rows if len(rows) > 1 else rows.repeat(2)
        keys, own_keys = gather_keys(Keys(*(part[rows] for part in whole)), n, accelerator)
        counted = int(weights.count_nonzero())
        assert order[own_keys[:counted]].equal(rows[:counted])
        assert own_keys.max() < n  # also of rows without weight
        return keys

    for keys in in_processes(world, process):
        assert rows_of(keys) == rows_of(Keys(*(part[order] for part in whole)))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"`capacity` should be 0 or more. Found -1"):
        KeyQueue(-1, DIM, NUM_LABELS)
    keys = some_keys(0, 2)
    with pytest.raises(ValueError, match=r"as many rows each. Found \[2, 1, 2\]"):
        KeyQueue(4, DIM, NUM_LABELS).push(keys._replace(labels=keys.labels[:1]))


def test_momentum_update():
    def network(seed):
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))

    key, query, before = network(0), network(1), network(0)
    query[1].running_mean.fill_(7.0)
    update_key_network(key, query, 0.9)
    for new, old, other in zip(key.parameters(), before.parameters(), query.parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * other)
    assert key[1].running_mean.tolist() == [0.0] * 4
    update_key_network(key, query, 0.0)
    assert all(torch.equal(*pair) for pair in zip(key.parameters(), query.parameters(), strict=True))
