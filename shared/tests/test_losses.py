"""The asymmetric loss beside its equation and cross-entropy."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from hmc_shared.losses import asymmetric_loss, bce_loss

GAMMA = st.sampled_from([0.0, 1.0, 2.0, 4.0]) | st.floats(0, 6)


def one_by_one(logit, label, gamma_positive, gamma_negative, margin):
    """Eq. (4) to (7) of Ridnik et al. 2021 for one number, in float64."""
    p = 1 / (1 + math.exp(-logit))
    if label:
        return -((1 - p) ** gamma_positive) * math.log(p)
    shifted = max(p - margin, 0)
    return -(shifted**gamma_negative) * math.log(1 - shifted)


@settings(deadline=None)
@given(st.floats(-15, 15), st.booleans(), GAMMA, GAMMA, st.sampled_from([0.0, 0.05, 0.2]))
def test_asymmetric_loss_is_the_papers_formula(logit, label, gamma_positive, gamma_negative, margin):
    options = {"gamma_positive": gamma_positive, "gamma_negative": gamma_negative, "margin": margin}
    logits = torch.tensor([[logit]], dtype=torch.float64)
    loss = asymmetric_loss(logits, torch.tensor([[label]]), **options).item()
    assert loss == pytest.approx(one_by_one(logit, label, **options), rel=1e-6, abs=1e-12)


def test_asymmetric_loss_without_its_options_is_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 7, generator=generator) * 20
    logits[0, 0], logits[0, 1] = 200, -200
    labels = torch.rand(50, 7, generator=generator) < 0.5
    loss = asymmetric_loss(logits, labels, gamma_positive=0, gamma_negative=0, margin=0)
    expected = binary_cross_entropy_with_logits(logits, labels.float(), reduction="none").mean(1)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(bce_loss(logits, labels), expected)


@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_asymmetric_loss_has_a_finite_gradient_where_probabilities_are_0_and_1(margin):
    logits = torch.tensor([[-200.0, -30.0, 0.0, 30.0, 200.0]], requires_grad=True)
    for label in (True, False):
        labels = torch.full((1, 5), label)
        loss = asymmetric_loss(logits, labels, gamma_positive=1.0, gamma_negative=4.0, margin=margin)
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert loss.isfinite().all()
        assert gradient.isfinite().all()


def test_asymmetric_loss_ignores_easy_negatives_and_weighs_hard_ones():
    logits = torch.tensor([[-4.0, 3.0]], requires_grad=True)  # probabilities 0.018 and 0.95
    labels = torch.zeros(1, 2, dtype=torch.bool)
    loss = asymmetric_loss(logits, labels, gamma_positive=0.0, gamma_negative=4.0, margin=0.05)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert asymmetric_loss(logits[:, :1], labels[:, :1]) == 0
    assert gradient[0, 0] == 0
    assert gradient[0, 1] > 0
