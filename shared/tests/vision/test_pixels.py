"""Sizes of images."""

import numpy as np
import pytest
import torch
from PIL import Image

from hmc_shared.vision.pixels import resize_and_crop, some_images

PICTURE = torch.zeros(3, 40, 80, dtype=torch.uint8)
PICTURE[:, :, 20:60] = 200  # the centre square


def test_images_are_resized_and_cut_at_the_centre() -> None:
    whole = resize_and_crop(PICTURE, (3, 10, 10), 1.0)
    assert whole.shape == (3, 10, 10)
    assert whole[:, :, 1:-1].eq(200).all()
    wider = resize_and_crop(torch.full((3, 57, 33), 7, dtype=torch.uint8), (1, 8, 6), 0.875)
    assert wider.eq(7).all()
    assert wider.shape == (1, 8, 6)


def test_a_crop_is_the_middle_of_a_larger_picture() -> None:
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[:, 2:30, 2:30] = 200
    assert resize_and_crop(image, (3, 28, 28), 0.875).eq(200).all()
    assert resize_and_crop(image, (3, 32, 32), 1.0).equal(image)


@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1), (3, 5000), (7, 113)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_strip_is_cut_before_it_is_enlarged(shape: tuple[int, int], channels: int) -> None:
    """Its middle is as if the whole had been enlarged, but the rest is never made."""
    ramp = (torch.arange(max(shape)) - max(shape) // 2 + 100).remainder(200).to(torch.uint8)
    strip = ramp.view(1, -1) if shape[1] > shape[0] else ramp.view(-1, 1)
    image = strip.expand(3, *shape)
    small = (channels, 8, 8)
    cut = resize_and_crop(image, small, 0.875)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hmc_shared.vision.pixels.LONGEST", 10**9)
        whole = resize_and_crop(image, small, 0.875)
    assert cut.shape == small
    assert (cut.int() - whole.int()).abs().max() <= 3


def test_a_strip_takes_little_memory() -> None:
    tracked = torch.zeros(3, 1, 5_000_000, dtype=torch.uint8)
    assert resize_and_crop(tracked, (3, 224, 224), 0.875).shape == (3, 224, 224)  # else 760 GB


def test_grey_is_pillows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).convert("L")).astype(int)
    grey = resize_and_crop(torch.from_numpy(pixels).permute(2, 0, 1), (1, 20, 30), 1.0)
    assert np.abs(grey[0].numpy() - expected).max() <= 1


def test_some_images_come_from_all_over_and_have_the_shape_of_the_model() -> None:
    small = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 1, 2, 2)
    assert some_images(small, (1, 2, 2), 1.0, count=4)[:, 0, 0, 0].tolist() == [0, 3, 6, 9]
    assert len(some_images(small, (1, 2, 2), 1.0)) == 10
    pictures = [PICTURE, PICTURE[:, :, 20:60]]  # as a table gives them
    assert some_images(pictures, (3, 8, 8), 1.0).shape == (2, 3, 8, 8)  # type: ignore[arg-type]
