"""Training: both stages, the run folder, honest selection, kill and resume, refusals, two processes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from hmc_shared import Hierarchy
from hmc_shared.cli.parse import to_yaml
from hmc_shared.data import HierarchicalDataset, Split, load_dataset
from hmc_shared.predict.decision import load_decision
from hmc_shared.runs.evaluate import evaluate
from hmc_shared.runs.read import load_run
from mulsupcon_ld.build import load_model
from mulsupcon_ld.config import SUPERVISED, Config, EvaluateConfig, Loss
from mulsupcon_ld.model import MulSupCon
from mulsupcon_ld.published_metrics import published_metrics
from mulsupcon_ld.schedule import build_optimizers, set_step_sizes, step_factor
from mulsupcon_ld.train import train


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def small(tmp_path, **options):
    defaults = {"pretrain_epochs": 2, "epochs": 3, "width": 32, "dim": 16, "queue_size": 200, "flip": False}
    defaults |= {"batch_size": 128, "pretrain_learning_rate": 1e-3, "alpha": 1.0, "beta": 0.01}
    return Config(output_dir=str(tmp_path / "run"), **{**defaults, **options})


def launch(config, folder, *options, launcher=(), **environment):
    """The same options in a process of its own, with another run folder."""
    file = folder.with_suffix(".yaml")
    file.write_text(to_yaml(replace(config, output_dir=str(folder))))
    command = [sys.executable, *launcher, "-m", "mulsupcon_ld.train", "--config", str(file), *options]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def log_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def toy(n=17):
    """Rows of five labels, or of none; the last batch of 17 has one row."""
    rng = np.random.default_rng(0)
    targets = torch.from_numpy(rng.random((n, 5)) < 0.4)
    targets[3] = False
    inputs = 3 * targets.float() + torch.from_numpy(rng.normal(size=(n, 5))).float()
    split = Split(inputs, targets, tuple(map(str, range(n))))
    flat = Hierarchy.from_edges([], nodes="abcde")
    return HierarchicalDataset("toy", flat, torch.ones(5, dtype=torch.bool), "vector", split, split, split)


def test_a_run_leaves_a_complete_folder(tmp_path, digits):
    results = train(small(tmp_path), digits)
    folder = tmp_path / "run"
    run = load_run(folder)
    assert run.results == json.loads(json.dumps(results))
    assert run.scores.dtype == np.float32
    assert run.scores.shape == run.targets.shape == (len(digits.test), len(digits.hierarchy))
    assert tuple(run.ids) == digits.test.ids
    assert results["dataset"]["checksum"] == digits.checksum
    log = log_of(folder)
    assert [(record["epoch"], record["stage"]) for record in log] == [
        *((epoch, "pre-training") for epoch in (0, 1)),
        *((epoch, "fine-tuning") for epoch in (2, 3, 4)),
    ]
    found = [record.get("validation/map", -1) for record in log]
    assert found[:2] == [-1, -1]
    assert results["validation"] == max(found)
    assert results["best_epoch"] == 5 - int(np.argmax(found[::-1]))  # of equal ones, the last
    again = Config(**yaml.safe_load((folder / "config.yaml").read_text()))
    assert again == small(tmp_path)


@pytest.mark.parametrize("loss", get_args(Loss))
def test_every_loss_learns(tmp_path, digits, loss):
    options = {"pretrain_epochs": 5, "pretrain_learning_rate": 5e-3, "epochs": 5, "learning_rate": 1e-2}
    results = train(small(tmp_path, loss=loss, **options), digits)
    log = log_of(tmp_path / "run")
    assert len(log) == (5 if loss in SUPERVISED else 10)
    assert (tmp_path / "run" / "pretrained").is_dir() == (loss not in SUPERVISED)
    chance = digits.test.targets.float().mean()  # mAP of random scores
    assert results["metrics"]["test/map"] > 0.3 + chance
    assert log[-1]["train_loss"] < 0.8 * log[-5]["train_loss"]
    if loss in ("any", "all", "mulsupcon"):  # the queue is full after the first epoch
        assert log[4]["train_loss"] < log[1]["train_loss"]
    if loss in ("cld", "rld"):
        model = load_model(tmp_path / "run" / "pretrained")
        distributions = model.distributions(digits.test.inputs)
        on_labels = (distributions * digits.test.targets).sum(1).mean()
        assert on_labels > 0.3 + chance


def test_the_start_is_the_same_for_every_loss(tmp_path, digits):
    scores = []
    for loss in ("bce", "cld"):
        train(small(tmp_path / loss, loss=loss, pretrain_epochs=0, epochs=1), digits)
        scores.append(load_run(tmp_path / loss / "run").scores)
    assert np.array_equal(*scores)


@pytest.mark.parametrize(
    "options",
    [
        {"queue_size": 0},
        {"loss": "rld"},
        {"loss": "rld", "sigma": 0.5},
        {"loss": "all", "projection": "linear"},
        {"loss": "mulsupcon", "queue_size": 5},
    ],
    ids=lambda options: "-".join(f"{name}={value}" for name, value in options.items()),
)
def test_every_option_takes_short_batches_and_samples_without_labels(tmp_path, options):
    defaults = {"dataset": "toy", "batch_size": 8, "epochs": 20, "learning_rate": 5e-3, "finetune_mask": 0.0}
    results = train(small(tmp_path, **{**defaults, **options}), toy())
    assert results["metrics"]["test/map"] > 0.8
    assert all(np.isfinite(record["train_loss"]) for record in log_of(tmp_path / "run"))


def test_patience_ends_the_fine_tuning_and_the_best_epoch_is_saved(tmp_path, digits):
    # Step sizes so large that scores go up and down.
    results = train(small(tmp_path, loss="bce", epochs=50, learning_rate=0.5, patience=2), digits)
    scores = [record["validation/map"] for record in log_of(tmp_path / "run")]
    assert results["epochs"] == len(scores) < 50
    assert max(scores[-2:]) <= max(scores[:-2]) == results["validation"]
    found = evaluate(EvaluateConfig(str(tmp_path / "run"), split="validation"))
    assert found["validation/map"] == pytest.approx(max(scores), abs=1e-9)


def test_paper_protocol_trains_on_all_keeps_the_last_epoch_and_adds_the_published_metrics(tmp_path, digits):
    results = train(small(tmp_path, protocol="paper"), digits)
    run = load_run(tmp_path / "run")
    assert results["protocol"] == "paper"
    assert results["best_epoch"] is None
    assert "validation" not in (tmp_path / "run" / "metrics.jsonl").read_text()
    probabilities = torch.from_numpy(run.scores).sigmoid().numpy()
    assert results["published_metrics"] == published_metrics(probabilities, run.targets)
    assert results["published_metrics"]["map"] == pytest.approx(results["metrics"]["test/map"], abs=1e-4)
    assert run.threshold == 0
    assert load_decision(tmp_path / "run" / "model").threshold is None  # none was chosen
    # The same rows, given as the training split.
    both = [digits.train, digits.validation]
    rows = Split(
        torch.cat([split.inputs for split in both]),
        torch.cat([split.targets for split in both]),
        digits.train.ids + digits.validation.ids,
    )
    none = Split(rows.inputs[:0], rows.targets[:0], ())
    train(small(tmp_path / "all", protocol="paper"), replace(digits, train=rows, validation=none))
    assert np.array_equal(load_run(tmp_path / "all" / "run").scores, run.scores)


def test_published_metrics_without_any_positive_are_null(tmp_path):
    dataset = toy()
    none = replace(dataset.test, targets=torch.zeros_like(dataset.test.targets))
    train(small(tmp_path, epochs=1, protocol="paper"), replace(dataset, test=none))
    text = (tmp_path / "run" / "results.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["published_metrics"]["map"] is None  # NaN is no JSON


def test_the_default_protocol_has_no_published_metrics(tmp_path):
    assert train(small(tmp_path, epochs=1), toy())["published_metrics"] == {}


def test_without_validation_labels_the_last_epoch_is_kept_and_nothing_is_nan(tmp_path, digits):
    blank = replace(digits.validation, targets=torch.zeros_like(digits.validation.targets))
    config = small(tmp_path, loss="bce")
    results = train(config, replace(digits, validation=blank))
    assert (results["best_epoch"], results["validation"], results["epochs"]) == (None, None, 3)
    for name in ("results.json", "metrics.jsonl"):
        assert "NaN" not in (config.run_folder / name).read_text()


def test_labels_of_classes_that_are_not_evaluated_teach_nothing(tmp_path, digits):
    evaluated = digits.evaluated.clone()
    evaluated[:2] = False  # both roots: with their labels, every key would be a positive
    targets = digits.train.targets.clone()
    targets[:, :2] = ~targets[:, :2]
    found = []
    for split in (digits.train, replace(digits.train, targets=targets)):
        dataset = replace(digits, train=split, evaluated=evaluated)
        config = small(tmp_path / str(len(found)))
        train(config, dataset)
        found.append(load_run(config.run_folder).scores)
    np.testing.assert_array_equal(*found)


def kill_after(process, log, lines):
    """SIGKILL in the epoch that follows so many finished ones."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if log.is_file() and log.read_text().count("\n") >= lines:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_killed_in_both_stages_and_resumed_gives_the_same_bits(tmp_path, digits):
    config = small(tmp_path, pretrain_epochs=9, epochs=25, checkpoint_every=2, dataset="digits")
    folder = tmp_path / "killed"
    log = folder / "metrics.jsonl"
    kill_after(launch(config, folder), log, 3)
    assert len(log_of(folder)) < 9
    kill_after(launch(config, folder, "--resume"), log, 9 + 3)
    assert not (folder / "results.json").exists()
    assert log_of(folder)[-1]["stage"] == "fine-tuning"
    again = replace(config, output_dir=str(folder), config=str(tmp_path / "killed.yaml"))
    with pytest.raises(ValueError, match="--resume"):
        train(again, digits)
    train(replace(again, resume=True), digits)
    train(config, digits)
    first, second = load_run(tmp_path / "run"), load_run(folder)
    assert np.array_equal(first.scores, second.scores)
    assert first.threshold == second.threshold
    assert first.results["metrics"] == second.results["metrics"]
    for ours, theirs in zip(log_of(tmp_path / "run"), log_of(folder), strict=True):
        assert ours | {"seconds": 0} == theirs | {"seconds": 0}
    ours, theirs = (last_state(path) for path in (tmp_path / "run", folder))
    assert ours.keys() == theirs.keys()
    assert {"queue.embeddings", "queue.labels", "queue.distributions", "key.fc.weight"} <= ours.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
    pretrained = [(path / "pretrained" / "model.safetensors").read_bytes() for path in (first.path, folder)]
    assert pretrained[0] == pretrained[1]


