"""The losses of the fine-tuning, and what a network starts from."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from hmc_shared.data import load_dataset
from hmc_shared.vision.pixels import IMAGENET_MEAN, IMAGENET_STD
from mulsupcon_ld.config import Config
from mulsupcon_ld.methods import asymmetric_loss, build_model, classification_loss

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
    found = asymmetric_loss(logits, torch.tensor([[label]]), **options).item()
    assert found == pytest.approx(one_by_one(logit, label, **options), rel=1e-6, abs=1e-12)


def test_asymmetric_loss_without_its_options_is_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 7, generator=generator) * 20
    logits[0, 0], logits[0, 1] = 200, -200
    labels = torch.rand(50, 7, generator=generator) < 0.5
    found = asymmetric_loss(logits, labels, gamma_positive=0, gamma_negative=0, margin=0)
    expected = binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
    torch.testing.assert_close(found, expected)
    config = Config(loss="asl", gamma_positive=0.0, gamma_negative=0.0, margin=0.0)
    by_config = [classification_loss(c, logits, labels) for c in (config, Config(loss="bce"), Config())]
    for loss in by_config:
        torch.testing.assert_close(loss, expected.mean(1))


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
    assert loss[0, 0] == 0
    assert gradient[0, 0] == 0
    assert gradient[0, 1] > 0


def test_the_network_learns_the_statistics_of_the_training_inputs():
    vectors, images = (load_dataset("digits", view=view) for view in ("vector", "image"))
    of_vectors = build_model(Config(width=8, dim=4), vectors)
    assert torch.equal(of_vectors.input_mean, vectors.feature_mean)
    assert torch.equal(of_vectors.input_scale, vectors.feature_scale)
    of_images = build_model(Config(encoder="resnet8", width=4, dim=4), images)
    pixels = images.train.inputs.numpy().astype(np.float64)
    assert of_images.input_mean.item() == pytest.approx(pixels.mean())
    assert of_images.input_scale.item() == pytest.approx(pixels.std())
    assert of_images.input_shape == (1, 8, 8)


def test_photographs_are_normalised_as_those_of_imagenet(tmp_path):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for row in range(5):
            Image.new("RGB", (20, 30)).save(tmp_path / name / f"{row}.png")
    model = build_model(
        Config(encoder="resnet8", width=4, dim=4, image_size=16), load_dataset(f"folder:{tmp_path}")
    )
    assert model.input_shape == (3, 16, 16)
    assert model.crop < 1
    assert torch.equal(model.input_mean.flatten(), IMAGENET_MEAN)
    assert torch.equal(model.input_scale.flatten(), IMAGENET_STD)
