"""Augmentation in batch: exact shifts, mirror images, rotations."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as images_of

from hcal.augment import augment, sample

IMAGES = torch.randint(1, 256, (5, 3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
PADDING = 2


def moved(images, shifts=(0, 0), flipped=False, degrees=0.0):
    """``augment`` with numbers chosen so that it shifts (down, right), mirrors and turns as said."""
    numbers = torch.empty(len(images), 4)
    numbers[:, :2] = (torch.tensor(shifts) + PADDING + 0.5) / (2 * PADDING + 1)
    numbers[:, 2] = torch.where(torch.tensor(flipped), 0.2, 0.7)
    numbers[:, 3] = (degrees / 180 + 1) / 2
    return augment(images, numbers, padding=PADDING, flip=True, rotation=180.0)


def test_a_shift_moves_every_pixel_and_brings_in_black():
    shifts = [[0, 0], [1, 0], [0, -2], [-2, 1], [2, 2]]
    found = moved(IMAGES, shifts)
    assert found.dtype == torch.uint8
    for image, shifted, (down, right) in zip(IMAGES, found, shifts, strict=True):
        expected = torch.zeros_like(image)
        for row in range(6):
            for column in range(8):
                if 0 <= row - down < 6 and 0 <= column - right < 8:
                    expected[:, row, column] = image[:, row - down, column - right]
        assert torch.equal(shifted, expected)


def test_flipping_twice_gives_the_image_back_and_flips_only_the_chosen():
    chosen = [True, False, True, False, False]
    once = moved(IMAGES, flipped=chosen)
    assert torch.equal(once[0], IMAGES[0].flip(-1))
    assert torch.equal(once[1], IMAGES[1])
    assert torch.equal(moved(once, flipped=chosen), IMAGES)


def test_half_and_quarter_turns_are_exact():
    assert torch.equal(moved(IMAGES, degrees=180.0), IMAGES.flip(-1, -2))
    squares = IMAGES[..., 1:7]
    assert torch.equal(moved(squares, degrees=90.0), squares.rot90(dims=(-2, -1)))
    assert torch.equal(moved(squares, degrees=-90.0), squares.rot90(-1, dims=(-2, -1)))


@pytest.mark.parametrize("degrees", [-15.0, -3.7, 0.0, 8.0, 40.0])
def test_an_image_is_shifted_then_mirrored_then_turned_as_torchvision_does_it(degrees):
    found = moved(IMAGES, [[1, -2]] * 5, True, degrees)
    mirrored = moved(IMAGES, [[1, -2]] * 5).flip(-1)
    assert torch.equal(found, images_of.rotate(mirrored, degrees))


def test_rotations_are_pillows():
    """But for pixels on the verge of two: Pillow calculates in fixed point."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=generator)
    same = []
    for image, degrees in zip(images, torch.linspace(-15, 15, 20).tolist(), strict=True):
        pillow = Image.fromarray(image.permute(1, 2, 0).numpy()).rotate(degrees)
        same.append(moved(image[None], degrees=degrees)[0].permute(1, 2, 0).numpy() == np.asarray(pillow))
    assert np.mean(same) > 0.999


def test_what_an_image_becomes_depends_on_its_own_numbers_alone():
    numbers = sample(5, torch.Generator().manual_seed(3))
    options = {"padding": 2, "flip": True, "rotation": 15.0}
    together = augment(IMAGES, numbers, **options)
    alone = [augment(IMAGES[[i]], numbers[[i]], **options)[0] for i in range(len(IMAGES))]
    assert torch.equal(together, torch.stack(alone))


def test_draws_reach_every_shift_and_half_are_mirrored():
    numbers = sample(4000, torch.Generator().manual_seed(0))
    image = torch.zeros(4000, 1, 5, 5, dtype=torch.uint8)
    image[:, :, 2, 2] = 9
    found = augment(image, numbers, padding=2, flip=False, rotation=0.0)
    counts = found.ne(0).sum(0).flatten()
    assert (counts > 100).all()  # 160 expected at each of 25 places
    assert found.flatten(1).ne(0).sum(1).eq(1).all()
    image[:, :, 2, 2], image[:, :, 2, 1] = 0, 9
    flipped = augment(image, numbers, padding=0, flip=True, rotation=0.0)[:, 0, 2, 3].ne(0)
    assert 0.45 < flipped.float().mean() < 0.55
