"""Sizes of images."""

import numpy as np
import pytest
import torch
from PIL import Image

from hmc_shared.vision.pixels import resize_and_crop, some_images

PICTURE = torch.zeros(3, 40, 80, dtype=torch.uint8)
PICTURE[:, :, 20:60] = 200  # the centre square


def test_images_are_resized_and_cut_at_the_centre() -> None:
    whole = resize_and_crop(PICTURE, (3, 10, 10), "crop")
    assert whole.shape == (3, 10, 10)
    pillows = Image.fromarray(PICTURE[0].numpy()).resize((20, 10), Image.Resampling.BICUBIC)
    assert np.abs(whole.numpy().astype(int) - np.asarray(pillows)[:, 5:15]).max() <= 1
    wider = resize_and_crop(torch.full((3, 57, 33), 7, dtype=torch.uint8), (1, 8, 6), "imagenet")
    assert wider.eq(7).all()
    assert wider.shape == (1, 8, 6)


def test_a_crop_is_the_middle_of_a_larger_picture() -> None:
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[:, 2:30, 2:30] = 200
    assert resize_and_crop(image, (3, 28, 28), "imagenet").eq(200).all()
    assert resize_and_crop(image, (3, 32, 32), "crop").equal(image)


def test_an_image_is_squashed_padded_or_cut() -> None:
    """A picture with a mark in each corner: what is cut off takes its marks along."""
    picture = np.full((60, 120, 3), 90, np.uint8)
    for top in (0, 52):
        for left in (0, 112):
            picture[top : top + 8, left : left + 8] = 250
    image = torch.from_numpy(picture).permute(2, 0, 1)
    squashed, padded, cut = (resize_and_crop(image, (3, 32, 32), way)[0] for way in ("squash", "pad", "crop"))
    expected = np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BICUBIC))[..., 0]
    assert np.abs(squashed.numpy().astype(int) - expected).max() <= 1
    assert all(squashed[y, x] > 200 for y in (0, -1) for x in (0, -1))
    assert not padded[:8].any()
    assert not padded[-8:].any()
    wide = np.asarray(Image.fromarray(picture).resize((32, 16), Image.Resampling.BICUBIC))[..., 0]
    assert np.abs(padded[8:-8].numpy().astype(int) - wide).max() <= 1
    assert cut.eq(90).all()


@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1), (3, 5000), (7, 113)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_strip_is_cut_before_it_is_enlarged(shape: tuple[int, int], channels: int) -> None:
    """Its middle is as if the whole had been enlarged, but the rest is never made."""
    ramp = (torch.arange(max(shape)) - max(shape) // 2 + 100).remainder(200).to(torch.uint8)
    strip = ramp.view(1, -1) if shape[1] > shape[0] else ramp.view(-1, 1)
    image = strip.expand(3, *shape)
    small = (channels, 8, 8)
    cut = resize_and_crop(image, small, "imagenet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hmc_shared.vision.pixels.LONGEST", 10**9)
        whole = resize_and_crop(image, small, "imagenet")
    assert cut.shape == small
    assert (cut.int() - whole.int()).abs().max() <= 3


def test_a_strip_takes_little_memory() -> None:
    tracked = torch.zeros(3, 1, 5_000_000, dtype=torch.uint8)
    assert resize_and_crop(tracked, (3, 224, 224), "imagenet").shape == (3, 224, 224)  # else 760 GB


def test_grey_is_pillows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).convert("L")).astype(int)
    grey = resize_and_crop(torch.from_numpy(pixels).permute(2, 0, 1), (1, 20, 30), "crop")
    assert np.abs(grey[0].numpy() - expected).max() <= 1


def test_some_images_come_from_all_over_and_have_the_shape_of_the_model() -> None:
    small = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 1, 2, 2)
    assert some_images(small, (1, 2, 2), "crop", count=4)[:, 0, 0, 0].tolist() == [0, 3, 6, 9]
    assert len(some_images(small, (1, 2, 2), "crop")) == 10
    pictures = [PICTURE, PICTURE[:, :, 20:60]]  # as a table gives them
    assert some_images(pictures, (3, 8, 8), "crop").shape == (2, 3, 8, 8)  # type: ignore[arg-type]
