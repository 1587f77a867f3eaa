"""Training: the run folder, honest selection, kill and resume, refusals, two processes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml

from hlstm.baselines import HMCLMLP
from hlstm.build import load_model
from hlstm.config import Config
from hlstm.train import command, train
from hmc_shared.data import load_dataset
from hmc_shared.metrics import au_prc
from hmc_shared.predict.score import score_split
from hmc_shared.runs.log import read_log
from hmc_shared.runs.read import load_run

SMALL = ["--hidden-size", "32", "--num-layers", "1", "--dropout", "0.3", "--learning-rate", "0.005"]


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def small(tmp_path, **options):
    defaults = {"epochs": 3, "hidden_size": 32, "num_layers": 1, "dropout": 0.3, "learning_rate": 0.005}
    return Config(output_dir=str(tmp_path / "run"), **{**defaults, **options})


def launch(folder, *options, launcher=(), **environment):
    command = [sys.executable, *launcher, "-m", "hlstm.train", "--output-dir", str(folder), *SMALL, *options]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def test_a_run_leaves_a_complete_folder(tmp_path, digits):
    results = train(small(tmp_path), digits)
    folder = tmp_path / "run"
    run = load_run(folder)
    assert run.results == json.loads(json.dumps(results))
    assert run.scores.dtype == np.float32
    assert run.scores.shape == run.targets.shape == (len(digits.test), len(digits.hierarchy))
    assert run.hierarchy == digits.hierarchy
    assert tuple(run.ids) == digits.test.ids
    assert results["metrics"]["test/incoherent"] == 0
    assert results["dataset"]["checksum"] == digits.checksum
    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in log] == [0, 1, 2]
    assert results["validation"] == max(record["validation/au_prc"] for record in log)
    assert results["best_epoch"] == 1 + int(np.argmax([record["validation/au_prc"] for record in log]))
    again = Config(**yaml.safe_load((folder / "config.yaml").read_text()))
    assert again == small(tmp_path)


def test_the_saved_model_is_that_of_the_best_epoch(tmp_path, digits):
    results = train(small(tmp_path, epochs=8, learning_rate=0.5, patience=8), digits)
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    scores = [line["validation/au_prc"] for line in log]
    saved = load_model(tmp_path / "run" / "model")
    assert au_prc(score_split(saved, digits.validation), digits.validation.targets) == max(scores)
    assert scores[results["best_epoch"] - 1] == max(scores)
    assert scores[-1] < max(scores), "the last epoch is the best: the test cannot tell them apart"


def test_of_equal_epochs_the_last_is_kept(tmp_path, digits):
    results = train(small(tmp_path, learning_rate=0.0, epochs=3), digits)
    assert results["best_epoch"] == 3


def test_the_average_of_the_weights_is_scored_and_kept(tmp_path, digits):
    """One epoch, so that the average can be told from the weights: both runs take the same steps."""
    raw = train(small(tmp_path / "raw", epochs=1), digits)
    averaged = train(small(tmp_path / "averaged", epochs=1, weight_average=0.9), digits)
    assert raw["metrics"]["test/au_prc"] != averaged["metrics"]["test/au_prc"]
    scores = load_run(tmp_path / "averaged" / "run").scores
    saved = load_model(tmp_path / "averaged" / "run" / "model")
    assert np.array_equal(score_split(saved, digits.test).numpy(), scores)


def test_patience_ends_a_run(tmp_path, digits):
    results = train(small(tmp_path, learning_rate=0.0, epochs=50, patience=2), digits)
    assert results["epochs"] == 3


def test_paper_protocol_keeps_the_last_epoch_and_never_looks_at_validation(tmp_path, digits):
    results = train(small(tmp_path, protocol="paper", epochs=2), digits)
    log = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert results["protocol"] == "paper"
    assert results["best_epoch"] is None
    assert "validation" not in log


def test_the_test_curve_ends_at_the_result_and_changes_nothing(tmp_path, digits):
    options = {"protocol": "paper", "epochs": 2}
    plain = train(small(tmp_path / "plain", **options), digits)
    results = train(small(tmp_path / "curve", test_curve=True, **options), digits)
    curve = [line["test/au_prc"] for line in read_log(tmp_path / "curve" / "run")]
    assert len(curve) == 2
    assert curve[0] != curve[1]
    assert curve[1] == results["metrics"]["test/au_prc"] == plain["metrics"]["test/au_prc"]


def test_levels_in_turn_are_trained_alone_one_after_another(tmp_path, digits, monkeypatch):
    """digits has three levels: in two epochs the first perceptron alone moves, then the next."""
    states, train_level = [], HMCLMLP.train_level

    def and_remember(model, level):
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        train_level(model, level)

    monkeypatch.setattr(HMCLMLP, "train_level", and_remember)
    config = small(tmp_path, method="hmc-lmlp", in_turn=True, epochs=2, weight_decay=0.1, patience=1)
    results = train(config, digits)
    assert config.label == "hmc-lmlp-in-turn"
    states.append(load_model(tmp_path / "run" / "model").state_dict())

    def changed(first, second):
        names = (name for name in states[first] if name.startswith(("encoders", "heads")))
        before, after = states[first], states[second]
        return {name.split(".")[1] for name in names if not torch.equal(before[name], after[name])}

    assert [changed(i, i + 1) for i in range(5)] == [{"0"}, {"0"}, {"1"}, {"1"}, {"2"}]
    assert changed(4, -1) == {"2"}
    log = read_log(tmp_path / "run")
    assert ["validation/au_prc" in line for line in log] == [False] * 4 + [True] * 2
    assert results["best_epoch"] > 4


@pytest.mark.slow
def test_killed_in_mid_epoch_and_resumed_gives_the_same_bits(tmp_path):
    options = ("--epochs", "40", "--patience", "40", "--batch-size", "4", "--checkpoint-every", "2")
    options += ("--weight-average", "0.9")
    straight = launch(tmp_path / "straight", *options)
    killed = launch(tmp_path / "killed", *options)
    log = tmp_path / "killed" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and killed.poll() is None:
        if log.is_file() and log.read_text().count("\n") >= 5:
            break
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "results.json").exists()
    refused = launch(tmp_path / "killed", *options)
    assert "--resume" in refused.communicate()[1]
    assert refused.returncode == 2
    resumed = launch(tmp_path / "killed", *options, "--resume")
    assert resumed.communicate()[1].count("Traceback") == 0
    straight.communicate()
    first, second = load_run(tmp_path / "straight"), load_run(tmp_path / "killed")
    assert np.array_equal(first.scores, second.scores)
    assert first.results["metrics"] == second.results["metrics"]
    epochs = [json.loads(line)["epoch"] for line in log.read_text().splitlines()]
    assert epochs == list(range(len(epochs)))


def test_resume_refuses_other_options(tmp_path, digits):
    train(small(tmp_path, epochs=1), digits)
    with pytest.raises(ValueError, match="hidden_size"):
        train(small(tmp_path, epochs=2, hidden_size=16, resume=True), digits)
    # More epochs are no contradiction, nor is another file with the same options.
    more = small(tmp_path, epochs=2, resume=True, config="copy.yaml")
    assert train(more, digits)["epochs"] == 2


def test_a_run_that_goes_on_has_no_results_until_its_end(tmp_path, digits, monkeypatch):
    train(small(tmp_path, epochs=1), digits)
    with monkeypatch.context() as patch:
        patch.setattr(
            "hmc_shared.runs.folder.RunFolder.log_epoch", Mock(side_effect=RuntimeError("power cut"))
        )
        with pytest.raises(RuntimeError, match="power cut"):
            train(small(tmp_path, epochs=2, resume=True), digits)
    with pytest.raises(ValueError, match=r"results\.json"):
        load_run(tmp_path / "run")
    assert train(small(tmp_path, epochs=2, resume=True), digits)["epochs"] == 2
    assert load_run(tmp_path / "run").results["epochs"] == 2


def test_overwrite_and_resume_touch_a_run_and_nothing_else(tmp_path, digits):
    train(small(tmp_path, epochs=1), digits)
    stray = tmp_path / "run" / "stray"
    stray.touch()
    with pytest.raises(ValueError, match="typo"):  # and a mistake in the options costs no run
        train(small(tmp_path, epochs=1, overwrite=True, dataset="table:typo.csv"))
    assert stray.exists()
    train(small(tmp_path, epochs=1, overwrite=True), digits)
    assert not stray.exists()
    holiday = tmp_path / "photos"
    holiday.mkdir()
    (holiday / "beach.jpg").touch()
    for option in ("overwrite", "resume"):
        with pytest.raises(ValueError, match=r"config\.yaml"):
            train(replace(small(tmp_path), output_dir=str(holiday), **{option: True}), digits)
    assert [file.name for file in holiday.iterdir()] == ["beach.jpg"]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, digits):
    inputs = digits.train.inputs.clone()
    inputs[3, 4] = torch.inf
    broken = replace(digits, train=replace(digits.train, inputs=inputs))
    with pytest.raises(FloatingPointError, match=r"epoch 1.*step.*checkpoint"):
        train(small(tmp_path), broken)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "`--epochs` should be at least 1. Found 0."),
        ({"dropout": 1.0}, r"`--dropout` should lie in \[0, 1\). Found 1.0."),
        ({"learning_rate": float("nan")}, "`--learning-rate` should be finite"),
        ({"in_turn": True}, "`--in-turn` should be left out but with --method hmc-lmlp"),
        ({"test_curve": True}, "`--test-curve` should be left out but with --protocol paper"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)


@pytest.mark.slow
def test_mixed_precision_and_compile_train_and_still_score_in_float32(tmp_path):
    process = launch(tmp_path / "run", "--epochs", "3", "--mixed-precision", "bf16", "--compile")
    output = process.communicate()
    assert process.returncode == 0, output
    run = load_run(tmp_path / "run")
    assert run.results["metrics"]["test/au_prc"] > 0.5
    as_bfloat16 = torch.from_numpy(run.scores).to(torch.bfloat16).float().numpy()
    assert not np.array_equal(run.scores, as_bfloat16)


@pytest.mark.distributed
def test_two_processes_equal_one(tmp_path):
    # Without dropout: each process draws its own mask. A batch of 7 and 1,080 rows leave a short last batch.
    options = ("--epochs", "3", "--dropout", "0", "--batch-size", "7", "--dataset", "digits")
    torchrun = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29517")
    one = launch(tmp_path / "one", *options)
    output = one.communicate()
    assert one.returncode == 0, output
    two = launch(tmp_path / "two", *options, launcher=torchrun, ACCELERATE_USE_CPU="true")
    output = two.communicate()
    assert two.returncode == 0, output
    first, second = load_run(tmp_path / "one"), load_run(tmp_path / "two")
    np.testing.assert_allclose(first.scores, second.scores, rtol=1e-3, atol=1e-3)
    for name, value in first.results["metrics"].items():
        assert second.results["metrics"][name] == pytest.approx(value, abs=3e-3), name


def test_a_tracker_is_given_options_curves_and_metrics(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    train(Config(epochs=2, hidden_size=8, output_dir=str(folder), log_with="tensorboard"))
    events = EventAccumulator(str(folder / "trackers" / "hmc-hlstm")).Reload()
    for name, values in epochs_of(folder).items():
        assert {point.step: point.value for point in events.Scalars(name)} == pytest.approx(values)
    for name, value in metrics_of(folder).items():
        assert [point.value for point in events.Scalars(name)] == pytest.approx([value])
    (file,) = (folder / "trackers").rglob("hparams.yml")
    config = yaml.safe_load(file.read_text())
    assert (config["hidden_size"], config["dataset"], config["epochs"]) == (8, "digits", 2)


def test_trackio_is_given_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # else below the user's cache
    trackio = pytest.importorskip("trackio")
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    folder = tmp_path / "run"
    train(Config(epochs=2, hidden_size=8, output_dir=str(folder), log_with="trackio"))
    (run,) = trackio.Api().runs("hmc-hlstm")
    assert (run.config["hidden_size"], run.config["dataset"]) == (8, "digits")
    logs = storage.get_logs("hmc-hlstm", run.name)
    for name, values in epochs_of(folder).items():
        assert {log["step"]: log[name] for log in logs if name in log} == pytest.approx(values)
    assert {name: logs[-1].get(name) for name in metrics_of(folder)} == pytest.approx(metrics_of(folder))


def epochs_of(folder):
    """Name to epoch to value, as the run folder has them."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    names = [name for name in records[0] if name != "epoch"]
    return {name: {record["epoch"]: record[name] for record in records} for name in names}


def metrics_of(folder):
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    return {name: value for name, value in metrics.items() if value is not None}


def test_a_tracker_that_is_not_installed_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: [])
    for name, words in {"wandb": r"'hmc-shared\[wandb\]'", "comet_ml": "comet-ml"}.items():
        with pytest.raises(ValueError, match=rf"`--log-with {name}` needs its library: pip install {words}$"):
            train(Config(output_dir=str(tmp_path / "run"), log_with=name))


def test_a_rehearsal_tells_sizes_and_leaves_nothing(tmp_path, capsys):
    command(Config(epochs=7, hidden_size=8, batch_size=100, output_dir=str(tmp_path / "run"), dry_run=True))
    out = capsys.readouterr().out
    assert "digits: 1,080 train, 358 validation, 359 test; 64; 16 classes in 3 levels" in out
    assert "11 an epoch of 100 rows, 77 in 7 epochs" in out
    assert f"folder   {tmp_path / 'run'}" in out
    assert not (tmp_path / "run").exists()
