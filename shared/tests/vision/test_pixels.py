"""Statistics and sizes of images."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from hmc_shared.vision.pixels import channel_statistics, evaluation_batches, resize_and_crop, some_images

PHOTOGRAPH = torch.zeros(3, 40, 80, dtype=torch.uint8)
PHOTOGRAPH[:, :, 20:60] = 200  # the centre square


def test_photographs_are_resized_and_cut_at_the_centre() -> None:
    whole = resize_and_crop(PHOTOGRAPH, (3, 10, 10), 1.0)
    assert whole.shape == (3, 10, 10)
    assert whole[:, :, 1:-1].eq(200).all()
    wider = resize_and_crop(torch.full((3, 57, 33), 7, dtype=torch.uint8), (1, 8, 6), 0.875)
    assert wider.eq(7).all()
    assert wider.shape == (1, 8, 6)


def test_grey_is_pillows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).convert("L")).astype(int)
    found = resize_and_crop(torch.from_numpy(pixels).permute(2, 0, 1), (1, 20, 30), 1.0)
    assert np.abs(found[0].numpy() - expected).max() <= 1


def test_statistics_are_numpys_and_a_constant_channel_has_deviation_1() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (7, 3, 5, 4), dtype=torch.uint8, generator=generator)
    images[:, 1] = 9
    mean, deviation = channel_statistics(images)
    expected = images.double().numpy().std((0, 2, 3))
    expected[1] = 1
    np.testing.assert_allclose(mean, images.double().numpy().mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(deviation, expected, rtol=1e-6)


def test_some_images_come_from_all_over_and_have_the_shape_of_the_model() -> None:
    small = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 1, 2, 2)
    assert some_images(small, (1, 2, 2), 1.0, count=4)[:, 0, 0, 0].tolist() == [0, 3, 6, 9]
    assert len(some_images(small, (1, 2, 2), 1.0)) == 10
    photographs = [PHOTOGRAPH, PHOTOGRAPH[:, :, 20:60]]
    assert some_images(photographs, (3, 8, 8), 1.0).shape == (2, 3, 8, 8)


def test_evaluation_batches_are_in_order_and_cut_photographs() -> None:
    vectors = torch.randn(10, 3)
    found = list(evaluation_batches(vectors, (3,), 1.0, batch_size=4, workers=0))
    assert [len(part) for part in found] == [4, 4, 2]
    assert torch.cat(found).equal(vectors)
    photographs: Any = [torch.roll(PHOTOGRAPH, shift, 2) for shift in range(5)]  # as a table gives them
    for workers in (0, 2):
        found = list(evaluation_batches(photographs, (3, 8, 8), 0.875, batch_size=3, workers=workers))
        assert [len(part) for part in found] == [3, 2]
        expected = [resize_and_crop(image, (3, 8, 8), 0.875) for image in photographs]
        assert torch.cat(found).equal(torch.stack(expected))
