"""The fit of temperatures and shifts against known ones and their neighbours."""

from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hmc_shared.partial_labels import NEVER
from hmc_shared.predict.calibration import Calibration, minimise

TREE = Hierarchy.from_paths(["a/b", "a/c", "d/e", "d/f", "d/g"])


def random_answers(n, seed=0, deviation=2.0):
    """Logits (n, C) and labels sampled from their sigmoid: perfectly calibrated, without ancestors."""
    generator = torch.Generator().manual_seed(seed)
    logits = deviation * torch.randn(n, len(TREE), generator=generator)
    return logits, torch.bernoulli(logits.sigmoid(), generator=generator).bool()


def fitted(logits, targets, evaluated=None):
    calibration = Calibration(TREE.num_levels)
    calibration.fit(logits, targets, TREE, evaluated)
    return calibration


def with_values(temperature, shift):
    calibration = Calibration(len(temperature))
    calibration.load_state_dict({"temperature": torch.tensor(temperature), "shift": torch.tensor(shift)})
    return calibration


@pytest.mark.parametrize(("temperature", "shift"), [(1.0, 0.0), (3.0, 0.0), (0.2, 1.5), (4.0, -6.0)])
def test_the_fit_gives_the_temperature_and_the_shift_that_were_put_in(temperature, shift):
    logits, targets = random_answers(20_000)
    calibration = fitted(temperature * (logits - shift), targets)
    np.testing.assert_allclose(calibration.temperature, [temperature] * 2, rtol=0.05)
    np.testing.assert_allclose(calibration.shift, [shift] * 2, atol=0.06)


def test_levels_have_temperatures_of_their_own():
    logits, targets = random_answers(20_000)
    calibration = fitted(torch.tensor([2.0, 0.5])[TREE.depth] * logits, targets)
    np.testing.assert_allclose(calibration.temperature, [2, 0.5], rtol=0.05)


def test_only_evaluated_classes_count_and_a_level_without_any_is_left_alone():
    logits, targets = random_answers(2000)
    evaluated = TREE.depth == 1
    evaluated[-1] = False
    untrained = logits * 3
    untrained[:, ~evaluated] = torch.randn(2000, int((~evaluated).sum()))  # say nothing of the labels
    calibration = fitted(untrained, targets, evaluated)
    np.testing.assert_allclose(calibration.temperature, [1, 3], rtol=0.1)
    np.testing.assert_allclose(calibration.shift, [0, 0], atol=0.1)
    assert calibration.temperature[0] == 1
    assert calibration.shift[0] == 0


@pytest.mark.parametrize("unknown", ["half of the rows", "one class", "any"])
def test_unknown_labels_do_not_move_the_fit(unknown):
    logits, targets = random_answers(20_000)
    logits = 3.0 * (logits - 1.5)
    is_unknown = torch.zeros_like(targets)
    if unknown == "half of the rows":
        is_unknown[::2] = TREE.depth == 1
    elif unknown == "one class":
        is_unknown[:, -1] = True
    else:
        is_unknown = torch.rand(targets.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    calibration = fitted(logits.masked_fill(is_unknown, NEVER), targets & ~is_unknown)
    np.testing.assert_allclose(calibration.temperature, [3.0] * 2, rtol=0.05)
    np.testing.assert_allclose(calibration.shift, [1.5] * 2, atol=0.06)


def test_no_neighbour_has_a_lower_cross_entropy():
    logits, targets = random_answers(300)
    logits = logits * 2.5 + 1
    best = fitted(logits, targets)

    def nll(calibration):
        moved = calibration(logits, TREE)
        return F.binary_cross_entropy_with_logits(moved, targets.float(), reduction="sum").item()

    assert nll(best) < nll(Calibration(TREE.num_levels)) - 50
    for factors in product((0.95, 1.0, 1.05), (0.95, 1.0, 1.05), (-0.1, 0.0, 0.1), (-0.1, 0.0, 0.1)):
        temperature = best.temperature * torch.tensor(factors[:2])
        moved = with_values(temperature.tolist(), (best.shift + torch.tensor(factors[2:])).tolist())
        assert nll(moved) > nll(best) - 0.05  # what the priors are worth


@pytest.mark.parametrize("sign", [1, -1])
def test_without_mistakes_the_fit_stays_finite_and_keeps_the_order(sign):
    logits = torch.linspace(-3, 3, 70).reshape(10, 7) * 100
    for targets in (sign * logits > 0, torch.full((10, 7), sign > 0)):
        calibration = fitted(logits, targets)
        assert calibration.temperature.isfinite().all()
        assert (calibration.temperature > 0).all()
        assert calibration.shift.isfinite().all()


def test_a_logit_is_divided_and_moved_by_what_its_level_has():
    logits = torch.randn(50, len(TREE), generator=torch.Generator().manual_seed(1)) * 5
    moved = with_values([8.0, 0.3], [-1.0, 0.5])(logits, TREE)
    torch.testing.assert_close(moved[:, :2], logits[:, :2] / 8 - 1)
    torch.testing.assert_close(moved[:, 2:], logits[:, 2:] / 0.3 + 0.5)
    assert moved.dtype == torch.float32
    assert (moved[:, 2:4] > moved[:, :1]).any()  # the model's constraint comes after


def test_as_made_and_after_a_reset_it_changes_nothing():
    logits, targets = random_answers(300)
    calibration = Calibration(TREE.num_levels)
    assert torch.equal(calibration(logits, TREE), logits)
    calibration.fit(3 * logits, targets, TREE)
    assert not torch.equal(calibration(logits, TREE), logits)
    calibration.reset()
    assert torch.equal(calibration(logits, TREE), logits)


def test_its_two_vectors_are_saved_and_not_trained():
    calibration = fitted(*random_answers(300))
    assert set(calibration.state_dict()) == {"temperature", "shift"}
    assert not list(calibration.parameters())
    again = Calibration(TREE.num_levels)
    again.load_state_dict(calibration.state_dict())
    logits = torch.randn(4, len(TREE))
    assert torch.equal(again(logits, TREE), calibration(logits, TREE))


def test_gradients_pass_and_the_fit_needs_none():
    logits, targets = random_answers(300)
    with torch.no_grad():
        calibration = fitted(logits.clone().requires_grad_(), targets)
    leaf = logits.clone().requires_grad_()
    calibration(leaf, TREE).sum().backward()
    torch.testing.assert_close(leaf.grad[0], 1 / calibration.temperature[TREE.depth])
    assert not calibration.temperature.requires_grad


def test_the_least_value_of_a_smooth_function():
    goal, scale = torch.tensor([3.0, -2.0]), torch.tensor([1.0, 100.0])

    def bowl(x, y):
        return (scale * (x - goal).square()).sum() + (y - x.sum()).square().sum()

    start = torch.zeros(2), torch.tensor(7.0)
    x, y = minimise(bowl, *start)
    torch.testing.assert_close(x, goal, atol=1e-3, rtol=0)
    torch.testing.assert_close(y, goal.sum(), atol=1e-3, rtol=0)
    assert torch.equal(start[0], torch.zeros(2))
    assert not x.requires_grad
