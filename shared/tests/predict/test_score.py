"""The logits of a split: in order, in evaluation mode, the same for tensors and for tables of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hmc_shared import Hierarchy
from hmc_shared.data import ImageTable, Split, load_dataset
from hmc_shared.predict.score import IMAGES, map_split, raw_batches, score_split
from hmc_shared.vision.pixels import resize_and_crop

TREE = Hierarchy.from_paths(["a/b", "a/c"])


def split(inputs: torch.Tensor | ImageTable) -> Split:
    ids = tuple(map(str, range(len(inputs))))
    return Split(inputs, torch.zeros(len(ids), len(TREE), dtype=torch.bool), ids)


@pytest.fixture
def table(tmp_path, encode) -> ImageTable:
    """Images of different sizes."""
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(10):
            pixels = np.random.default_rng(number).integers(0, 256, (10 + number, 24 - number, 3), np.uint8)
            (tmp_path / "set" / name / f"{number}.png").write_bytes(encode(pixels))
    inputs = load_dataset(f"folder:{tmp_path / 'set'}").train.inputs
    assert isinstance(inputs, ImageTable)
    return inputs


@pytest.fixture
def image_model(toy):
    torch.manual_seed(0)
    return toy.ImageModel((3, 8, 8), TREE, resize="imagenet")


def test_vectors_are_scored_as_predict_scores_them(toy):
    torch.manual_seed(0)
    model = toy.LinearModel(4, TREE)
    model.input_mean.fill_(2.0)
    raw = torch.randn(20, 4)
    raw[3, 1] = torch.nan
    logits = score_split(model, split(raw))
    assert torch.equal(logits, model.logits_of(raw))
    assert not logits.requires_grad
    assert not model.training


def test_images_of_a_tensor_are_scored_as_predict_scores_them(image_model):
    raw = torch.randint(0, 256, (10, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(score_split(image_model, split(raw)), image_model.logits_of(raw))


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_a_table_are_cut_to_the_size_of_the_model(image_model, table, workers):
    raw = torch.stack([resize_and_crop(table[row], (3, 8, 8), "imagenet") for row in range(len(table))])
    logits = score_split(image_model, split(table), workers)
    assert logits.shape == (len(table), len(TREE))
    assert torch.equal(logits, image_model.logits_of(raw))


def test_batches_are_in_order_and_of_the_size_of_the_model(toy, image_model, table):
    model = toy.LinearModel(3, TREE)
    model.batch_size = 4
    vectors = torch.randn(10, 3)
    parts = list(raw_batches(model, split(vectors)))
    assert [len(part) for part in parts] == [4, 4, 2]
    assert torch.cat(parts).equal(vectors)
    assert [len(part) for part in raw_batches(image_model, split(table))] == [4, 4, 4]
    image_model.batch_size = 1000
    many = table.select(np.zeros(IMAGES + 1, dtype=np.int64))
    assert [len(part) for part in raw_batches(image_model, split(many))] == [IMAGES, 1]


def test_any_function_of_the_raw_inputs_is_mapped(image_model, table):
    assert image_model.training
    means = map_split(lambda raw: raw.float().mean((1, 2, 3)), image_model, split(table))
    expected = [
        resize_and_crop(table[row], (3, 8, 8), "imagenet").float().mean() for row in range(len(table))
    ]
    torch.testing.assert_close(means, torch.stack(expected))
