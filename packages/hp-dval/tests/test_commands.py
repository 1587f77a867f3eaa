"""The command line: options, shipped configurations, evaluate, predict, explain, exit codes."""

import csv
import json
import shlex
import sys
from importlib import import_module
from importlib.resources import files

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from hmc_shared.cli.parse import parse as parse_options
from hmc_shared.data import load_dataset
from hmc_shared.methods import installed_methods
from hmc_shared.metrics.summary import decided
from hmc_shared.predict.inputs import predict
from hmc_shared.runs.evaluate import evaluate
from hmc_shared.runs.read import load_run
from hp_dval.__main__ import main
from hp_dval.build import load_model
from hp_dval.config import STAGES, Config, EvaluateConfig, ExplainConfig, PredictConfig
from hp_dval.explain import draw, explain
from hp_dval.methods import METHODS
from hp_dval.model import HPDVAL
from hp_dval.train import train

CONFIGS = sorted((files("hp_dval") / "configs").iterdir(), key=str)


def parse(*argv):
    return parse_options(Config, argv, prog="hp-dval train", package="hp_dval")


def call(monkeypatch, *argv):
    monkeypatch.setattr(sys, "argv", ["hp-dval", *argv])
    main()


def test_every_method_is_announced():
    assert [method.label for method in METHODS] == list(STAGES)
    assert set(METHODS) <= set(installed_methods())
    for method in METHODS:
        assert parse(*shlex.split(method.command)[2:]).label == method.label
        module, _, name = method.model.partition(":")
        assert getattr(import_module(module), name).library == "hp_dval"


@pytest.fixture(scope="module")
def scenes():
    return load_dataset("digit-scenes", view="image")


