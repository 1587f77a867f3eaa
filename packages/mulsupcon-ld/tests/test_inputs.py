"""Batches of views: the same for one process and two, for vectors, small images and photographs; scores."""

import numpy as np
import pytest
import torch
from PIL import Image

from hmc_shared import Hierarchy
from hmc_shared.data import ImageTable, batches, load_dataset
from hmc_shared.vision.pixels import resize_and_crop, score_logits
from mulsupcon_ld.config import Config
from mulsupcon_ld.inputs import training_batches
from mulsupcon_ld.model import MulSupCon

LABELS = Hierarchy.from_paths(["a", "b", "c"])
N, BATCH = 9, 4  # the last batch has one row
TARGETS = torch.rand(N, 3, generator=torch.Generator().manual_seed(0)) < 0.5


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (root / "toy" / name).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 256, (12 + number, 20, 3), np.uint8)
            Image.fromarray(pixels).save(root / "toy" / name / f"{number}.png")
    table = load_dataset(f"folder:{root / 'toy'}").train.inputs
    assert isinstance(table, ImageTable)
    return table.select(np.arange(N))


@pytest.fixture(params=["vectors", "small", "photographs"])
def case(request):
    """Inputs and a model that takes them."""
    torch.manual_seed(0)
    if request.param == "vectors":
        return torch.randn(N, 6), MulSupCon(LABELS, (6,), width=8)
    if request.param == "small":
        images = torch.randint(256, (N, 1, 8, 8), dtype=torch.uint8)
        return images, MulSupCon(LABELS, (1, 8, 8), encoder="resnet8", width=4)
    model = MulSupCon(LABELS, (3, 10, 10), encoder="resnet8", width=4, crop=0.875)
    return request.getfixturevalue("photographs"), model


def epoch(inputs, model, number=0, rank=0, world=1, pretraining=True, **options):
    config = Config(batch_size=BATCH, image_size=10, workers=0, **options)
    order = list(batches(N, BATCH, seed=0, epoch=0, rank=rank, world=world))
    generator = torch.Generator()
    stage = {"pretraining": pretraining, "rank": rank, "world": world}
    return list(training_batches(model, inputs, TARGETS, order, config, number, generator, **stage))


def test_two_processes_see_what_one_sees(case):
    whole = epoch(*case)
    parts = [epoch(*case, rank=rank, world=2) for rank in range(2)]
    assert [len(labels) for _, labels, _ in whole] == [4, 4, 2]
    for (views, labels, weights), *own in zip(whole, *parts, strict=True):
        counted = int((weights > 0).sum())
        for place in range(counted):
            part, row = own[place % 2], place // 2
            for view, of_part in zip(views, part[0], strict=True):
                torch.testing.assert_close(of_part[row], view[place], atol=1e-3, rtol=0)
            assert part[1][row].equal(labels[place])
        total = sum(part[2].sum().item() for part in own)
        assert total == pytest.approx(2)  # the mean over processes of the sums is 1
        assert weights.sum().item() == pytest.approx(1)
        assert sum(int((part[2] > 0).sum()) for part in own) == counted


def test_a_batch_of_one_row_gets_a_second_that_does_not_count(case):
    views, labels, weights = epoch(*case)[-1]
    assert weights.tolist() == [1, 0]
    assert labels[0].equal(labels[1])
    model = case[1].train()
    assert all(model(view)[0].isfinite().all() for view in views)  # batch normalisation refuses one row


def test_views_differ_from_each_other_and_by_epoch_and_seed_and_come_again(case):
    first = epoch(*case)
    for (views, labels, _), (again, same, _) in zip(first, epoch(*case), strict=True):
        assert len(views) == 2
        assert not views[0].equal(views[1])
        assert all(map(torch.equal, views, again))
        assert labels.equal(same)
    for change in ({"number": 1}, {"seed": 1}):
        assert not epoch(*case, **change)[0][0][0].equal(first[0][0][0])
    ((view,), _, _), *_ = epoch(*case, pretraining=False)
    assert view.shape == first[0][0][0].shape


def test_rows_come_with_their_labels(case):
    rows = torch.cat([rows for rows, _ in batches(N, BATCH, seed=0, epoch=0)])
    labels = torch.cat([labels for _, labels, _ in epoch(*case)])
    assert labels[:N].equal(TARGETS[rows])


def test_masks_of_the_two_stages():
    """Vectors of ones, so that what is zero was masked."""
    model = MulSupCon(LABELS, (4000,), width=8)
    ones = torch.ones(N, 4000)
    options = {"vector_mask": 0.5, "finetune_mask": 0.2}
    for (first, second), _, _ in epoch(ones, model, **options):
        np.testing.assert_allclose(first.mean(1), 0.5, atol=0.05)
        np.testing.assert_allclose((first * second).mean(1), 0.25, atol=0.05)  # independent of each other
    for (view,), _, _ in epoch(ones, model, pretraining=False, **options):
        np.testing.assert_allclose(view.mean(1), 0.8, atol=0.05)


def test_images_are_normalised_after_all_changes():
    """Of a constant image brightness alone changes, by 0.6 to 1.4 where it does."""
    model = MulSupCon(LABELS, (1, 8, 8), encoder="resnet8", width=4)
    model.input_mean.fill_(100.0)
    model.input_scale.fill_(50.0)
    images = torch.full((N, 1, 8, 8), 150, dtype=torch.uint8)
    values = torch.cat([view.flatten(1) for views, _, _ in epoch(images, model) for view in views])
    assert values.std(1).max() < 1e-4
    values = values.mean(1)
    assert values.min() >= (0.6 * 150 - 100) / 50
    assert values.max() <= (1.4 * 150 - 100) / 50
    assert values.std() > 0.1
    assert ((values - 1).abs() < 1e-4).any()  # not changed


def test_scores_are_those_of_single_rows_at_the_size_of_the_model(case):
    inputs, model = case
    found = score_logits(model.train(), inputs, batch_size=4)
    assert found.shape == (N, 3)
    for row in range(N):
        raw = inputs[row]
        if isinstance(inputs, ImageTable):
            raw = resize_and_crop(raw, model.input_shape, model.crop)
        single = model.logits(model.normalize(raw[None]) if raw.ndim == 3 else raw[None])
        torch.testing.assert_close(found[row], single[0], atol=1e-4, rtol=1e-4)
