"""Views: crops and colours are torchvision's, image by image; masks zero what they should."""

import colorsys
import math
import pickle

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop, v2
from torchvision.transforms.v2 import functional as images_of

from mulsupcon_ld.views import (
    COLOUR_NUMBERS,
    CROP_NUMBERS,
    TRIES,
    change_colours,
    crop_small,
    mask,
    random_crops,
    turn_hue,
)

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(256, (6, 3, 12, 12), dtype=torch.uint8, generator=GENERATOR)
SCALE = 0.1


def box_numbers(top, left, height, width, mirror=False, side=12):
    """The numbers that make ``crop_small`` cut this part out of a square image."""
    area, ratio = height * width / side**2, width / height
    place = [top / max(1, side - height), left / max(1, side - width), 0.2 if mirror else 0.7]
    return place + [(area - SCALE) / (1 - SCALE), (math.log(ratio) / math.log(4 / 3) + 1) / 2] * TRIES


def test_crops_are_torchvisions():
    boxes = [(0, 0, 6, 6), (3, 1, 6, 8), (4, 4, 8, 8), (1, 5, 8, 6), (2, 0, 9, 12), (0, 0, 12, 12)]
    drawn = torch.tensor([box_numbers(*box, mirror=box[0] == 3) for box in boxes])
    found = crop_small(IMAGES, drawn, min_scale=SCALE, flip=True)
    assert found.dtype == torch.float32
    for image, part, box in zip(IMAGES, found, boxes, strict=True):
        expected = images_of.resized_crop(image.float(), *box, size=[12, 12], antialias=False)
        if box[0] == 3:
            expected = expected.flip(-1)
        inner = (..., slice(1, -1), slice(1, -1))  # torchvision sees no neighbours outside the part
        torch.testing.assert_close(part[inner], expected[inner], atol=1e-2, rtol=0)
    assert found[-1].round().equal(IMAGES[-1].float())
    unmirrored = crop_small(IMAGES, drawn, min_scale=SCALE, flip=False)
    torch.testing.assert_close(unmirrored[1], found[1].flip(-1), atol=1e-2, rtol=0)


@pytest.mark.parametrize("side", [(32, 32), (24, 40)])
def test_random_parts_are_as_large_as_torchvisions_and_lie_inside(side):
    """Seen by an image whose channels are the row and the column of each pixel."""
    rows, columns = torch.meshgrid(*map(torch.arange, side), indexing="ij")
    image = torch.stack([rows, columns]).float()
    drawn = torch.rand(4000, CROP_NUMBERS, generator=torch.Generator().manual_seed(1))
    found = crop_small(image.expand(4000, -1, -1, -1), drawn, min_scale=0.25, flip=False)
    height = (found[:, 0, 2:-1, 0] - found[:, 0, 1:-2, 0]) * side[0]  # the step from row to row
    width = (found[:, 1, 0, 2:-1] - found[:, 1, 0, 1:-2]) * side[1]
    for sides in (height, width):  # one step everywhere: nothing of the border was repeated
        torch.testing.assert_close(sides.amin(1), sides.amax(1), atol=1e-3, rtol=1e-4)
    height, width = height[:, 0], width[:, 0]
    torch.manual_seed(0)
    large = torch.zeros(1).expand(1, 100 * side[0], 100 * side[1])  # torchvision's sides are whole pixels
    boxes = [RandomResizedCrop.get_params(large, [0.25, 1.0], [3 / 4, 4 / 3])[2:] for _ in range(4000)]
    rows, columns = torch.tensor(boxes).T / 100
    assert ks_2samp(height * width, rows * columns).statistic < 0.04
    assert ks_2samp(width / height, columns / rows).statistic < 0.04


def test_colours_are_torchvisions():
    drawn = torch.rand(6, 6, generator=torch.Generator().manual_seed(2))
    drawn[:, 4:] = 0.5  # changed, not grey
    found = change_colours(IMAGES, drawn)
    strengths = (0.6 + 0.8 * drawn[:, :3]).tolist()
    turns = (0.2 * drawn[:, 3] - 0.1).tolist()
    for image, changed, (brightness, contrast, saturation), turn in zip(
        IMAGES, found, strengths, turns, strict=True
    ):
        expected = images_of.adjust_brightness(image / 255, brightness)
        expected = images_of.adjust_contrast(expected, contrast)
        expected = images_of.adjust_hue(images_of.adjust_saturation(expected, saturation), turn)
        torch.testing.assert_close(changed, 255 * expected, atol=0.2, rtol=0)