@pytest.fixture(scope="module")
def run(tmp_path_factory, scenes, clip_json, clip_file):
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(
        Config(
            output_dir=str(folder),
            clip=clip_json,
            pretrained=clip_file,
            student="small",
            patch_size=8,
            width=24,
            layers=1,
            heads=2,
            k=4,
            epochs=2,
            prompt_epochs=1,
            batch_size=128,
            learning_rate=3e-3,
            flip=False,
            threshold_by="class",
        ),
        scenes,
    )
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, scenes):
    """The first test scenes as grey PNG files; one in a folder below."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    for row in range(4):
        name = f"{row}.png" if row < 3 else "more/3.PNG"
        Image.fromarray(scenes.test.inputs[row, 0].numpy()).save(folder / name)
    return folder


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_configuration_is_valid(path):
    name = path.name.removesuffix(".yaml")
    content = yaml.safe_load(path.read_text())
    assert content["dataset"] == (name if name != "few-shot" else "voc2007-5shot-1")
    for protocol in ("default", "paper"):
        config = parse("--dataset", name, "--protocol", protocol)
        assert (config.dataset, config.protocol) == (name, protocol)
        assert parse("--config", name, "--protocol", protocol).epochs == config.epochs
    if "paper" in content:  # what the paper states
        assert (config.learning_rate, config.prompt_learning_rate) == (1e-5, 5e-6)
        assert (config.weight_decay, config.batch_size) == (1e-4, 32)
        assert (config.epochs, config.prompt_epochs) == (20, 10)
        assert (config.alpha, config.k, config.prompt_length) == (0.4, 32, 4)
        assert (config.clip, config.student, config.weights) == ("ViT-B-16", "vit_b_16", "imagenet")


def test_runs_of_other_methods_losses_and_protocols_have_other_folders():
    base = Config(dataset="voc-lt", seed=3)
    assert str(base.run_folder) == "runs/voc-lt/hp-dval/seed-3"
    assert Config(method="coop", loss="bce").run_folder.parts[-2] == "coop-bce"
    assert Config(method="zero-shot", loss="bce").run_folder.parts[-2] == "zero-shot"
    assert Config(method="no-sc", protocol="paper").run_folder.parts[-2] == "no-sc-paper"


def test_evaluate_repeats_the_results_of_the_run(run, monkeypatch, capsys):
    stored = load_run(run).results["metrics"]
    again = evaluate(EvaluateConfig(str(run)))
    assert again.keys() == stored.keys()
    for name, value in stored.items():
        assert again[name] == pytest.approx(value, abs=1e-6), name
    call(monkeypatch, "evaluate", str(run), "--split", "validation", "--json")
    validation = json.loads(capsys.readouterr().out)
    assert validation["validation/map"] == pytest.approx(load_run(run).results["validation"], abs=1e-6)
    of_model = evaluate(EvaluateConfig(str(run / "aligned"), dataset="digit-scenes"))
    assert of_model["test/map"] != again["test/map"]
    with pytest.raises(ValueError, match="`--dataset` is needed"):
        evaluate(EvaluateConfig(str(run / "model")))


def test_predict_gives_the_scores_of_the_run(run, pictures, tmp_path, scenes, monkeypatch, capsys):
    answer = predict(PredictConfig(str(run), [str(pictures)]))
    assert [name[-5:].lower() for name in answer.ids] == ["0.png", "1.png", "2.png", "3.png"]
    assert answer.hierarchy == scenes.hierarchy
    stored = load_run(run)
    close = {"atol": 1e-5, "rtol": 0}
    torch.testing.assert_close(answer.probabilities, torch.from_numpy(stored.probabilities[:4]), **close)
    plain = predict(PredictConfig(str(run), [str(pictures)], calibrate=False))
    torch.testing.assert_close(plain.probabilities, torch.from_numpy(stored.scores[:4]).sigmoid(), **close)
    assert torch.equal(plain.labels, answer.labels)
    assert len(set(stored.threshold)) > 5  # classes with positives enough have their own
    assert np.array_equal(answer.labels, decided(stored.scores[:4], stored.threshold, scenes.hierarchy))
    np.save(tmp_path / "raw.npy", scenes.test.inputs[:4].numpy())
    for folder in (run, run / "model"):
        again = predict(PredictConfig(str(folder), [str(tmp_path / "raw.npy")]))
        torch.testing.assert_close(again.probabilities, answer.probabilities)
        assert torch.equal(again.labels, answer.labels)
    sure = predict(PredictConfig(str(run), [str(pictures)], min_confidence=0.5)).labels
    assert torch.equal(sure, answer.probabilities >= 0.5)  # digit-scenes has several paths
    call(monkeypatch, "predict", str(run), str(pictures / "0.png"), "--output", str(tmp_path / "out.csv"))
    with (tmp_path / "out.csv").open() as file:
        (row,) = csv.DictReader(file)
    names = scenes.hierarchy.names
    expected = answer.probabilities[0, names.index("seven")].item()
    assert float(row["seven"]) == pytest.approx(expected, rel=1e-4)
    assert row["labels"].split(";") == [names[i] for i in answer.labels[0].nonzero().flatten()]
    assert capsys.readouterr().out == ""


def test_a_model_of_another_package_is_refused(run, pictures, monkeypatch, capsys):
    monkeypatch.setattr(HPDVAL, "library", "hcal")
    for command in ("evaluate", "predict", "explain"):
        picture = [] if command == "evaluate" else [str(pictures / "0.png")]
        with pytest.raises(SystemExit) as stop:
            call(monkeypatch, command, str(run), *picture)
        assert stop.value.code == 2
        theirs = "evaluate" if command == "evaluate" else "predict"  # `explain` is of this package alone
        assert f"is a model of hcal: `hcal {theirs} {run}` takes it" in capsys.readouterr().err


def test_wrong_inputs_are_refused_by_name(run, tmp_path, scenes):
    np.save(tmp_path / "flat.npy", np.zeros((2, 1024), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"flat\.npy: the inputs should have shape \(n, 1, 32, 32\)"):
        predict(PredictConfig(str(run), [str(tmp_path / "flat.npy")]))
    infinite = scenes.test.inputs[:2].float().numpy()
    infinite[1] = np.inf
    np.save(tmp_path / "inf.npy", infinite)
    with pytest.raises(ValueError, match=r"inf\.npy, row 2: features should be finite"):
        predict(PredictConfig(str(run), [str(tmp_path / "inf.npy")]))


def test_explain_draws_each_label_with_both_views(run, pictures, tmp_path, monkeypatch, capsys):
    picture = str(pictures / "1.png")
    explanation = explain(ExplainConfig(str(run), picture, ["two", "closed"]))
    model = load_model(run / "model").eval()
    image = explanation.image
    assert explanation.labels == ["two", "closed"]
    assert image.shape == (1, 32, 32)
    assert explanation.responses.shape == (2, 2, 4, 4)
    nodes = [model.hierarchy.index[label] for label in explanation.labels]
    torch.testing.assert_close(explanation.probabilities, model.predict_proba(image[None])[0, nodes])
    best = explain(ExplainConfig(str(run), picture))
    assert len(best.labels) == 3
    with torch.no_grad():
        logits = model(model.normalize(image[None])).logits[0]
    assert best.labels[0] == model.hierarchy.names[logits.argmax()]
    monkeypatch.chdir(tmp_path)
    call(monkeypatch, "explain", str(run), picture, "--labels", "two")
    assert capsys.readouterr().out == "1-explained.png\n"
    with Image.open("1-explained.png") as picture_of_one:
        small = picture_of_one.size
        low, high = picture_of_one.convert("L").getextrema()
    assert high - low > 200
    draw(tmp_path / "two.png", explanation)
    with Image.open("two.png") as picture_of_two:
        assert picture_of_two.size == (small[0], 2 * small[1])


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["train", "--alpha", "2"], 2, "`--alpha` should lie in [0, 1]. Found 2.0."),
        (["train", "--method", "clip"], 2, "invalid choice"),
        (["train", "--clip", "ViT-Z", "--output-dir", "RUN"], 2, "`--clip` should be tiny"),
        (["trian"], 2, "the command should be one of train"),
        (["predict", "nowhere", "x.png"], 2, "nowhere has no trained model"),
        (["explain", "MODEL", "x.png", "--labels", "zebra"], 2, "Found 'zebra'"),
        (["explain", "MODEL", "none.png"], 2, "none.png"),
        (["explain", "MODEL", "x.png", "--output", "x.txt"], 2, "should end in one of .png"),
        (["predict", "MODEL", "a.npy", "b.npy"], 2, "one .npy file"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(run, tmp_path, monkeypatch, capsys, argv, code, message):
    monkeypatch.chdir(tmp_path)
    argv = [{"MODEL": str(run), "RUN": str(tmp_path / "new")}.get(word, word) for word in argv]
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, *argv)
    assert stop.value.code == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
