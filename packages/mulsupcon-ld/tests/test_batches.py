"""Batches of views: the same for one process and two, for vectors, small images and tables; scores."""

import numpy as np
import pytest
import torch
from PIL import Image

from hmc_shared import Hierarchy
from hmc_shared.data import ImageTable, Split, load_dataset
from hmc_shared.data.batches import batches
from hmc_shared.predict.score import score_split
from hmc_shared.vision.pixels import resize_and_crop
from mulsupcon_ld.batches import training_batches
from mulsupcon_ld.config import Config
from mulsupcon_ld.model import MulSupCon

LABELS = Hierarchy.from_paths(["a", "b", "c"])
N, BATCH = 9, 4  # the last batch has one row
FINETUNING = 100  # an epoch of the second stage
TARGETS = torch.rand(N, 3, generator=torch.Generator().manual_seed(0)) < 0.5


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    root = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (root / "toy" / name).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 256, (12 + number, 20, 3), np.uint8)
            Image.fromarray(pixels).save(root / "toy" / name / f"{number}.png")
    images = load_dataset(f"folder:{root / 'toy'}").train.inputs
    assert isinstance(images, ImageTable)
    return images.select(np.arange(N))


@pytest.fixture(params=["vectors", "small", "table"])
def case(request):
    """Inputs and a model that takes them."""
    torch.manual_seed(0)
    if request.param == "vectors":
        return torch.randn(N, 6), MulSupCon(LABELS, (6,), width=8)
    if request.param == "small":
        images = torch.randint(256, (N, 1, 8, 8), dtype=torch.uint8)
        return images, MulSupCon(LABELS, (1, 8, 8), encoder="resnet8", width=4)
    model = MulSupCon(LABELS, (3, 10, 10), encoder="resnet8", width=4, resize="imagenet")
    return request.getfixturevalue("table"), model


def epoch(inputs, model, number=0, rank=0, world=1, **options):
    config = Config(batch_size=BATCH, image_size=10, workers=0, **options)
    process = {"rank": rank, "world": world}
    return list(training_batches(model, inputs, TARGETS, config, number, 0, torch.Generator(), **process))


def views_by_row(parts):
    """Row number to its views (views, ...)."""
    return {row: batch.inputs[:, i] for batch in parts for i, row in enumerate(batch.rows.tolist())}


def test_two_processes_see_what_one_sees(case):
    whole = epoch(*case)
    parts = [epoch(*case, rank=rank, world=2) for rank in range(2)]
    assert [len(batch.labels) for batch in whole] == [4, 4, 2]
    for batch, *dealt in zip(whole, *parts, strict=True):
        counted = int((batch.weights > 0).sum())
        for place in range(counted):
            part, row = dealt[place % 2], place // 2
            torch.testing.assert_close(part.inputs[:, row], batch.inputs[:, place], atol=1e-3, rtol=0)
            assert part.labels[row].equal(batch.labels[place])
            assert part.rows[row] == batch.rows[place]
        total = sum(part.weights.sum().item() for part in dealt)
        assert total == pytest.approx(2)  # the mean over processes of the sums is 1
        assert batch.weights.sum().item() == pytest.approx(1)
        assert sum(int((part.weights > 0).sum()) for part in dealt) == counted


def test_a_batch_of_one_row_gets_a_second_that_does_not_count(case):
    batch = epoch(*case)[-1]
    assert batch.weights.tolist() == [1, 0]
    assert batch.labels[0].equal(batch.labels[1])
    model = case[1].train()
    assert all(
        model(view)[0].isfinite().all() for view in batch.inputs
    )  # batch normalisation refuses one row


def test_views_differ_from_each_other_and_by_epoch_and_seed_and_come_again(case):
    first = epoch(*case)
    for batch, again in zip(first, epoch(*case), strict=True):
        assert len(batch.inputs) == 2
        assert not batch.inputs[0].equal(batch.inputs[1])
        assert all(map(torch.equal, batch, again))
    before = views_by_row(first)
    assert before.keys() == set(range(N))
    for change in ({"number": 1}, {"seed": 1}):
        after = views_by_row(epoch(*case, **change))
        assert not all(after[row].equal(before[row]) for row in range(N))
    batch, *_ = epoch(*case, FINETUNING)
    assert batch.inputs.shape == (1, *first[0].inputs.shape[1:])


def test_images_have_their_channels_last(case):
    """What convolutions are fastest in, in each view."""
    for number in (0, FINETUNING):
        for view in epoch(*case, number)[0].inputs:
            is_last = view.ndim == 4 and view.is_contiguous(memory_format=torch.channels_last)
            assert is_last == case[1].takes_images


def test_rows_come_with_their_labels(case):
    rows = torch.cat([rows for rows, _ in batches(N, BATCH, seed=0, epoch=0)])
    found = epoch(*case)
    assert torch.cat([batch.rows for batch in found])[:N].equal(rows)
    assert torch.cat([batch.labels for batch in found])[:N].equal(TARGETS[rows])


def test_masks_of_the_two_stages():
    """Vectors of ones, so that what is zero was masked."""
    model = MulSupCon(LABELS, (4000,), width=8)
    ones = torch.ones(N, 4000)
    options = {"vector_mask": 0.5, "finetune_mask": 0.2}
    for batch in epoch(ones, model, **options):
        first, second = batch.inputs
        np.testing.assert_allclose(first.mean(1), 0.5, atol=0.05)
        np.testing.assert_allclose((first * second).mean(1), 0.25, atol=0.05)  # independent of each other
    for batch in epoch(ones, model, FINETUNING, **options):
        np.testing.assert_allclose(batch.inputs[0].mean(1), 0.8, atol=0.05)


def test_a_masked_and_a_missing_feature_are_the_mean():
    model = MulSupCon(LABELS, (400,), width=8)
    model.input_mean.fill_(100.0)
    model.input_scale.fill_(50.0)
    raw = torch.full((N, 400), 150.0)
    raw[:, :100] = torch.nan
    for batch in epoch(raw, model):
        assert batch.inputs[..., :100].unique().tolist() == [0.0]
        assert batch.inputs[..., 100:].unique().tolist() == [0.0, 1.0]


def test_images_are_normalised_after_all_changes():
    """Of a constant image brightness alone changes, by 0.6 to 1.4 where it does."""
    model = MulSupCon(LABELS, (1, 8, 8), encoder="resnet8", width=4)
    model.input_mean.fill_(100.0)
    model.input_scale.fill_(50.0)
    images = torch.full((N, 1, 8, 8), 150, dtype=torch.uint8)
    values = torch.cat([batch.inputs.flatten(0, 1).flatten(1) for batch in epoch(images, model)])
    assert values.std(1).max() < 1e-4
    values = values.mean(1)
    assert values.min() >= (0.6 * 150 - 100) / 50
    assert values.max() <= (1.4 * 150 - 100) / 50
    assert values.std() > 0.1
    assert ((values - 1).abs() < 1e-4).any()  # not changed


def test_scores_are_those_of_single_rows_at_the_size_of_the_model(case, monkeypatch):
    inputs, model = case
    monkeypatch.setattr(MulSupCon, "batch_size", 4)
    found = score_split(model.train(), Split(inputs, TARGETS, tuple(map(str, range(N)))))
    assert found.shape == (N, 3)
    for row in range(N):
        raw = inputs[row]
        if isinstance(inputs, ImageTable):
            raw = resize_and_crop(raw, model.input_shape, model.resize)
        single = model.logits(model.normalize(raw[None]))
        torch.testing.assert_close(found[row], single[0], atol=1e-4, rtol=1e-4)
