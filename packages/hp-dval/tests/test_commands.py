"""The command line: options, shipped configurations, evaluate, predict, explain, exit codes."""

import csv
import json
import subprocess
import sys
from dataclasses import asdict
from importlib.resources import files

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from hmc_shared.cli import options
from hmc_shared.data import load_dataset
from hmc_shared.runs.read import load_run
from hp_dval.__main__ import main
from hp_dval.config import Config
from hp_dval.evaluate import EvaluateConfig, evaluate
from hp_dval.explain import ExplainConfig, draw, explain
from hp_dval.methods import load_model
from hp_dval.predict import PredictConfig, predict
from hp_dval.train import train

CONFIGS = sorted((files("hp_dval") / "configs").iterdir(), key=str)


def parse(*argv):
    return options.parse(Config, argv, prog="hp-dval train", package="hp_dval")


def call(monkeypatch, *argv):
    monkeypatch.setattr(sys, "argv", ["hp-dval", *argv])
    main()


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


def test_help_is_quick_because_it_imports_no_torch():
    commands = ("train", "evaluate", "predict", "explain")
    code = (
        "import runpy, sys\n"
        f"for words in ([], ['--help'], *[[name, '--help'] for name in {commands}]):\n"
        "    sys.argv = ['hp-dval', *words]\n"
        "    try:\n        runpy.run_module('hp_dval', run_name='__main__')\n"
        "    except SystemExit as stop:\n        assert not stop.code, stop.code\n"
        "for name in ('torch', 'accelerate', 'open_clip', 'matplotlib'):\n"
        "    assert name not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage") == 6


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_configuration_is_valid(path):
    name = path.name.removesuffix(".yaml")
    content = yaml.safe_load(path.read_text())
    assert content["dataset"] == name
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


def test_a_resolved_configuration_reads_back(tmp_path):
    config = parse("--dataset", "voc-lt", "--templates", "a {}", "the {} there", "--scale", "1", "--compile")
    assert config.templates == ["a {}", "the {} there"]
    file = tmp_path / "config.yaml"
    file.write_text(options.to_yaml(config))
    assert asdict(parse("--config", str(file))) == asdict(config) | {"config": str(file)}


def test_runs_of_other_methods_losses_and_protocols_have_other_folders():
    base = Config(dataset="voc-lt", seed=3)
    assert str(base.run_folder) == "runs/voc-lt/hp-dval/seed-3"
    assert Config(method="coop", loss="bce").run_folder.parts[-2] == "coop-bce"
    assert Config(method="zero-shot", loss="bce").run_folder.parts[-2] == "zero-shot"
    assert Config(method="no-sc", protocol="paper").run_folder.parts[-2] == "no-sc-paper"


def test_evaluate_repeats_the_results_of_the_run(run, monkeypatch, capsys):
    stored = load_run(run).results["metrics"]
    found = evaluate(EvaluateConfig(str(run)))
    assert found.keys() == stored.keys()
    for name, value in stored.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name
    call(monkeypatch, "evaluate", str(run), "--split", "validation", "--json")
    validation = json.loads(capsys.readouterr().out)
    assert validation["validation/map"] == pytest.approx(load_run(run).results["validation"], abs=1e-6)
    of_model = evaluate(EvaluateConfig(str(run / "aligned"), dataset="digit-scenes"))
    assert of_model["test/map"] != found["test/map"]
    with pytest.raises(ValueError, match="`--dataset` is needed"):
        evaluate(EvaluateConfig(str(run / "model")))


def test_predict_gives_the_scores_of_the_run(run, pictures, tmp_path, scenes, monkeypatch, capsys):
    names, hierarchy, probabilities, labels = predict(PredictConfig(str(run), [str(pictures)]))
    classes = hierarchy.names
    assert [name[-5:].lower() for name in names] == ["0.png", "1.png", "2.png", "3.png"]
    assert hierarchy == scenes.hierarchy
    stored = load_run(run)
    torch.testing.assert_close(probabilities, torch.from_numpy(stored.probabilities[:4]), atol=1e-5, rtol=0)
    plain = predict(PredictConfig(str(run), [str(pictures)], calibrate=False))
    torch.testing.assert_close(plain[2], torch.from_numpy(stored.scores[:4]).sigmoid(), atol=1e-5, rtol=0)
    assert torch.equal(plain[3], labels)
    assert torch.equal(labels, torch.from_numpy(stored.scores[:4] >= stored.threshold))
    np.save(tmp_path / "raw.npy", scenes.test.inputs[:4].numpy())
    _, _, again, _ = predict(PredictConfig(str(run), [str(tmp_path / "raw.npy")]))
    torch.testing.assert_close(again, probabilities)
    bare = predict(PredictConfig(str(run / "model"), [str(tmp_path / "raw.npy")]))
    torch.testing.assert_close(bare[2], probabilities)
    assert torch.equal(bare[3], labels)
    sure = predict(PredictConfig(str(run), [str(pictures)], min_confidence=0.5))[3]
    assert torch.equal(sure, probabilities >= 0.5)  # digit-scenes has several paths
    call(monkeypatch, "predict", str(run), str(pictures / "0.png"), "--output", str(tmp_path / "out.csv"))
    with (tmp_path / "out.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["seven"]) == pytest.approx(probabilities[0, classes.index("seven")].item(), rel=1e-4)
    assert row["labels"].split(";") == [classes[i] for i in labels[0].nonzero().flatten()]
    assert capsys.readouterr().out == ""


def test_explain_draws_each_label_with_both_views(run, pictures, tmp_path, monkeypatch, capsys):
    picture = str(pictures / "1.png")
    image, labels, logits, maps = explain(ExplainConfig(str(run), picture, ["two", "closed"]))
    model = load_model(run / "model").eval()
    assert labels == ["two", "closed"]
    assert image.shape == (1, 32, 32)
    assert maps.shape == (2, 2, 4, 4)
    expected = model.predict(image[None])[0, [model.hierarchy.index[label] for label in labels]]
    torch.testing.assert_close(logits.sigmoid(), expected)
    best = explain(ExplainConfig(str(run), picture))
    assert len(best[1]) == 3
    with torch.no_grad():
        own = model(model.normalize(image[None])).logits[0]
    assert best[1][0] == model.hierarchy.names[own.argmax()]
    monkeypatch.chdir(tmp_path)
    call(monkeypatch, "explain", str(run), picture, "--labels", "two")
    assert capsys.readouterr().out == "1-explained.png\n"
    with Image.open("1-explained.png") as picture_of_one:
        small = picture_of_one.size
        low, high = picture_of_one.convert("L").getextrema()
    assert high - low > 200
    draw(tmp_path / "two.png", image, labels, logits, maps)
    with Image.open("two.png") as picture_of_two:
        assert picture_of_two.size == (small[0], 2 * small[1])


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["train", "--alpha", "2"], 2, "`--alpha` should lie in [0, 1]. Found 2.0."),
        (["train", "--method", "clip"], 2, "invalid choice"),
        (["train", "--clip", "ViT-Z", "--output-dir", "RUN"], 2, "`--clip` should be tiny"),
        (["trian"], 2, "the command should be one of train"),
        (["predict", "nowhere", "x.png"], 2, "nowhere/config.json"),
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
