"""--protocol refit: validation chooses, then all rows are trained on for as many steps."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hlstm.batches import training_batches
from hlstm.build import load_model
from hlstm.config import Config
from hlstm.train import refit_length, train
from hmc_shared.compare.comparison import find_runs
from hmc_shared.data import load_dataset
from hmc_shared.data.vector_dataset import with_validation_rows
from hmc_shared.runs.log import read_log
from hmc_shared.runs.progress import take_step
from hmc_shared.runs.read import VALIDATION, load_predictions, load_run
from hmc_shared.runs.refit import Selection


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", view="vector")


def small(folder, **options):
    defaults = {"epochs": 4, "hidden_size": 16, "learning_rate": 0.005, "batch_size": 50, "protocol": "refit"}
    return Config(output_dir=str(folder), **defaults | options)


METHODS = pytest.mark.parametrize(
    "method", [{"method": "chmcnn"}, {"method": "hlstm", "members": 2}, {"method": "clus-ens", "trees": 5}]
)


@METHODS
def test_the_part_that_chooses_is_a_run_under_the_default_protocol(tmp_path, digits, method):
    results = train(small(tmp_path / "refit", **method), digits)
    plain = train(small(tmp_path / "plain", **method, protocol="default"), digits)
    chosen = load_run(tmp_path / "refit" / "selection")
    assert np.array_equal(chosen.scores, load_run(tmp_path / "plain").scores)
    assert results["protocol"] == "refit"
    assert results["validation"] == plain["validation"]
    whole = load_run(tmp_path / "refit")
    assert not np.array_equal(whole.scores, chosen.scores)
    held_out = [load_predictions(run.path / VALIDATION, run.hierarchy)["scores"] for run in (whole, chosen)]
    assert np.array_equal(*held_out)
    models = [load_model(tmp_path / "refit" / part) for part in ("model", "selection/model")]
    assert models[0].decision == models[1].decision
    assert torch.equal(models[0].calibration.temperature, models[1].calibration.temperature)


def test_the_statistics_are_those_of_all_rows(digits):
    both = with_validation_rows(digits)
    rows = torch.cat([digits.train.inputs, digits.validation.inputs]).double()
    assert torch.equal(both.train.inputs, rows.float())
    torch.testing.assert_close(both.feature_mean, rows.mean(0))
    constant = rows.amax(0) == rows.amin(0)
    torch.testing.assert_close(both.feature_scale[~constant], rows.std(0, correction=0)[~constant])
    assert both.feature_scale[constant].isinf().all()
    assert both.training_split("refit") is both.train


@METHODS
def test_each_row_is_trained_on_once(tmp_path, digits, method, monkeypatch):
    fitted = []

    def spy(model, inputs, *rest, **processes):
        fitted.append(len(inputs))
        return training_batches(model, inputs, *rest, **processes)

    monkeypatch.setattr("hlstm.train.training_batches", spy)
    train(small(tmp_path / "run", **method), digits)
    if method["method"] == "clus-ens":
        fitted.append(len(load_model(tmp_path / "run" / "model").targets))
    assert fitted[-1] == len(digits.train) + len(digits.validation)


def test_as_many_steps_are_taken_as_were_best(tmp_path, digits, monkeypatch):
    taken = []
    monkeypatch.setattr(
        "hlstm.train.take_step", lambda *arguments: taken.append(arguments[-1]) or take_step(*arguments)
    )
    results = train(small(tmp_path / "run"), digits)
    steps = [taken.count(progress) for progress in dict.fromkeys(taken)]
    an_epoch = math.ceil(len(digits.train) / 50)
    assert steps == [4 * an_epoch, results["best_epoch"] * an_epoch]
    of_all_rows = math.ceil((len(digits.train) + len(digits.validation)) / 50)
    assert results["epochs"] == math.ceil(results["best_epoch"] * an_epoch / of_all_rows)
    assert len(read_log(tmp_path / "run")) == results["epochs"]


@pytest.mark.parametrize(("best", "rows"), [(1, 100), (3, 149), (7, 150), (2, 1000)])
def test_the_last_epoch_ends_with_the_last_step(tmp_path, best, rows):
    configuration = small(tmp_path, batch_size=10)
    selection = Selection(tmp_path, best, None, torch.nn.Identity())
    epochs, last = refit_length(configuration, selection, 100, rows)
    assert (epochs - 1) * math.ceil(rows / 10) + last == best * 10
    assert 0 < last <= math.ceil(rows / 10)
    assert refit_length(configuration, None, 100, rows) == (4, None)


@METHODS
@pytest.mark.parametrize("calls", [1, 3])
def test_a_run_that_is_cut_off_goes_on_and_gives_the_same_bits(tmp_path, digits, monkeypatch, method, calls):
    """Within the part that chooses, or after it."""
    train(small(tmp_path / "straight", **method), digits)
    with monkeypatch.context() as patch:
        patch.setattr("hmc_shared.runs.folder.np.savez_compressed", cut_at(calls, np.savez_compressed))
        with pytest.raises(RuntimeError, match="power cut"):
            train(small(tmp_path / "cut", **method), digits)
    assert find_runs([tmp_path / "cut"])[0] == []  # not what the part that chooses has left
    train(small(tmp_path / "cut", **method, resume=True), digits)
    first, second = load_run(tmp_path / "straight"), load_run(tmp_path / "cut")
    assert np.array_equal(first.scores, second.scores)
    assert first.results["metrics"] == second.results["metrics"]


def test_the_number_of_epochs_among_which_was_chosen_stays(tmp_path, digits):
    train(small(tmp_path, epochs=1), digits)
    with pytest.raises(ValueError, match=r"`--resume` should keep .*`epochs` is 1 there\. Found 2"):
        train(small(tmp_path, epochs=2, resume=True), digits)


def cut_at(call, function):
    """The function, but for that call of it, counted from 1."""
    seen = 0

    def counted(*arguments, **more):
        nonlocal seen
        seen += 1
        if seen == call:
            raise RuntimeError("power cut")
        return function(*arguments, **more)

    return counted


def test_without_the_test_split_it_is_a_trial_on_the_training_rows(tmp_path, digits):
    for protocol in ("refit", "default"):
        train(small(tmp_path / protocol, protocol=protocol, test=False), digits)
    one, two = ((tmp_path / name / "validation.json").read_text() for name in ("refit", "default"))
    assert one.split('"seconds"')[0] == two.split('"seconds"')[0]
    assert not (tmp_path / "refit" / "selection").exists()


def test_validation_labels_count_in_the_end(tmp_path, digits):
    """What is trained on all rows changes with the targets of validation rows, as the choice does not."""
    other = replace(digits.validation, targets=digits.validation.targets.roll(1, 0))
    train(small(tmp_path / "one", epochs=1), digits)
    train(small(tmp_path / "two", epochs=1), replace(digits, validation=other))
    chosen = [load_run(tmp_path / run / "selection").scores for run in ("one", "two")]
    whole = [load_run(tmp_path / run).scores for run in ("one", "two")]
    assert np.array_equal(*chosen)
    assert not np.array_equal(*whole)
