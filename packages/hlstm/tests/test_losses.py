"""The losses against the papers' worked examples, and against probabilities and brute force."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hlstm.baselines import DHN
from hlstm.losses import (
    bce,
    dhn_loss,
    hybrid_loss,
    lh_loss,
    mc_loss,
    mean_class_weight,
    negative_mc_loss,
    violation_loss,
)
from hmc_shared import Hierarchy

# The papers write A -> B for "B is the parent of A": id 0 is B, id 1 is A.
PAIR = Hierarchy.from_edges([("B", "A")])
SUM = torch.ones(2, dtype=torch.float64)  # the papers' examples sum over classes


def loss_and_gradient(loss, p_b, p_a, y_b, y_a, **options):
    """Loss and its derivatives by the probabilities l(A) and l(B)."""
    p = torch.tensor([[p_b, p_a]], dtype=torch.float64, requires_grad=True)
    value = loss(torch.logit(p), torch.tensor([[bool(y_b), bool(y_a)]]), PAIR, SUM, **options).sum()
    value.backward()
    return value.item(), p.grad[0, 1].item(), p.grad[0, 0].item()


@pytest.mark.parametrize(
    ("y_b", "y_a", "mc", "mc_gradient", "lh", "lh_gradient"),
    [
        # Example 4.2
        (1, 1, -2 * math.log(0.3), (-20 / 3, 0.0), -2 * math.log(0.1), (0.0, -20.0)),
        # Appendix A, Example 1
        (0, 0, -2 * math.log(0.7), (20 / 7, 0.0), -2 * math.log(0.9), (0.0, 20 / 9)),
        # Appendix A, Example 2
        (
            1,
            0,
            -math.log(0.1) - math.log(0.7),
            (10 / 7, -10.0),
            -math.log(0.1) - math.log(0.9),
            (0.0, -80 / 9),
        ),
    ],
)
def test_worked_examples_of_the_paper(y_b, y_a, mc, mc_gradient, lh, lh_gradient):
    for loss, value, gradient in ((mc_loss, mc, mc_gradient), (lh_loss, lh, lh_gradient)):
        found, by_a, by_b = loss_and_gradient(loss, 0.1, 0.3, y_b, y_a)
        assert found == pytest.approx(value, abs=1e-6)
        assert (by_a, by_b) == pytest.approx(gradient, abs=1e-6)


def test_a_spared_parent_is_not_pushed_down():
    value, by_a, by_b = loss_and_gradient(lh_loss, 0.1, 0.3, 1, 0, mask_positive_parent=True)
    assert value == pytest.approx(-math.log(0.1) - math.log(0.7), abs=1e-6)
    assert (by_a, by_b) == pytest.approx((10 / 7, -10.0), abs=1e-6)


@st.composite
def scored_dags(draw):
    """A random DAG with logits and closed targets for two samples."""
    size = draw(st.integers(1, 7))
    edges = [(f"{i}", f"{j}") for j in range(size) for i in range(j) if draw(st.booleans())]
    hierarchy = Hierarchy.from_edges(edges, nodes=[str(i) for i in range(size)])
    values = draw(st.lists(st.floats(-8, 8), min_size=2 * size, max_size=2 * size))
    labels = draw(st.lists(st.booleans(), min_size=2 * size, max_size=2 * size))
    logits = torch.tensor(values, dtype=torch.float64).reshape(2, size)
    return hierarchy, logits, hierarchy.add_ancestors(torch.tensor(labels).reshape(2, size))


@given(scored_dags())
@settings(deadline=None)
def test_losses_equal_the_formulas_on_probabilities(case):
    hierarchy, logits, targets = case
    p, y = logits.sigmoid(), targets.double()
    below = hierarchy.ancestors.T  # row i: i and its descendants
    for sample in range(2):
        mc = lh = negative = 0.0
        for j in range(len(hierarchy)):
            down = below[j].nonzero().flatten().tolist()
            up = [j, *hierarchy.parents(j)]
            above = hierarchy.ancestors[j].nonzero().flatten().tolist()
            if targets[sample, j]:
                negative -= math.log(1 - max(p[sample, i].item() for i in above))
                mc -= math.log(max((y * p)[sample, i].item() for i in down))
                lh -= math.log(min((y * p)[sample, i].item() for i in up))
            else:
                negative -= math.log(max(p[sample, i].item() for i in above if not targets[sample, i]))
                mc -= math.log(1 - max(p[sample, i].item() for i in down))
                lh -= math.log(1 - min(p[sample, i].item() for i in up))
        weight = torch.ones(len(hierarchy), dtype=torch.float64)
        assert mc_loss(logits, targets, hierarchy, weight)[sample].item() == pytest.approx(
            mc, rel=1e-9, abs=1e-9
        )
        assert lh_loss(logits, targets, hierarchy, weight)[sample].item() == pytest.approx(
            lh, rel=1e-9, abs=1e-9
        )
        assert negative_mc_loss(logits, targets, hierarchy, weight)[sample].item() == pytest.approx(
            negative, rel=1e-9, abs=1e-9
        )
        dhn = dhn_loss(logits, logits, targets, hierarchy, weight, global_weight=0.3)[sample].item()
        assert dhn == pytest.approx(0.3 * mc + 0.7 * negative, rel=1e-9, abs=1e-9)
        both = hybrid_loss(logits, logits, targets, hierarchy, weight, global_weight=0.3)[sample].item()
        assert both == pytest.approx(0.7 * lh + 0.3 * mc, rel=1e-9, abs=1e-9)


@given(scored_dags())
@settings(deadline=None)
def test_coherent_scores_leave_mc_loss_without_a_constraint_and_no_violation(case):
    hierarchy, logits, targets = case
    weight = mean_class_weight(torch.ones(len(hierarchy), dtype=torch.bool)).double()
    level = logits.mean(1, keepdim=True) - hierarchy.depth  # falls from parent to child
    assert torch.allclose(mc_loss(level, targets, hierarchy, weight), bce(level, targets, weight))
    assert violation_loss(level, hierarchy, weight).eq(0).all()


def test_violation_loss_is_the_squared_excess():
    logits = torch.logit(torch.tensor([[0.1, 0.3], [0.5, 0.2]], dtype=torch.float64))
    assert violation_loss(logits, PAIR, SUM).tolist() == pytest.approx([0.2**2, 0.0])


@given(scored_dags(), st.floats(0, 1))
@settings(deadline=None)
def test_scores_of_dhn_are_its_formula_and_coherent_for_every_alpha(case, alpha):
    hierarchy, logits, _ = case
    model = DHN(2, hierarchy, hidden_size=1, global_weight=alpha)
    positive, negative = logits.float(), logits.float().flip(1)
    p, n = positive.sigmoid(), negative.sigmoid()
    above, below = hierarchy.ancestors, hierarchy.ancestors.T
    expected = torch.stack(
        [
            alpha * p[:, below[j]].amax(1) + (1 - alpha) * (1 - n[:, above[j]].amax(1))
            for j in range(len(hierarchy))
        ],
        dim=1,
    )
    found = model.final_logits(positive, negative).sigmoid()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    parents, children = hierarchy.edges.unbind(1)
    assert (found[:, children] <= found[:, parents] + 1e-6).all()


@pytest.mark.parametrize("loss", [mc_loss, lh_loss, negative_mc_loss])
def test_float32_is_stable_where_probabilities_round_to_0_and_1(loss):
    logits = torch.tensor([[-200.0, 200.0], [200.0, -200.0], [-200.0, -200.0]], requires_grad=True)
    assert logits.sigmoid().detach().unique().tolist() == [0.0, 1.0]
    targets = torch.tensor([[True, True], [True, False], [False, False]])
    values = loss(logits, targets, PAIR, torch.ones(2))
    values.sum().backward()
    assert values.isfinite().all()
    assert logits.grad.isfinite().all()
    assert values[1:].tolist() == ([400.0, 400.0] if loss is negative_mc_loss else [0.0, 0.0])


def test_classes_that_are_not_evaluated_weigh_nothing():
    weight = mean_class_weight(torch.tensor([False, True]))
    assert weight.tolist() == [0.0, 1.0]
    logits = torch.tensor([[3.0, -1.0]], requires_grad=True)
    bce(logits, torch.tensor([[True, True]]), weight).sum().backward()
    assert logits.grad[0, 0] == 0
