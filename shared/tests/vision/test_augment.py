"""Random crops."""

import pytest
import torch

from hmc_shared.vision.augment import random_crop

# Each pixel says where it was: red by column, green by row.
COLUMNS = torch.arange(64, dtype=torch.uint8).expand(64, 64) * 4
IMAGE = torch.stack([COLUMNS, COLUMNS.T, torch.zeros_like(COLUMNS)])


def extent(crop: torch.Tensor) -> tuple[float, float]:
    """Width and height of the part, as shares of the image; widths of mirrored parts are negative."""
    red, green = crop[0].float().mean(0), crop[1].float().mean(1)
    return ((red[-1] - red[0]) / 252).item(), ((green[-1] - green[0]) / 252).item()


@pytest.mark.parametrize("min_scale", [0.1, 0.5, 1.0])
def test_a_part_has_at_least_its_share_of_the_area(min_scale: float) -> None:
    torch.manual_seed(0)
    crop = random_crop(32, min_scale=min_scale, flip=False)
    areas = []
    for _ in range(100):
        part = crop(IMAGE)
        assert part.shape == (3, 32, 32)
        assert part.dtype == torch.uint8
        width, height = extent(part)
        areas.append(width * height)
    assert min(areas) > 0.8 * min_scale  # edges are blurred by the interpolation
    assert min(areas) < min_scale + 0.15
    assert max(areas) > 0.8


@pytest.mark.parametrize(("flip", "low", "high"), [(True, 70, 130), (False, 0, 0)])
def test_half_of_them_are_mirrored_if_wanted(flip: bool, low: int, high: int) -> None:
    torch.manual_seed(0)
    crop = random_crop(16, min_scale=0.5, flip=flip)
    extents = [extent(crop(IMAGE)) for _ in range(200)]
    assert low <= sum(width < 0 for width, _ in extents) <= high
    assert all(height > 0 for _, height in extents)


def test_the_random_numbers_are_torchs() -> None:
    crop = random_crop(16, min_scale=0.2, flip=True)
    parts = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        parts.append(crop(IMAGE))
    assert torch.equal(parts[0], parts[1])
    assert not torch.equal(parts[0], parts[2])
