"""What normalises raw inputs: of pixels by channel, of features as the data set has it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hmc_shared.data import ImageTable, load_dataset
from hmc_shared.vision.statistics import IMAGENET_MEAN, IMAGENET_STD, channel_statistics, input_statistics


def test_statistics_are_numpys_and_a_constant_channel_has_deviation_1() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (7, 3, 5, 4), dtype=torch.uint8, generator=generator)
    images[:, 1] = 9
    mean, deviation = channel_statistics(images)
    expected = images.double().numpy().std((0, 2, 3))
    expected[1] = 1
    assert mean.dtype == deviation.dtype == torch.float32
    np.testing.assert_allclose(mean, images.double().numpy().mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(deviation, expected, rtol=1e-6)


def test_small_images_have_those_of_the_training_split() -> None:
    digits = load_dataset("digits", view="image")
    statistics = input_statistics(digits)
    assert statistics is not None
    for one, other in zip(statistics, channel_statistics(digits.train.inputs), strict=True):
        assert torch.equal(one, other)


def test_a_table_of_images_has_those_of_imagenet(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "set" / name / f"{number}.png").write_bytes(encode((5, 6 + number)))
    dataset = load_dataset(f"folder:{tmp_path / 'set'}")
    assert isinstance(dataset.train.inputs, ImageTable)
    assert input_statistics(dataset) == (IMAGENET_MEAN, IMAGENET_STD)
    assert IMAGENET_MEAN.max() < 255 / 2 < IMAGENET_MEAN.sum()  # of values 0 to 255


def test_vectors_have_those_of_the_data_set_in_float64_or_none() -> None:
    digits = load_dataset("digits")
    statistics = input_statistics(digits)
    assert statistics is not None
    assert statistics[0] is digits.feature_mean
    assert statistics[1] is digits.feature_scale
    assert {values.dtype for values in statistics} == {torch.float64}
    assert input_statistics(replace(digits, feature_mean=None, feature_scale=None)) is None
