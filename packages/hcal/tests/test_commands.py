"""The command line: options, shipped configurations, evaluate, predict, exit codes."""

import csv
import json
import subprocess
import sys
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pyarrow import parquet

import hmc_shared
from hcal.__main__ import main
from hcal.build import load_model
from hcal.config import Config, EvaluateConfig, PredictConfig
from hcal.train import train
from hmc_shared import Hierarchy
from hmc_shared.cli.parse import parse as parse_options
from hmc_shared.data import load_dataset
from hmc_shared.metrics import level_predictions, level_targets
from hmc_shared.predict.inputs import predict
from hmc_shared.predict.layout import Predictions
from hmc_shared.predict.write import write_predictions
from hmc_shared.runs.evaluate import evaluate
from hmc_shared.vision.image_files import read_image

CONFIGS = sorted((files("hcal") / "configs").iterdir(), key=str)


def parse(*argv):
    return parse_options(Config, argv, prog="hcal train", package="hcal")


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", view="image")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(Config(output_dir=str(folder), epochs=3, encoder="resnet8", width=4, dim=16, flip=False))
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, digits):
    """The first test scans as grey PNG files; one in a folder below."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    for row in range(6):
        name = f"{row}.png" if row < 5 else "more/5.PNG"
        Image.fromarray(digits.test.inputs[row, 0].numpy()).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_the_recipe_for_photographs_says_nothing_of_a_data_set():
    config = parse("--dataset", "folder:photos", "--config", "fine-tune", "--method", "flat")
    assert (config.dataset, config.method) == ("folder:photos", "flat")
    assert (config.encoder, config.weights, config.freeze) == ("lite0", "lite0", "stages:3")


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if path.stem != "fine-tune"], ids=lambda path: path.name
)
def test_every_shipped_configuration_is_valid(path):
    name = path.name.removesuffix(".yaml")
    content = yaml.safe_load(path.read_text())
    assert content["dataset"] == name
    for protocol in ("default", "paper"):
        config = parse("--dataset", name, "--protocol", protocol)
        assert (config.dataset, config.protocol) == (name, protocol)
        assert parse("--config", name, "--protocol", protocol).epochs == config.epochs
    if "paper" in content:  # what the paper states, for all of its sets
        stated = (
            config.batch_size,
            config.learning_rate,
            config.prototype_learning_rate,
            config.weight_decay,
        )
        assert stated == (32, 0.01, 0.05, 1e-4)
        assert (config.schedule, config.momentum, config.dim, config.weights) == (
            "none",
            0.9,
            256,
            "imagenet",
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit",), "one of train, evaluate, predict"),
        (("train", "--dataset", "atlantis"), "atlantis"),
        (("train", "--epsilon", "-1"), "--epsilon"),
        (("train", "--encoder", "resnet19"), "resnet19"),
        (("predict", "nowhere", "nothing.png"), "nowhere"),
        (("evaluate", "nowhere"), "nowhere"),
    ],
)
def test_wrong_use_is_explained_and_ends_with_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # a run folder is made before its data set is looked for
    monkeypatch.setenv("HMC_DATA", str(tmp_path))
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_evaluate_repeats_the_metrics_of_the_run(run):
    stored = json.loads((run / "results.json").read_text())
    assert evaluate(EvaluateConfig(str(run))) == pytest.approx(stored["metrics"], abs=1e-9)
    bare = evaluate(EvaluateConfig(str(run / "model"), dataset="digits", split="validation"))
    assert bare["validation/accuracy_leaf"] == stored["validation"]
    path = evaluate(EvaluateConfig(str(run), decode="path"))
    assert path["test/hvr"] == 0
    assert stored["metrics"]["test/hvr"] > 0
    with pytest.raises(ValueError, match=r"takes inputs of shape \(1, 8, 8\)\. Found \(1, 32, 32\)"):
        evaluate(EvaluateConfig(str(run), dataset="digit-scenes"))


def test_predict_names_what_the_run_scored(run, pictures, digits):
    result = predict(PredictConfig(str(run), [str(pictures)]))
    assert result.ids == [
        str(pictures / name) for name in ("0.png", "1.png", "2.png", "3.png", "4.png", "more/5.PNG")
    ]
    assert result.hierarchy == digits.hierarchy
    arrays = np.load(run / "predictions.npz")
    nodes = result.labels.nonzero()[:, 1].view(6, -1)
    assert nodes.tolist() == level_predictions(arrays["scores"][:6], digits.hierarchy).tolist()
    np.testing.assert_allclose(result.probabilities, arrays["probabilities"][:6], atol=1e-6)
    assert torch.equal(result.probabilities, load_model(run / "model").predict_proba(digits.test.inputs[:6]))


def test_predict_takes_arrays(run, pictures, digits, tmp_path):
    np.save(tmp_path / "raw.npy", digits.test.inputs[:6].numpy())
    from_array = predict(PredictConfig(str(run), [str(tmp_path / "raw.npy")], decode="path"))
    from_files = predict(PredictConfig(str(run), [str(pictures)], decode="path"))
    assert from_array.ids == [str(row) for row in range(6)]
    assert torch.equal(from_array.probabilities, from_files.probabilities)
    assert torch.equal(from_array.labels, from_files.labels)
    np.save(tmp_path / "wide.npy", np.zeros((2, 64)))
    with pytest.raises(ValueError, match=r"wide\.npy: .*\(n, 1, 8, 8\)"):
        predict(PredictConfig(str(run), [str(tmp_path / "wide.npy")]))


def test_predictions_are_a_table(run, pictures):
    command = [sys.executable, "-m", "hcal", "predict", run, pictures / "0.png", pictures / "1.png"]
    done = subprocess.run([*command, "--decode", "path"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    header, *rows = list(csv.reader(done.stdout.splitlines()))
    assert header == [
        "id",
        "level_0",
        "probability_0",
        "level_1",
        "probability_1",
        "level_2",
        "probability_2",
    ]
    assert [row[0] for row in rows] == [str(pictures / "0.png"), str(pictures / "1.png")]
    tree = load_model(run / "model").hierarchy
    for row in rows:
        top, middle, leaf = (tree.index[name] for name in row[1::2])
        assert tree.parents(leaf) == [middle]
        assert tree.parents(middle) == [top]
        assert 1 >= float(row[2]) >= float(row[4]) >= float(row[6]) > 0


def test_predictions_are_a_parquet_table_with_numbers_block_by_block(tmp_path):
    """A path that ends early has null below; the columns of a first block without any deeper one fit, too."""
    tree = Hierarchy.from_paths(["a/x", "b"])
    labels = torch.tensor([[0, 1, 0], [1, 0, 1]], dtype=torch.bool)
    p = torch.tensor([[0.25, 0.75, 0.25], [1.0, 0.0, 1.0]])
    blocks = [Predictions([f"{row}"], tree, p[[row]], labels[[row]]) for row in range(2)]
    write_predictions(str(tmp_path / "p.parquet"), blocks, layout="levels")
    table = parquet.ParquetFile(tmp_path / "p.parquet")
    assert table.num_row_groups == 2
    assert table.read().to_pydict() == {
        "id": ["0", "1"],
        "level_0": ["b", "a"],
        "probability_0": [0.75, 1.0],
        "level_1": [None, "a/x"],
        "probability_1": [None, 1.0],
    }


def test_files_that_are_no_images_are_named(run, tmp_path, pictures):
    with pytest.raises(ValueError, match=r"notes\.txt is not an image"):
        predict(PredictConfig(str(run), [str(pictures / "notes.txt")]))
    with pytest.raises(ValueError, match="should hold images"):
        predict(PredictConfig(str(run), [str(tmp_path)]))
    with pytest.raises(ValueError, match="Found nothing there"):
        predict(PredictConfig(str(run), [str(tmp_path / "gone.jpg")]))


def test_an_unsure_model_answers_with_a_shorter_path(run, pictures, digits, tmp_path, capsys):
    np.save(tmp_path / "raw.npy", digits.test.inputs.numpy())
    lengths = []
    for bound in (0.3, 0.9):
        result = predict(PredictConfig(str(run), [str(tmp_path / "raw.npy")], min_confidence=bound))
        tree, nodes = result.hierarchy, level_targets(result.labels, result.hierarchy)
        lengths.append((nodes >= 0).sum(1))
        for path, row in zip(nodes.tolist(), result.probabilities, strict=True):
            path = [node for node in path if node >= 0]
            assert all(tree.parents(child) == [parent] for parent, child in pairwise(path))
            assert (row[path] >= bound).all()
            if path:  # nothing below it is sure
                assert all(row[child] < bound for child in tree.children(path[-1]))
            else:
                assert row.max() < bound
    assert (lengths[0] >= lengths[1]).all()
    assert lengths[0].sum() > lengths[1].sum()
    with pytest.raises(ValueError, match="`--min-confidence` should lie"):
        predict(PredictConfig(str(run), [str(pictures)], min_confidence=2))


def test_json_has_the_path_of_the_answer(run, pictures, capsys):
    words = [str(run), str(pictures / "0.png"), "--min-confidence", "0.3"]
    main(["predict", *words, "--format", "json"])
    (record,) = json.loads(capsys.readouterr().out)
    result = predict(PredictConfig(words[0], [words[1]], min_confidence=0.3))
    path = [result.hierarchy.names[i] for i in result.labels[0].nonzero().flatten().tolist()]
    assert [answer["path"] for answer in record["answer"]] == [path] * bool(path)
    assert record["probabilities"].keys() == set(result.hierarchy.names)
    main(["predict", *words])
    _, row = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert [cell for cell in row[1::2] if cell] == path


def test_without_calibration_the_temperature_is_1(run, pictures):
    model = load_model(run / "model")
    assert (model.calibration.temperature - 1).abs() > 0.01
    image = torch.stack([read_image(pictures / "0.png", model.input_shape, model.resize)])
    calibrated = predict(PredictConfig(str(run), [str(pictures / "0.png")])).probabilities
    torch.testing.assert_close(calibrated, model.predict_proba(image))
    model.calibration.reset()
    plain = predict(PredictConfig(str(run), [str(pictures / "0.png")], calibrate=False)).probabilities
    torch.testing.assert_close(plain, model.predict_proba(image))
    assert not torch.equal(plain, calibrated)


def test_a_model_is_found_by_its_folder(run):
    for folder in (run, run / "model"):
        assert type(hmc_shared.load_model(folder)).__name__ == "HCAL"
    (run / "copy").mkdir()
    for file in (run / "model").iterdir():
        (run / "copy" / file.name).write_bytes(file.read_bytes())
    config = json.loads((run / "copy" / "config.json").read_text())
    (run / "copy" / "config.json").write_text(json.dumps(config | {"library": "nobody"}))
    with pytest.raises(ValueError, match=r"package 'nobody'.*hcal"):
        hmc_shared.load_model(run / "copy")