def test_of_grey_images_only_brightness_and_contrast_change():
    drawn = torch.rand(6, 6, generator=torch.Generator().manual_seed(3))
    drawn[:, 4:] = 0.1
    found = change_colours(IMAGES[:, :1], drawn)
    for image, changed, numbers in zip(IMAGES[:, :1], found, drawn.tolist(), strict=True):
        expected = images_of.adjust_brightness(image / 255, 0.6 + 0.8 * numbers[0])
        expected = images_of.adjust_contrast(expected, 0.6 + 0.8 * numbers[1])
        torch.testing.assert_close(changed, 255 * expected, atol=1e-3, rtol=0)


def test_four_of_five_images_change_and_one_of_five_is_grey():
    drawn = torch.rand(5000, 6, generator=torch.Generator().manual_seed(4))
    images = IMAGES[0].expand(5000, -1, -1, -1)
    found = change_colours(images, drawn)
    is_grey = (found.amax(1) - found.amin(1)).amax((1, 2)) < 1e-3
    is_same = (found - images).abs().amax((1, 2, 3)) == 0
    assert is_grey.float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert is_same.float().mean().item() == pytest.approx(0.2 * 0.8, abs=0.02)
    luma = np.array([0.299, 0.587, 0.114]) @ IMAGES[0].flatten(1).numpy()
    unchanged_grey = (is_grey & (drawn[:, 4] >= 0.8)).nonzero()[0]
    np.testing.assert_allclose(found[unchanged_grey, 1].flatten(), luma, rtol=1e-5)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.07, 1 / 3])
def test_hue_turns_as_in_colorsys(turn):
    colours = [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9], [255, 255, 0], [0, 255, 255]]
    colours += torch.randint(256, (50, 3), generator=torch.Generator().manual_seed(5)).tolist()
    found = turn_hue(torch.tensor(colours).float().T.view(1, 3, -1, 1), torch.full((1, 1, 1), turn))
    for colour, turned in zip(colours, found[0, :, :, 0].T.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(c / 255 for c in colour))
        expected = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
        assert turned == pytest.approx([255 * c for c in expected], abs=0.01)


def test_what_an_image_becomes_depends_on_its_own_numbers_alone():
    generator = torch.Generator().manual_seed(6)
    place = torch.rand(6, CROP_NUMBERS, generator=generator)
    colour = torch.rand(6, COLOUR_NUMBERS, generator=generator)

    def augment(rows):
        parts = crop_small(IMAGES[rows], place[rows], min_scale=0.2, flip=True)
        return change_colours(parts, colour[rows])

    alone = torch.cat([augment(slice(row, row + 1)) for row in range(6)])
    torch.testing.assert_close(augment(slice(6)), alone, atol=1e-3, rtol=0)


def test_masks_zero_each_number_by_itself():
    drawn = torch.rand(400, 50, generator=torch.Generator().manual_seed(7))
    vectors = torch.randn(400, 50) + 3
    found = mask(vectors, drawn, 0.3)
    kept = found != 0
    assert torch.equal(found[kept], vectors[kept])
    np.testing.assert_allclose(kept.float().mean(0), 0.7, atol=0.1)
    np.testing.assert_allclose(kept.float().mean(1), 0.7, atol=0.25)
    correlation = np.corrcoef(kept.numpy().T) - np.eye(50)
    assert np.abs(correlation).max() < 0.25
    assert torch.equal(mask(vectors, drawn, 0.0), vectors)
    two = torch.rand(2, 400, 50, generator=torch.Generator().manual_seed(8))
    assert torch.equal(mask(vectors, two, 0.3), torch.stack([mask(vectors, one, 0.3) for one in two]))


def test_crops_of_a_tables_images_are_torchvisions_and_go_to_other_processes():
    image = torch.randint(256, (3, 20, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(8))
    crops = pickle.loads(pickle.dumps(random_crops(9, 2, min_scale=0.25, flip=True)))
    torch.manual_seed(0)
    found = crops(image)
    assert found.shape == (2, 3, 9, 9)
    assert found.dtype == torch.uint8
    assert not found[0].equal(found[1])
    torch.manual_seed(0)
    for view in found:
        part = v2.RandomResizedCrop(9, (0.25, 1.0), antialias=True)(image)
        assert view.equal(v2.RandomHorizontalFlip()(part))
    assert random_crops(9, 1, min_scale=1.0, flip=False)(image).shape == (1, 3, 9, 9)
