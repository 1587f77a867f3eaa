"""The command line: options, shipped configurations, evaluate, predict, exit codes."""

import csv
import json
import shutil
import sys
from importlib.resources import files
from typing import get_args

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import mulsupcon_ld
from hmc_shared.cli.parse import parse as parse_options
from hmc_shared.data import load_dataset
from hmc_shared.methods import installed_methods
from hmc_shared.predict.inputs import predict
from hmc_shared.runs.evaluate import evaluate
from hmc_shared.runs.read import load_run
from mulsupcon_ld.__main__ import main
from mulsupcon_ld.config import Config, EvaluateConfig, Loss, PredictConfig
from mulsupcon_ld.methods import METHODS
from mulsupcon_ld.train import train

CONFIGS = sorted((files("mulsupcon_ld") / "configs").iterdir(), key=str)
QUICK = {"width": 32, "dim": 16, "pretrain_epochs": 1, "epochs": 3, "learning_rate": 5e-3}


def parse(*argv):
    return parse_options(Config, argv, prog="mulsupcon-ld train", package="mulsupcon_ld")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Of vectors."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(Config(output_dir=str(folder), **QUICK))
    return folder


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", view="image")


@pytest.fixture(scope="module")
def image_run(tmp_path_factory, digits):
    folder = tmp_path_factory.mktemp("runs") / "images"
    chosen = {"encoder": "resnet8", "width": 4, "flip": False, "min_scale": 0.8}
    train(Config(output_dir=str(folder), **{**QUICK, **chosen}), digits)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, digits):
    """The first test scans as grey PNG files; one in a folder below."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    for row in range(6):
        name = f"{row}.png" if row < 5 else "more/5.PNG"
        Image.fromarray(digits.test.inputs[row, 0].numpy()).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def raw():
    """The features of the test split."""
    return load_dataset("digits").test.inputs


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_configuration_is_valid(path):
    name = path.name.removesuffix(".yaml")
    content = yaml.safe_load(path.read_text())
    assert content["dataset"] == name
    for protocol in ("default", "paper"):
        config = parse("--dataset", name, "--protocol", protocol)
        assert (config.dataset, config.protocol) == (name, protocol)
        assert parse("--config", name, "--protocol", protocol).epochs == config.epochs
    if "paper" in content:  # what the paper states, for all of its sets
        stated = (config.pretrain_epochs, config.epochs, config.pretrain_learning_rate)
        assert stated == (400, 100, 4e-5)
        assert (config.temperature, config.momentum) == (0.1, 0.999)
        assert (config.pretrain_restart, config.pretrain_minimum_rate) == (50, 1e-5)


def test_the_papers_batch_and_queue_sizes():
    """Section 4, Settings."""
    stated = {
        "yeast": (128, 256),
        "scene": (256, 1024),
        "delicious": (128, 4096),
        "mediamill": (512, 8192),
        "bookmarks": (256, 8192),
        "voc2007": (128, 1024),
        "coco2014": (128, 4096),
        "mirflickr": (128, 8192),
        "nuswide": (128, 4096),
    }
    for name, sizes in stated.items():
        config = parse("--dataset", name, "--protocol", "paper")
        assert (config.batch_size, config.queue_size) == sizes, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit",), "one of train, evaluate, predict, explain"),
        (("train", "--dataset", "atlantis", "--output-dir", "{}/run"), "atlantis"),
        (("train", "--queue-size", "-1"), "--queue-size"),
        (("train", "--encoder", "resnet19", "--output-dir", "{}/run"), "resnet19"),
        (
            ("train", "--encoder", "mlp", "--config", "{}/images.yaml", "--output-dir", "{}/run"),
            "images.yaml",
        ),
        (("predict", "nowhere", "nothing.csv"), "nowhere"),
        (("evaluate", "nowhere"), "nowhere"),
        (("explain", "nowhere"), "nowhere"),
    ],
)
def test_wrong_use_is_explained_and_ends_with_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HMC_DATA", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["mulsupcon-ld", *(word.format(tmp_path) for word in arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_images_without_an_encoder_for_them_are_refused_by_its_name(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for row in range(5):
            Image.new("RGB", (9, 9)).save(tmp_path / "images" / name / f"{row}.png")
    with pytest.raises(ValueError, match=r"`encoder` should be an image encoder .* Found 'mlp'"):
        train(Config(dataset=f"folder:{tmp_path / 'images'}", output_dir=str(tmp_path / "run")))


@pytest.mark.parametrize("kind", ["run", "image_run"])
def test_evaluate_repeats_the_metrics_of_the_run(kind, request):
    folder = request.getfixturevalue(kind)
    stored = json.loads((folder / "results.json").read_text())
    assert evaluate(EvaluateConfig(str(folder))) == pytest.approx(stored["metrics"], abs=1e-9)
    bare = evaluate(EvaluateConfig(str(folder / "model"), dataset="digits", split="validation"))
    assert bare["validation/map"] == pytest.approx(stored["validation"], abs=1e-9)
    with pytest.raises(ValueError, match=r"takes inputs of shape .*Found .* in 'digit-scenes'"):
        evaluate(EvaluateConfig(str(folder), dataset="digit-scenes"))
    with pytest.raises(ValueError, match="`--dataset` is needed"):
        evaluate(EvaluateConfig(str(folder / "model")))


def test_evaluate_names_the_data_set_of_a_shipped_configuration(run, capsys):
    main(["evaluate", str(run / "model"), "--dataset", "digits", "--split", "validation", "--json"])
    stored = json.loads((run / "results.json").read_text())
    assert json.loads(capsys.readouterr().out)["validation/map"] == pytest.approx(stored["validation"])


def test_predict_on_raw_rows_equals_the_scores_of_the_run(run, raw, tmp_path):
    finished = load_run(run)
    np.save(tmp_path / "raw.npy", raw.numpy())
    with (tmp_path / "raw.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *(f"pixel-{i}" for i in range(64))])
        for name, row in zip(finished.ids, raw.tolist(), strict=True):
            writer.writerow([name, *row])
    expected = torch.from_numpy(finished.scores).sigmoid()
    for name, ids in (("raw.npy", [str(i) for i in range(len(raw))]), ("raw.csv", list(finished.ids))):
        plain = predict(PredictConfig(str(run), [str(tmp_path / name)], calibrate=False))
        assert plain.ids == ids
        assert plain.hierarchy == finished.hierarchy
        torch.testing.assert_close(plain.probabilities, expected, rtol=1e-4, atol=1e-4)
        assert np.array_equal(plain.labels.numpy(), finished.answers)
    calibrated = predict(PredictConfig(str(run), [str(tmp_path / "raw.csv")]))
    np.testing.assert_allclose(calibrated.probabilities, finished.probabilities, rtol=1e-4, atol=1e-4)
    assert torch.equal(calibrated.labels, plain.labels)
    sure = predict(PredictConfig(str(run), [str(tmp_path / "raw.csv")], min_confidence=0.9)).labels
    assert set(sure.sum(1).tolist()) <= {0, 1, 2, 3}  # a path, because samples of digits have one
    assert finished.hierarchy.has_ancestors(sure)
    assert (calibrated.probabilities[sure] >= 0.9).all()


def test_every_loss_is_a_method_that_its_command_trains():
    assert [method.label for method in METHODS] == list(get_args(Loss))
    assert set(METHODS) <= set(installed_methods())
    for method in METHODS:
        program, command, *options = method.demo_command
        assert (program, command) == ("mulsupcon-ld", "train")
        assert parse(*options).label == method.label


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_model_of_another_package_is_refused_with_its_command(run, command, tmp_path, monkeypatch, capsys):
    other = tmp_path / "other"
    shutil.copytree(run / "model", other)
    monkeypatch.setattr(mulsupcon_ld.MulSupCon, "library", "other_method")  # as if another package read it
    words = {"evaluate": ["--dataset", "digits"], "predict": ["nothing.csv"]}[command]
    with pytest.raises(SystemExit) as stop:
        main([command, str(other), *words])
    assert stop.value.code == 2
    assert f"`other-method {command} {other}` takes it" in capsys.readouterr().err


def test_predict_takes_image_files_folders_and_arrays(image_run, pictures, digits, tmp_path):
    finished = load_run(image_run)
    every = predict(PredictConfig(str(image_run), [str(pictures)]))
    expected = [str(pictures / name) for name in (*(f"{row}.png" for row in range(5)), "more/5.PNG")]
    assert every.ids == expected
    np.testing.assert_allclose(every.probabilities, finished.probabilities[:6], atol=1e-4)
    assert finished.hierarchy.has_ancestors(every.labels)
    some = predict(PredictConfig(str(image_run), [expected[3], str(pictures / "more")]))
    torch.testing.assert_close(some.probabilities, every.probabilities[[3, 5]])
    np.save(tmp_path / "raw.npy", digits.test.inputs[:6].numpy())
    from_array = predict(PredictConfig(str(image_run), [str(tmp_path / "raw.npy")]))
    assert from_array.ids == [str(row) for row in range(6)]
    assert torch.equal(from_array.probabilities, every.probabilities)


def test_predictions_are_a_table_and_all_of_standard_output(run, raw, tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "raw.npy", raw[:4].numpy())
    monkeypatch.setattr(sys, "argv", ["mulsupcon-ld", "predict", str(run), str(tmp_path / "raw.npy")])
    main()
    header, *rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    finished = load_run(run)
    names = finished.hierarchy.names
    assert header == ["id", "labels", *names]
    for row, answer, expected in zip(rows, finished.answers, finished.probabilities, strict=False):
        assert row[1].split(";") == [name for name, said in zip(names, answer, strict=True) if said]
        np.testing.assert_allclose([float(cell) for cell in row[2:]], expected, atol=1e-4)
    assert len(rows) == 4
    bare = tmp_path / "bare.csv"
    arguments = [str(run / "model"), str(tmp_path / "raw.npy"), "--output", str(bare)]
    monkeypatch.setattr(sys, "argv", ["mulsupcon-ld", "predict", *arguments])
    main()
    assert capsys.readouterr().out == ""
    assert list(csv.reader(bare.read_text().splitlines())) == [header, *rows]  # the folder is complete


def test_inputs_that_do_not_fit_are_named(run, image_run, pictures, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"t\.csv: .*\(n, 64\)"):
        predict(PredictConfig(str(run), [str(table)]))
    with pytest.raises(ValueError, match=r"t\.csv: .*\(n, 1, 8, 8\)"):
        predict(PredictConfig(str(image_run), [str(table)]))
    with pytest.raises(ValueError, match=r"one \.csv file can be read at a time"):
        predict(PredictConfig(str(run), [str(table), str(table)]))
    with pytest.raises(ValueError, match=r"takes vectors, so a \.csv, \.tsv, \.parquet or \.npy file"):
        predict(PredictConfig(str(run), [str(pictures)]))
    with pytest.raises(ValueError, match="Found nothing there"):
        predict(PredictConfig(str(image_run), [str(tmp_path / "gone.jpg")]))