def last_state(folder):
    """Key network and queue of the last checkpoint."""
    (checkpoint,) = (folder / "checkpoints").glob("epoch-*")
    content = torch.load(checkpoint / "keys.pt", weights_only=True)
    parts = {"0": "key", "1": "queue"}
    return {f"{parts[name[0]]}{name[1:]}": value for name, value in content.items()}


def test_resume_refuses_other_options(tmp_path, digits):
    train(small(tmp_path, epochs=1), digits)
    with pytest.raises(ValueError, match="dim"):
        train(small(tmp_path, epochs=1, dim=8, resume=True), digits)
    # More epochs are no contradiction, nor is another file with the same options.
    more = small(tmp_path, epochs=2, resume=True, config="copy.yaml")
    assert train(more, digits)["epochs"] == 4


@pytest.mark.parametrize("loss", ["cld", "bce"])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, digits, loss):
    steps = {"learning_rate": 1e38, "pretrain_learning_rate": 1e38}  # the weights overflow
    with pytest.raises(
        FloatingPointError, match=r"loss is nan in epoch 1, step \d+\. Try .*; the last checkpoint is none"
    ):
        train(small(tmp_path, loss=loss, **steps), digits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, r"`--epochs` should be at least 1\. Found 0\."),
        ({"pretrain_epochs": -1}, r"`--pretrain-epochs` should be finite and not negative\. Found -1\."),
        ({"temperature": 0.0}, r"`--temperature` should be finite and above 0\. Found 0\.0\."),
        ({"sigma": 0.0}, r"`--sigma` should be finite and above 0"),
        ({"learning_rate": float("nan")}, r"`--learning-rate` should be finite"),
        ({"momentum": 1.5}, r"`--momentum` should lie in \[0, 1\]\. Found 1\.5\."),
        ({"vector_mask": 1.0}, r"`--vector-mask` should lie in \[0, 1\)\. Found 1\.0\."),
        ({"queue_size": -1}, r"`--queue-size` should be finite and not negative"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)


