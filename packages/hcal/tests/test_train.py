"""Training: the run folder, honest selection, kill and resume, refusals, two processes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from sklearn.utils.class_weight import compute_sample_weight

from hcal.config import Config, EvaluateConfig
from hcal.train import train
from hmc_shared import Hierarchy
from hmc_shared.cli.parse import to_yaml
from hmc_shared.data import HierarchicalDataset, Split, load_dataset
from hmc_shared.runs.evaluate import evaluate
from hmc_shared.runs.read import load_run


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", view="image")


def small(tmp_path, **options):
    defaults = {"epochs": 3, "encoder": "resnet8", "width": 4, "dim": 16, "crop_padding": 1, "rotation": 10.0}
    return Config(output_dir=str(tmp_path / "run"), **{**defaults, **options})


def launch(config, folder, *options, launcher=(), **environment):
    """The same options in a process of its own, with another run folder."""
    file = folder.with_suffix(".yaml")
    file.write_text(to_yaml(replace(config, output_dir=str(folder))))
    command = [sys.executable, *launcher, "-m", "hcal.train", "--config", str(file), *options]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def log_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_a_complete_folder(tmp_path, digits):
    results = train(small(tmp_path, flip=False), digits)
    folder = tmp_path / "run"
    run = load_run(folder)
    assert run.results == json.loads(json.dumps(results))
    assert run.scores.dtype == np.float32
    assert run.scores.shape == run.targets.shape == (len(digits.test), len(digits.hierarchy))
    assert tuple(run.ids) == digits.test.ids
    assert results["dataset"]["checksum"] == digits.checksum
    log = log_of(folder)
    assert [record["epoch"] for record in log] == [0, 1, 2]
    leaf = [record["validation/accuracy_leaf"] for record in log]
    assert results["validation"] == max(leaf)
    assert results["best_epoch"] == 3 - int(np.argmax(leaf[::-1]))  # of equal ones, the last
    assert 0 <= log[0]["validation/hvr"] <= 1
    assert {f"validation/accuracy_level_{depth}" for depth in range(3)} <= log[0].keys()
    for record in log:
        assert sum(record[f"weight_level_{depth}"] for depth in range(3)) == pytest.approx(1)
    again = Config(**yaml.safe_load((folder / "config.yaml").read_text()))
    assert again == small(tmp_path, flip=False)


def test_a_level_without_a_known_label_adds_no_loss(tmp_path, digits):
    """Unknown below the end of a path, or beside a class that is known: as a path that ends there."""

    def ended(split):
        targets = split.targets.clone()
        targets[::2, digits.hierarchy.leaves] = False
        return replace(split, targets=targets)

    def with_unknown(split):
        unknown = torch.zeros_like(split.targets)
        unknown[:, digits.hierarchy.leaves] = ~split.targets[:, digits.hierarchy.leaves]
        return replace(split, unknown=unknown)

    splits = {name: ended(split) for name, split in digits.splits.items()}
    shorter = replace(digits, **splits)
    unsure = replace(digits, **{name: with_unknown(split) for name, split in splits.items()})
    train(small(tmp_path / "shorter", epochs=1), shorter)
    train(small(tmp_path / "unknown", epochs=1), unsure)
    first, second = (load_run(tmp_path / name / "run") for name in ("shorter", "unknown"))
    assert np.array_equal(first.scores, second.scores)
    assert second.threshold == 0  # the best of each level, as ever: no threshold is chosen
    assert np.array_equal(second.unknown, unsure.test.unknown.numpy())


def test_decoding_of_whole_paths_never_breaks_the_hierarchy(tmp_path, digits):
    metrics = train(small(tmp_path, decode="path"), digits)["metrics"]
    by_leaf = evaluate(EvaluateConfig(str(tmp_path / "run"), decode="leaf"))
    for found in (metrics, by_leaf):
        assert found["test/hvr"] == 0
        assert found["test/incoherent"] == 0
    best = evaluate(EvaluateConfig(str(tmp_path / "run"), decode="independent"))
    assert by_leaf["test/accuracy_leaf"] == best["test/accuracy_leaf"]  # all leaves are in the last level
    assert metrics["test/accuracy_leaf"] == metrics["test/accuracy_level_2"]


@pytest.mark.parametrize(
    "options",
    [
        {"method": "flat"},
        {"aggregation": False},
        {"epsilon": 0.0, "weighting": "fixed"},
        {"task": "single"},
        {"equations": "printed"},
    ],
    ids=lambda options: "-".join(f"{name}={value}" for name, value in options.items()),
)
def test_every_method_and_row_of_the_ablation_learns(tmp_path, digits, options):
    train(small(tmp_path, flip=False, epochs=4, batch_size=16, **options), digits)
    losses = [record["train_loss"] for record in log_of(tmp_path / "run")]
    assert losses[-1] < 0.7 * losses[0]
    assert log_of(tmp_path / "run")[-1]["validation/accuracy_leaf"] > 0.5


def test_weights_of_another_weighting(tmp_path, digits):
    train(small(tmp_path, epochs=1, weighting="fixed"), digits)
    record = log_of(tmp_path / "run")[0]
    assert [record[f"weight_level_{depth}"] for depth in range(3)] == pytest.approx([1 / 3] * 3)
    assert record["train_loss"] == pytest.approx(
        sum(record[f"loss_level_{d}"] for d in range(3)) / 3, rel=1e-4
    )


def test_the_saved_model_is_that_of_the_best_epoch(tmp_path, digits):
    # Step sizes so large that the last epochs are not the best.
    results = train(small(tmp_path, epochs=6, schedule="none", learning_rate=2.0), digits)
    leaf = [record["validation/accuracy_leaf"] for record in log_of(tmp_path / "run")]

    found = evaluate(EvaluateConfig(str(tmp_path / "run"), split="validation"))
    assert found["validation/accuracy_leaf"] == results["validation"] == max(leaf)


def test_paper_protocol_keeps_the_last_epoch_and_never_looks_at_validation(tmp_path, digits):
    results = train(small(tmp_path, protocol="paper", epochs=2), digits)
    assert results["protocol"] == "paper"
    assert results["best_epoch"] is None
    assert "validation" not in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_validation_rows_can_stay_out_of_the_papers_training(tmp_path, digits):
    fewer = replace(digits, validation=digits.validation.select(np.arange(5)))
    scores = []
    for rows, dataset in ((False, digits), (False, fewer), (True, digits)):
        folder = tmp_path / str(len(scores))
        train(small(folder, protocol="paper", epochs=1, encoder="mlp", validation_rows=rows), dataset)
        scores.append(load_run(folder / "run").scores)
    assert np.array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def test_a_seed_may_be_any_that_numpy_takes(tmp_path, digits):
    assert train(small(tmp_path, epochs=1, seed=2**32 - 1), digits)["seed"] == 2**32 - 1


def test_killed_in_mid_epoch_and_resumed_gives_the_same_bits(tmp_path, digits):
    config = small(tmp_path, epochs=20, checkpoint_every=2)
    killed = launch(config, tmp_path / "killed")
    log = tmp_path / "killed" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and killed.poll() is None:
        if log.is_file() and log.read_text().count("\n") >= 3:
            break
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "results.json").exists()
    again = replace(config, output_dir=str(tmp_path / "killed"), config=str(tmp_path / "killed.yaml"))
    with pytest.raises(ValueError, match="--resume"):
        train(again, digits)
    train(replace(again, resume=True), digits)
    train(config, digits)
    first, second = load_run(tmp_path / "run"), load_run(tmp_path / "killed")
    assert np.array_equal(first.scores, second.scores)
    assert first.results["metrics"] == second.results["metrics"]
    for ours, theirs in zip(log_of(tmp_path / "run"), log_of(tmp_path / "killed"), strict=True):
        assert ours | {"seconds": 0} == theirs | {"seconds": 0}


def test_resume_refuses_other_options(tmp_path, digits):
    train(small(tmp_path, epochs=1), digits)
    with pytest.raises(ValueError, match="dim"):
        train(small(tmp_path, epochs=1, dim=8, resume=True), digits)
    with pytest.raises(ValueError, match="epochs"):  # a cosine over more epochs is another one
        train(small(tmp_path, epochs=2, resume=True), digits)
    constant = small(tmp_path, epochs=1, schedule="none", overwrite=True)
    train(constant, digits)
    more = replace(constant, epochs=2, overwrite=False, resume=True, config="copy.yaml")
    assert train(more, digits)["epochs"] == 2


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    vectors = load_dataset("digits")
    inputs = vectors.train.inputs.clone()
    inputs[3, 4] = torch.inf
    broken = replace(vectors, train=replace(vectors.train, inputs=inputs))
    with pytest.raises(FloatingPointError, match=r"epoch 1.*step.*checkpoint"):
        train(small(tmp_path, encoder="mlp"), broken)


def test_an_unbalanced_tree_with_a_last_batch_of_one_row(tmp_path):
    """Leaves at two depths, samples that end at an inner node, 17 rows in batches of 16."""
    hierarchy = Hierarchy.from_paths(["p", "b/c/x", "b/c/y", "b/d"])
    ends = torch.tensor([hierarchy.index[name] for name in ("p", "b/c/x", "b/c/y", "b/d", "b/c")])
    generator = torch.Generator().manual_seed(0)
    kind = torch.arange(17) % 5
    targets = hierarchy.add_ancestors(torch.eye(len(hierarchy), dtype=torch.bool)[ends[kind]])
    images = torch.randint(0, 60, (17, 3, 16, 16), dtype=torch.uint8, generator=generator)
    images += (kind * 45).to(torch.uint8)[:, None, None, None]
    split = Split(images, targets, tuple(map(str, range(17))))
    dataset = HierarchicalDataset(
        name="toy",
        hierarchy=hierarchy,
        evaluated=torch.ones(len(hierarchy), dtype=torch.bool),
        kind="image",
        train=split,
        validation=split,
        test=split,
    )
    config = small(tmp_path, dataset="toy", batch_size=16, epochs=15, decode="path", rotation=0.0)
    metrics = train(config, dataset)["metrics"]
    assert metrics["test/hvr"] == 0
    assert metrics["test/accuracy_leaf"] > 0.7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "`--epochs` should be at least 1. Found 0."),
        ({"temperature": 0.0}, "`--temperature` should be finite and above 0. Found 0.0."),
        ({"learning_rate": float("nan")}, "`--learning-rate` should be finite"),
        ({"momentum": 1.5}, r"`--momentum` should lie in \[0, 1\]. Found 1.5."),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)


def test_mixed_precision_and_compile_train_and_still_score_in_float32(tmp_path):
    config = small(tmp_path, encoder="mlp", mixed_precision="bf16", compile=True, dataset="digits")
    process = launch(config, tmp_path / "run")
    output = process.communicate()
    assert process.returncode == 0, output
    run = load_run(tmp_path / "run")
    assert run.results["metrics"]["test/accuracy_leaf"] > 0.3
    as_bfloat16 = torch.from_numpy(run.scores).to(torch.bfloat16).float().numpy()
    assert not np.array_equal(run.scores, as_bfloat16)


@pytest.mark.distributed
@pytest.mark.parametrize("options", [{"decode": "path"}, {"method": "flat"}], ids=["hcal", "flat"])
def test_two_processes_equal_one(tmp_path, options):
    # Without batch normalisation, which is per process. 1,080 rows in batches of 7 leave a short last one.
    config = small(tmp_path, encoder="mlp", batch_size=7, dataset="digits", width=32, **options)
    torchrun = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29523")
    two = launch(config, tmp_path / "two", launcher=torchrun, ACCELERATE_USE_CPU="true")
    output = two.communicate()
    assert two.returncode == 0, output
    assert "eprecat" not in output[1]
    train(config)
    first, second = load_run(tmp_path / "run"), load_run(tmp_path / "two")
    np.testing.assert_allclose(first.scores, second.scores, rtol=5e-3, atol=5e-3)
    for name, value in first.results["metrics"].items():
        assert second.results["metrics"][name] == pytest.approx(value, abs=3e-3), name
    for ours, theirs in zip(log_of(tmp_path / "run"), log_of(tmp_path / "two"), strict=True):
        for name in ours.keys() - {"seconds"}:
            assert theirs[name] == pytest.approx(ours[name], rel=1e-3, abs=1e-3), name


def test_two_batches_of_a_step_are_one_of_twice_the_size(tmp_path):
    """With cross-entropy and without batch normalisation, up to the order of sums."""
    options = {"method": "flat", "encoder": "mlp", "width": 16, "epochs": 2, "learning_rate": 0.05}
    vectors = load_dataset("digits")
    for name, more in (("one", {"batch_size": 60}), ("two", {"batch_size": 30, "accumulate": 2})):
        train(small(tmp_path / name, **options | more), vectors)
    one, two = (load_run(tmp_path / name / "run").scores for name in ("one", "two"))
    np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-3)
    train(small(tmp_path / "other", **(options | {"batch_size": 30})), vectors)
    assert np.abs(load_run(tmp_path / "other" / "run").scores - one).max() > 0.01


def test_patience_ends_a_run_and_class_aware_sampling_trains(tmp_path, digits):
    options = {"epochs": 30, "learning_rate": 0.0, "prototype_learning_rate": 0.0, "patience": 2}
    assert train(small(tmp_path, sampling="class-aware", **options), digits)["epochs"] < 30


def test_class_weights_are_weights_of_samples_by_their_deepest_class(tmp_path):
    digits = load_dataset("digits")
    train_rows = digits.train.select(range(0, len(digits.train), 5))
    deepest = [max(np.flatnonzero(row)) for row in train_rows.targets.numpy()]
    balanced = torch.from_numpy(compute_sample_weight("balanced", deepest)).float()
    options, scores = {"method": "flat", "encoder": "mlp", "width": 16, "epochs": 2}, {}
    for name, weights, class_weights in (
        ("option", None, "balanced"),
        ("samples", balanced, "none"),
        ("neither", None, "none"),
    ):
        dataset = replace(digits, train=replace(train_rows, weights=weights))
        train(small(tmp_path / name, class_weights=class_weights, **options), dataset)
        scores[name] = load_run(tmp_path / name / "run").scores
    np.testing.assert_allclose(scores["option"], scores["samples"], rtol=1e-4, atol=1e-4)
    assert np.abs(scores["option"] - scores["neither"]).max() > 0.01


def test_classes_are_not_evened_out_twice(tmp_path):
    with pytest.raises(ValueError, match="`--class-weights` should be none with --sampling class-aware"):
        small(tmp_path, class_weights="balanced", sampling="class-aware")
