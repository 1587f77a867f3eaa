"""The command line: options, shipped configurations, evaluate, predict, exit codes."""

import csv
import json
import os
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
import torch
import yaml

from hlstm import load_model
from hlstm.config import Config, EvaluateConfig, PredictConfig
from hlstm.train import train
from hmc_shared.cli.parse import parse as parse_options
from hmc_shared.data import load_dataset
from hmc_shared.predict.inputs import predict
from hmc_shared.runs.evaluate import evaluate
from hmc_shared.runs.read import load_run

CONFIGS = sorted((files("hlstm") / "configs").iterdir(), key=str)


def parse(*argv):
    return parse_options(Config, argv, prog="hlstm train", package="hlstm")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(Config(output_dir=str(folder), epochs=2, hidden_size=16, num_layers=1))
    return folder


def hlstm(*arguments, cwd=None, **environment):
    command = [sys.executable, "-m", "hlstm", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment}, check=False
    )


def test_a_misspelt_option_in_a_file_ends_with_code_2(tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text("hiden_size: 3")
    done = hlstm("train", "--config", file)
    assert done.returncode == 2
    assert "hiden" in done.stderr


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if path.stem != "best"], ids=lambda path: path.name
)
def test_every_shipped_configuration_is_valid(path):
    name = path.name.removesuffix(".yaml")
    content = yaml.safe_load(path.read_text())
    assert content["dataset"] == name
    for method in ("hlstm", "chmcnn"):
        for protocol in ("default", "paper"):
            config = parse("--dataset", name, "--method", method, "--protocol", protocol)
            assert (config.dataset, config.method, config.protocol) == (name, method, protocol)
            assert parse("--config", name, "--method", method, "--protocol", protocol).epochs == config.epochs
    if "paper" in content:  # what the paper states, for all of its sets
        assert (config.batch_size, config.weight_decay) == (4, 1e-5)
        hlstm = parse("--dataset", name, "--protocol", "paper")
        assert (hlstm.batch_size, hlstm.learning_rate, hlstm.weight_decay) == (4, 1e-4, 1e-5)
        assert (hlstm.global_weight, hlstm.local_init, hlstm.local_constant) == (0.5, "constant", 0.1)
        assert (hlstm.max_levels, hlstm.num_layers, hlstm.weight_average) == (None, 1, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit",), "one of train, evaluate, predict"),
        (("train", "--dataset", "atlantis"), "atlantis"),
        (("train", "--config", "atlantis"), "--config"),
        (("train", "--epochs", "0"), "--epochs"),
        (("predict", "nowhere", "nothing.csv"), "nowhere"),
        (("evaluate", "nowhere"), "nowhere"),
    ],
)
def test_wrong_use_is_explained_and_ends_with_code_2(arguments, message, tmp_path):
    # There, because a run folder is made before its data set is looked for.
    done = hlstm(*arguments, cwd=tmp_path, HMC_DATA=str(tmp_path))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_evaluate_repeats_the_metrics_of_the_run(run):
    stored = json.loads((run / "results.json").read_text())["metrics"]
    assert evaluate(EvaluateConfig(str(run))) == pytest.approx(stored, abs=1e-9)
    bare = evaluate(EvaluateConfig(str(run / "model"), dataset="digits", split="validation"))
    best = json.loads((run / "results.json").read_text())["validation"]
    assert bare["validation/au_prc"] == pytest.approx(best, abs=1e-9)
    with pytest.raises(ValueError, match=r"takes inputs of shape \(64,\)\. Found \(1024,\)"):
        evaluate(EvaluateConfig(str(run), dataset="digit-scenes"))


