"""Batches of images from worker processes: the same bits, whatever the workers and the batches."""

import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from hmc_shared.data import ImageTable, load_dataset
from hmc_shared.data.image_batches import image_batches
from hmc_shared.data.storage.cache import cached_images

RANDOM = v2.Compose(
    [
        v2.RandomResizedCrop(8, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
        v2.RandomRotation(15),
        v2.ToDtype(torch.float32, scale=True),
    ]
)
PLAIN = v2.Compose([v2.Resize((8, 8), antialias=True), v2.ToDtype(torch.float32, scale=True)])


@pytest.fixture
def table(tmp_path: Path, encode: Callable[..., bytes]) -> ImageTable:
    for name in ("a", "b"):
        (tmp_path / "toy" / name).mkdir(parents=True)
        for number in range(10):
            pixels = np.random.default_rng(number).integers(0, 256, (10 + number, 24 - number, 3), np.uint8)
            (tmp_path / "toy" / name / f"{number}.png").write_bytes(encode(pixels))
    return load_dataset(f"folder:{tmp_path / 'toy'}").train.inputs


def batches(images: ImageTable | Tensor, sizes: list[int], **change: int) -> list[Tensor]:
    """Some rows, one of them twice, in batches of some sizes."""
    rows = torch.tensor([7, 3, 11, 0, 3, 5, 9, 1, 2, 10, 4, 8])[: sum(sizes)]
    options = {"seed": 1, "epoch": 2, "workers": 0} | change
    return list(image_batches(images, rows.split(sizes), RANDOM, **options))


def test_batches_come_in_order(table: ImageTable) -> None:
    order = [torch.tensor([7, 3, 11]), torch.tensor([2]), torch.tensor([0, 7])]
    batches = list(image_batches(table, order, PLAIN, seed=0, epoch=0, workers=2))
    assert [tuple(batch.shape) for batch in batches] == [(3, 3, 8, 8), (1, 3, 8, 8), (2, 3, 8, 8)]
    assert batches[0].dtype == torch.float32
    for row, image in zip([7, 3, 11, 2, 0, 7], torch.cat(batches), strict=True):
        assert image.equal(PLAIN(table[row]))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_and_batches_change_no_bit(table: ImageTable, workers: int) -> None:
    whole = torch.cat(batches(table, [12]))
    for sizes in ([12], [4, 4, 4], [1, 11]):
        assert torch.cat(batches(table, sizes, workers=workers)).equal(whole)
    assert whole[1].equal(whole[4])  # both are row 3


def test_an_image_depends_on_seed_epoch_and_row_alone(table: ImageTable) -> None:
    first, *_ = batches(table, [12])
    assert batches(table, [12], epoch=2)[0].equal(first)
    for change in ({"seed": 2}, {"epoch": 3}, {"seed": 2, "epoch": 1}):
        other, *_ = batches(table, [12], **change)
        assert sum(not a.equal(b) for a, b in zip(first, other, strict=True)) >= 11
    alone = next(image_batches(table, [torch.tensor([11])], RANDOM, seed=1, epoch=2))
    assert alone[0].equal(first[2])
    assert not PLAIN(table[3]).equal(first[1])
    same_picture = torch.zeros(2, 3, 9, 9, dtype=torch.uint8)
    same_picture[:, :, ::2] = 200
    images = next(image_batches(same_picture, [torch.arange(2)], RANDOM, seed=0, epoch=0))
    assert not images[0].equal(images[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_random_state_of_this_process_is_left_alone(table: ImageTable, workers: int) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    expected = torch.rand(3), np.random.rand(3), random.random()
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    for _ in image_batches(
        table, [torch.arange(4), torch.arange(4)], RANDOM, seed=0, epoch=0, workers=workers
    ):
        torch.manual_seed(5)  # random numbers of the loop do not matter
    batches(table, [4, 4], workers=workers)
    numbers = torch.rand(3), np.random.rand(3), random.random()
    assert numbers[0].equal(expected[0])
    assert numbers[1].tolist() == expected[1].tolist()
    assert numbers[2] == expected[2]
    state = torch.get_rng_state()
    batches(table, [4, 4], workers=workers)
    assert torch.get_rng_state().equal(state)


def test_a_tensor_of_images_will_do(table: ImageTable) -> None:
    images = torch.stack([v2.functional.resize(table[row], [12, 12]) for row in range(12)])
    assert torch.cat(batches(images, [12], workers=2)).equal(torch.cat(batches(images, [3, 9])))


def test_workers_end_with_the_loop(table: ImageTable) -> None:
    order = [torch.arange(3)] * 50
    for _ in image_batches(table, order, PLAIN, seed=0, epoch=0, workers=2):
        assert len(multiprocessing.active_children()) == 2
        break
    deadline = time.monotonic() + 20
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_one_line(tmp_path: Path, encode: Callable[..., bytes], workers: int) -> None:
    names = [f"a/{number}.png" for number in range(5)]
    contents = [encode((5, 6))[:-25]] * 5  # as if damaged after the data set was loaded
    images, _ = cached_images("toy 1", tmp_path, names, [], lambda: contents)
    loop = image_batches(images, [torch.arange(3)], PLAIN, seed=0, epoch=0, workers=workers)
    with pytest.raises(ValueError, match=r"^\S+: 'a/\d.png' cannot be decoded: [^\n]+$"):
        next(loop)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_different_shapes_make_no_batch(table: ImageTable, workers: int) -> None:
    loop = image_batches(
        table, [torch.arange(3)], v2.ToDtype(torch.float32), seed=0, epoch=0, workers=workers
    )
    with pytest.raises(ValueError, match=r"^`transform` should give images of one shape. Found \[\(3, "):
        next(loop)
