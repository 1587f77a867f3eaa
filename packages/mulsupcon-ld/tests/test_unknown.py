"""Labels that nobody knows: left out of losses, choices and metrics, or refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from hmc_shared.compare.comparison import compare
from hmc_shared.compare.inspection import inspect
from hmc_shared.data import load_dataset
from hmc_shared.data.batches import Batch
from hmc_shared.partial_labels import without_unknown
from hmc_shared.runs.evaluate import evaluate
from hmc_shared.runs.log import read_log
from hmc_shared.runs.read import VALIDATION, load_predictions, load_run
from mulsupcon_ld.build import classification_loss, contrastive_loss
from mulsupcon_ld.config import Config, EvaluateConfig
from mulsupcon_ld.keys import Keys
from mulsupcon_ld.train import train

IMAGE = {"encoder": "resnet8", "width": 4, "image_size": 8, "flip": False, "workers": 0}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Forty grey squares; bright and dark ones of two classes below one, every fifth cell not sure."""
    root = tmp_path_factory.mktemp("squares")
    lines = ["path,bright,dark,odd,split"]
    for number in range(40):
        value = 6 * number
        Image.fromarray(np.full((8, 8), value, np.uint8)).save(root / f"{number}.png")
        cells = [int(value > 120), int(value <= 120), number % 2]
        if number % 5 == 0:
            cells[number % 3] = -1
        split = ("train", "train", "val", "test")[number // 2 % 4]
        lines.append(",".join(map(str, [f"{number}.png", *cells, split])))
    (root / "edges.csv").write_text("parent,child\nsquare,bright\nsquare,dark\n,odd\n")
    (root / "squares.csv").write_text("\n".join([*lines, ""]))
    return f"labels:{root / 'squares.csv'}"


def config(table, folder, **options):
    return Config(dataset=table, uncertain="unknown", output_dir=str(folder), epochs=1, **IMAGE, **options)


def test_who_may_have_a_class_may_have_its_parent(table):
    dataset = load_dataset(table, uncertain="unknown")
    at = dataset.hierarchy.index
    rows = {row: n for n, row in enumerate(dataset.train.ids)}
    unknown, targets = dataset.train.unknown, dataset.train.targets
    # 0.png: bright is not known, dark it is; 10.png: dark is not known, and it is not bright.
    assert unknown[rows["0.png"], at["bright"]]
    assert targets[rows["0.png"], at["square"]]
    assert not unknown[rows["0.png"], at["square"]]
    assert not (unknown & targets).any()


@pytest.mark.parametrize("loss", ["bce", "asl"])
def test_losses_and_gradients_are_those_of_the_known_entries(loss):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, generator=generator, requires_grad=True)
    labels = torch.rand(6, 5, generator=generator) < 0.3
    unknown = (torch.rand(6, 5, generator=generator) < 0.3) & ~labels
    options = Config(loss=loss)
    masked = classification_loss(options, without_unknown(logits, unknown), labels)
    entries = [
        [
            classification_loss(options, logits[i : i + 1, j : j + 1], labels[i : i + 1, j : j + 1])
            for j in range(5)
        ]
        for i in range(6)
    ]
    expected = torch.stack(
        [
            sum(e for e, u in zip(row, of_row, strict=True) if not u) / 5
            for row, of_row in zip(entries, unknown, strict=True)
        ]
    ).squeeze(1)
    assert torch.allclose(masked, expected)
    masked.sum().backward()
    assert (logits.grad[unknown] == 0).all()
    assert (logits.grad[~unknown] != 0).any()


def test_a_run_keeps_what_is_unknown_and_its_numbers_do_not_count_it(table, tmp_path):
    results = train(config(table, tmp_path / "bce", loss="bce"))
    run = load_run(tmp_path / "bce")
    dataset = load_dataset(table, uncertain="unknown")
    assert np.array_equal(run.unknown, dataset.test.unknown.numpy())
    assert run.unknown.any()
    held_out = load_predictions(tmp_path / "bce" / VALIDATION, run.hierarchy)
    assert np.array_equal(held_out["unknown"], dataset.validation.unknown.numpy())
    assert held_out["scores"].min() > -100  # those of the model, as everywhere
    evaluated = evaluate(EvaluateConfig(str(tmp_path / "bce"), workers=0))
    assert evaluated == pytest.approx(results["metrics"], nan_ok=True)
    compared = compare([tmp_path / "bce"])
    [row] = compared.tables[0].rows
    assert not row.runs[0].notes  # the stored numbers are those that are recomputed
    assert np.isfinite(inspect(compared.tables[0]).ap).any()


@pytest.mark.parametrize("loss", ["any", "mulsupcon", "cld", "rld"])
def test_a_pretraining_is_that_of_the_known_labels(loss):
    """Of five labels the last three are known of no anchor and key: the loss is that of the first two."""
    generator = torch.Generator().manual_seed(0)
    z, embeddings = (F.normalize(torch.randn(n, 4, generator=generator), dim=1) for n in (6, 9))
    embeddings[:6] = z
    key_labels = torch.rand(9, 5, generator=generator) < 0.5
    key_labels[:, 2:] = False
    logits = torch.randn(6, 5, generator=generator, requires_grad=True)
    distributions = torch.randn(9, 5, generator=generator).softmax(1)
    unknown = torch.arange(5).repeat(6, 1) >= 2
    keys = Keys(embeddings, key_labels, distributions)
    own, options = torch.arange(6), Config(loss=loss, alpha=2.0, temperature=0.5)
    batch = Batch(z, key_labels[:6], torch.ones(6), torch.arange(6))
    found = contrastive_loss(options, z, logits, batch, keys, own, 6, unknown)
    absent = contrastive_loss(options, z, logits, batch, keys, own, 6)
    if loss in ("cld", "rld"):  # H has a term for each label that is absent, and none for the unknown
        squares = 2.0 * logits.softmax(1)[:, 2:].square().sum(1)
        torch.testing.assert_close(found, absent - squares)
    else:
        assert torch.equal(found, absent)  # of whichever labels no key shares


@pytest.mark.parametrize("loss", ["cld", "rld", "mulsupcon", "any"])
def test_both_stages_run_on_what_is_known(table, tmp_path, loss):
    options = {"pretrain_epochs": 1, "queue_size": 8, "dim": 8, "batch_size": 8}
    results = train(config(table, tmp_path, loss=loss, **options))
    assert np.isfinite(results["metrics"]["test/map"])
    assert np.isfinite([record["train_loss"] for record in read_log(tmp_path)]).all()


@pytest.mark.parametrize("options", [{"loss": "all"}, {"loss": "bce", "protocol": "paper"}])
def test_what_cannot_leave_them_out_is_refused_by_name(table, tmp_path, options):
    with pytest.raises(ValueError, match=f"--loss {options['loss']} .*cannot leave out labels"):
        train(config(table, tmp_path, **options))
