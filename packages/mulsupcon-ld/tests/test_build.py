"""The losses of the fine-tuning, and what a network starts from."""

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from hmc_shared.data import load_dataset
from hmc_shared.vision.statistics import IMAGENET_MEAN, IMAGENET_STD
from mulsupcon_ld.build import build_model, classification_loss
from mulsupcon_ld.config import Config
from mulsupcon_ld.schedule import build_optimizers


def test_asymmetric_loss_without_its_options_is_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 7, generator=generator) * 20
    labels = torch.rand(50, 7, generator=generator) < 0.5
    expected = binary_cross_entropy_with_logits(logits, labels.float(), reduction="none").mean(1)
    asl = Config(loss="asl", gamma_positive=0.0, gamma_negative=0.0, margin=0.0)
    for config in (asl, Config(loss="bce"), Config()):
        torch.testing.assert_close(classification_loss(config, logits, labels), expected)


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


def test_images_of_a_table_are_normalised_as_those_of_imagenet(tmp_path):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for row in range(5):
            Image.new("RGB", (20, 30)).save(tmp_path / name / f"{row}.png")
    model = build_model(
        Config(encoder="resnet8", width=4, dim=4, image_size=16), load_dataset(f"folder:{tmp_path}")
    )
    assert model.input_shape == (3, 16, 16)
    assert model.resize == "imagenet"
    assert torch.equal(model.input_mean.flatten(), IMAGENET_MEAN)
    assert torch.equal(model.input_scale.flatten(), IMAGENET_STD)


def test_a_pretrained_encoder_sees_images_in_its_own_way():
    images = load_dataset("digits", view="image")
    config = Config(encoder="lite0", weights="lite0", freeze="stages:8", dim=4)
    model = build_model(config, images)
    assert model.input_mean.item() == model.input_scale.item() == 127.5
    assert not model.encoder.training
    for optimizer in build_optimizers(config, model):
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert trained == {id(p) for p in (*model.projection.parameters(), *model.fc.parameters())}
