"""Augmentation in batch: exact shifts, mirror images, rotations."""

import pytest
import torch
from torchvision.transforms.v2 import functional as images_of

from hcal.augment import augment, draw, rotate, shift_and_flip

IMAGES = torch.randint(1, 256, (5, 3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_shift_moves_every_pixel_and_brings_in_black():
    shift = torch.tensor([[0, 0], [1, 0], [0, -2], [-2, 1], [2, 2]])
    moved = shift_and_flip(IMAGES, shift, torch.zeros(5, dtype=torch.bool), 2)
    assert moved.dtype == torch.uint8
    for image, found, (down, right) in zip(IMAGES, moved, shift.tolist(), strict=True):
        expected = torch.zeros_like(image)
        for row in range(6):
            for column in range(8):
                if 0 <= row - down < 6 and 0 <= column - right < 8:
                    expected[:, row, column] = image[:, row - down, column - right]
        assert torch.equal(found, expected)


def test_flipping_twice_gives_the_image_back_and_flips_only_the_chosen():
    still, chosen = torch.zeros(5, 2, dtype=torch.long), torch.tensor([True, False, True, False, False])
    once = shift_and_flip(IMAGES, still, chosen, 3)
    assert torch.equal(once[0], IMAGES[0].flip(-1))
    assert torch.equal(once[1], IMAGES[1])
    assert torch.equal(shift_and_flip(once, still, chosen, 3), IMAGES)


def test_an_image_is_moved_first_and_mirrored_then():
    shift = torch.tensor([[1, 2]] * 5)
    every, none = torch.ones(5, dtype=torch.bool), torch.zeros(5, dtype=torch.bool)
    moved = shift_and_flip(IMAGES, shift, none, 2)
    assert torch.equal(shift_and_flip(IMAGES, shift, every, 2), moved.flip(-1))


def test_no_rotation_is_the_identity_and_a_half_turn_turns_both_axes():
    torch.testing.assert_close(rotate(IMAGES, torch.zeros(5)), IMAGES.float(), atol=1e-2, rtol=0)
    turned = rotate(IMAGES, torch.full((5,), 180.0))
    torch.testing.assert_close(turned, IMAGES.flip(-1, -2).float(), atol=1e-2, rtol=0)


@pytest.mark.parametrize("degrees", [-15.0, 8.0, 90.0])
def test_rotations_are_torchvisions(degrees):
    found = rotate(IMAGES, torch.full((5,), degrees))
    expected = images_of.rotate(IMAGES.float(), degrees, interpolation=images_of.InterpolationMode.BILINEAR)
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)


def test_what_an_image_becomes_depends_on_its_own_numbers_alone():
    drawn = draw(5, torch.Generator().manual_seed(3))
    options = {"padding": 2, "flip": True, "rotation": 15.0}
    together = augment(IMAGES, drawn, **options)
    alone = [augment(image[None], own[None], **options)[0] for image, own in zip(IMAGES, drawn, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone))
    order = torch.tensor([3, 1, 4, 0, 2])
    assert torch.equal(augment(IMAGES[order], drawn[order], **options), together[order])


def test_draws_reach_every_shift_and_half_are_mirrored():
    drawn = draw(4000, torch.Generator().manual_seed(0))
    image = torch.zeros(4000, 1, 5, 5, dtype=torch.uint8)
    image[:, :, 2, 2] = 9
    found = augment(image, drawn, padding=2, flip=False, rotation=0.0)
    counts = found.ne(0).sum(0).flatten()
    assert (counts > 100).all()  # 160 expected at each of 25 places
    assert found.flatten(1).ne(0).sum(1).eq(1).all()
    image[:, :, 2, 2], image[:, :, 2, 1] = 0, 9
    flipped = augment(image, drawn, padding=0, flip=True, rotation=0.0)[:, 0, 2, 3].ne(0)
    assert 0.45 < flipped.float().mean() < 0.55