def test_step_sizes_are_those_of_warm_restarts():
    config = Config(pretrain_epochs=40, epochs=30, pretrain_restart=5, restart=7, minimum_rate=1e-4)
    for first, epochs, (highest, lowest, restart) in (
        (0, 40, (config.pretrain_learning_rate, config.pretrain_minimum_rate, 5)),
        (40, 30, (config.learning_rate, config.minimum_rate, 7)),
    ):
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=highest)
        schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
            optimizer, restart, T_mult=2, eta_min=lowest
        )
        for epoch in range(first, first + epochs):
            assert highest * step_factor(config, epoch) == pytest.approx(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()


def test_step_sizes_are_set_anew_in_each_epoch():
    config = Config(pretrain_epochs=4, restart=3, learning_rate=0.1, layer_decay=0.5, width=8, dim=4)
    model = MulSupCon(Hierarchy.from_edges([], nodes="ab"), (6,), width=8, dim=4)
    pretraining, finetuning = build_optimizers(config, model)
    for epoch in (5, 4, 6, 4):
        set_step_sizes(finetuning, config, epoch, 0.5)
        factor = step_factor(config, epoch)
        sizes = [group["lr"] for group in finetuning.param_groups]
        assert sizes == [pytest.approx(0.05 * factor), pytest.approx(0.1 * factor)]
    set_step_sizes(pretraining, config, 0, 0.5)
    assert pretraining.param_groups[-1]["lr"] == config.pretrain_learning_rate


def test_images_train_end_to_end(tmp_path):
    images = load_dataset("digits", view="image")
    options = {"encoder": "resnet8", "width": 4, "learning_rate": 5e-3, "epochs": 4}
    assert train(small(tmp_path, **options), images)["metrics"]["test/map"] > 0.4


def test_images_of_a_table_are_read_in_workers(tmp_path):
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 200)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for row in range(15):
            pixels = rng.integers(low, low + 50, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{row}.png")
    dataset = load_dataset(f"folder:{tmp_path / 'images'}")
    options = {"encoder": "resnet8", "width": 4, "image_size": 16, "batch_size": 8, "workers": 1}
    results = [train(small(tmp_path / str(i), **options), dataset) for i in range(2)]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert all(np.isfinite(record["train_loss"]) for record in log_of(tmp_path / "0" / "run"))


@pytest.mark.slow
def test_mixed_precision_and_compile_train_and_still_score_in_float32(tmp_path):
    # All rows in one batch, so that there is one shape to compile for.
    options = {"mixed_precision": "bf16", "compile": True, "batch_size": 2000, "learning_rate": 1e-2}
    process = launch(small(tmp_path, dataset="digits", epochs=25, **options), tmp_path / "run")
    output = process.communicate()
    assert process.returncode == 0, output
    run = load_run(tmp_path / "run")
    assert run.results["metrics"]["test/map"] > 0.4
    as_bfloat16 = torch.from_numpy(run.scores).to(torch.bfloat16).float().numpy()
    assert not np.array_equal(run.scores, as_bfloat16)


@pytest.mark.distributed
@pytest.mark.parametrize("loss", ["cld", "rld"])
def test_two_processes_equal_one(tmp_path, loss):
    # Without batch normalisation and dropout, which are per process. The last of the batches is short.
    options = {"projection": "linear", "dropout": 0.0, "batch_size": 77}
    config = small(tmp_path, loss=loss, dataset="digits", **options)
    torchrun = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29527")
    two = launch(config, tmp_path / "two", launcher=torchrun, ACCELERATE_USE_CPU="true")
    output = two.communicate()
    assert two.returncode == 0, output
    train(config)
    for ours, theirs in zip(log_of(tmp_path / "run"), log_of(tmp_path / "two"), strict=True):
        for name in ours.keys() - {"seconds", "stage"}:
            assert theirs[name] == pytest.approx(ours[name], abs=1e-5), name
    first, second = load_run(tmp_path / "run"), load_run(tmp_path / "two")
    for name, value in first.results["metrics"].items():
        assert second.results["metrics"][name] == pytest.approx(value, abs=1e-5), name
    ours, theirs = (last_state(path) for path in (first.path, second.path))
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-3, atol=1e-5, msg=name)