def test_predict_on_raw_rows_equals_the_scores_of_the_run(run, tmp_path):
    dataset = load_dataset("digits")
    raw = dataset.test.inputs
    np.save(tmp_path / "raw.npy", raw.numpy())
    with (tmp_path / "raw.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *(f"pixel-{i}" for i in range(64))])
        for name, row in zip(dataset.test.ids, raw.tolist(), strict=True):
            writer.writerow([name, *row])
    stored = load_run(run)
    for name, ids in (("raw.npy", [str(i) for i in range(len(raw))]), ("raw.csv", list(dataset.test.ids))):
        result = predict(PredictConfig(str(run), [str(tmp_path / name)], calibrate=False))
        assert result.ids == ids
        assert result.hierarchy == dataset.hierarchy
        np.testing.assert_allclose(result.probabilities, stored.uncalibrated, rtol=1e-5, atol=1e-6)
        assert result.labels.sum(1).tolist() == [3] * len(ids)  # a path: samples of digits have one
        assert dataset.hierarchy.has_ancestors(result.labels)
    calibrated = predict(PredictConfig(str(run), [str(tmp_path / "raw.csv")]))
    assert np.array_equal(calibrated.probabilities, stored.probabilities)
    assert torch.equal(calibrated.probabilities, load_model(run / "model").predict_proba(raw))
    names = dataset.hierarchy.names
    labels = [";".join(names[i] for i in row.nonzero().flatten()) for row in calibrated.labels]
    done = hlstm("predict", run, tmp_path / "raw.csv", "--output", tmp_path / "out.csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.reader((tmp_path / "out.csv").read_text().splitlines()))
    assert rows[0] == ["id", "labels", *names]
    assert [row[1] for row in rows[1:]] == labels
    written = np.asarray([row[2:] for row in rows[1:]], dtype=float)
    np.testing.assert_allclose(written, calibrated.probabilities, rtol=1e-5)


def test_an_unsure_model_answers_with_a_shorter_path(run, tmp_path):
    np.save(tmp_path / "raw.npy", load_dataset("digits").test.inputs.numpy())
    lengths = set()
    for bound in (0.5, 0.9):
        done = hlstm("predict", run, tmp_path / "raw.npy", "--min-confidence", bound, "--format", "json")
        assert done.returncode == 0, done.stderr
        for record in json.loads(done.stdout):
            lengths.add(len(record["answer"]) and len(record["answer"][0]["path"]))
            for answer in record["answer"]:
                assert answer["path"][-1] == answer["class"]
                on_path = [record["probabilities"][name] for name in answer["path"]]
                assert on_path == sorted(on_path, reverse=True)
                assert on_path[-1] >= bound - 1e-6
    assert len(lengths) > 1
    assert hlstm("predict", run, tmp_path / "raw.npy", "--min-confidence", "2").returncode == 2


def test_predictions_are_all_that_goes_to_standard_output(run, tmp_path):
    table = write(tmp_path / "t.csv", ",".join(f"p{i}" for i in range(64)) + "\n" + ",".join("0" * 64) + "\n")
    lines = hlstm("predict", run, table).stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("id,")


def test_a_table_that_does_not_fit_is_named(run, tmp_path):
    with pytest.raises(ValueError, match=r"t\.csv: .*\(n, 64\)"):
        predict(PredictConfig(str(run), [str(write(tmp_path / "t.csv", "a,b\n1,2\n"))]))


def write(path, text):
    path.write_text(text)
    return path


def test_a_run_of_another_package_is_refused_with_its_command(run, tmp_path):
    copy = tmp_path / "other"
    copy.mkdir()
    for file in (run / "model").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())

    class OtherConfig(PredictConfig):
        library = "hcal"

    with pytest.raises(ValueError, match=r"is a model of hlstm: `hlstm predict .*other` takes it"):
        predict(OtherConfig(str(copy), ["t.csv"]))


def test_a_run_says_how_it_was_made(run):
    results = json.loads((run / "results.json").read_text())
    assert (results["package"], results["processes"], results["launcher"]) == ("hlstm", 1, None)
    assert results["versions"]["hlstm"]


def test_the_best_recipe_says_nothing_of_a_data_set():
    """As the plan `best` calls it, on a set that no other configuration is for."""
    for method, members in (("hlstm", 3), ("dhn", 3), ("clus-ens", 1)):
        words = ("--dataset", "table:x.csv", "--method", method, "--config", "best", "--protocol", "refit")
        config = parse(*words)
        assert (config.members, config.protocol, config.dataset) == (members, "refit", "table:x.csv")
