"""The command ``evaluate``: a model, the data set of its run or another, and the metrics of a split."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
import yaml

from hmc_shared import Hierarchy
from hmc_shared.cli.commands import EvaluateOptions, format_metrics
from hmc_shared.data import load_dataset
from hmc_shared.predict.score import score_split
from hmc_shared.runs.evaluate import command, dataset_of_run, evaluate
from hmc_shared.runs.samples import Samples


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture
def model(toy, digits):
    torch.manual_seed(0)
    model = toy.LinearModel(64, digits.hierarchy)
    model.learn_statistics(digits)
    model.decision = replace(model.decision, threshold=0.25)
    return model


@pytest.fixture
def run(model, tmp_path):
    """The folder of a run on digits with that model."""
    model.save_pretrained(tmp_path / "run" / "model")
    options = {"dataset": "digits", "protocol": "default"}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(options))
    return tmp_path / "run"


class TestMetrics:
    @pytest.mark.parametrize("split", ["test", "validation", "train"])
    def test_they_are_those_of_the_scores_at_the_threshold(self, run, model, digits, split):
        metrics = evaluate(EvaluateOptions(str(run), split=split))
        logits = score_split(model, digits.splits[split])
        scores, answers = model.to_scores(logits), model.to_labels(logits)
        assert metrics == Samples.of_split(digits, split).metrics(scores, 0.25, split, answers)
        assert metrics != Samples.of_split(digits, split).metrics(scores, split=split)
        assert all(name.startswith(f"{split}/") for name in metrics)

    def test_of_a_model_folder_with_the_name_of_a_data_set(self, run):
        expected = evaluate(EvaluateOptions(str(run)))
        assert evaluate(EvaluateOptions(str(run / "model"), dataset="digits")) == expected
        with pytest.raises(ValueError, match="is not a run folder, so `--dataset` is needed"):
            evaluate(EvaluateOptions(str(run / "model")))

    def test_another_model_may_take_the_place_of_the_saved_one(self, run, model):
        with torch.no_grad():
            model.layer.weight.mul_(-1)
        assert evaluate(EvaluateOptions(str(run)), model) != evaluate(EvaluateOptions(str(run)))

    def test_a_package_may_add_options(self, run, model, digits):
        @dataclass(frozen=True)
        class AtZero(EvaluateOptions):
            library: ClassVar[str] = "toy"

            def apply_to(self, model):
                model.decision = replace(model.decision, threshold=0.0)

        logits = score_split(model, digits.test)
        answers = replace(model.decision, threshold=0.0).labels(logits, logits.sigmoid(), digits.hierarchy)
        expected = Samples.of_split(digits, "test").metrics(model.to_scores(logits), answers=answers)
        assert evaluate(AtZero(str(run))) == expected

        class OfAnother(EvaluateOptions):
            library = "another"

        with pytest.raises(ValueError, match=r"is a model of toy: `toy evaluate .*run` takes it"):
            evaluate(OfAnother(str(run)))

    def test_the_command_prints_lines_or_json(self, run, capsys):
        expected = evaluate(EvaluateOptions(str(run)))
        command(EvaluateOptions(str(run), json=True))
        assert json.loads(capsys.readouterr().out) == expected
        command(EvaluateOptions(str(run)))
        assert capsys.readouterr().out.strip() == format_metrics(expected).strip()

    def test_a_folder_without_a_model_is_named(self, toy, tmp_path):
        with pytest.raises(ValueError, match=r"has no trained model"):
            evaluate(EvaluateOptions(str(tmp_path)))


class TestDataset:
    OPTIONS: ClassVar = {"dataset": "digits", "data_dir": None}

    def test_it_is_the_one_of_the_run_or_another(self, toy, model, digits):
        assert dataset_of_run("run", self.OPTIONS, model).checksum == digits.checksum
        images = dataset_of_run("run", self.OPTIONS, toy.ImageModel((1, 8, 8), digits.hierarchy))
        assert images.kind == "image"
        assert dataset_of_run("run", {}, model, name="digits").checksum == digits.checksum
        scenes = toy.LinearModel(1024, digits.hierarchy)
        assert dataset_of_run("run", self.OPTIONS, scenes, name="digit-scenes").name == "digit-scenes"

    def test_what_does_not_fit_the_model_is_refused(self, toy, model, digits):
        with pytest.raises(ValueError, match=r"^run is not a run folder, so `--dataset` is needed"):
            dataset_of_run("run", {}, model)
        other = toy.LinearModel(64, Hierarchy.from_paths(["a/b"]))
        with pytest.raises(ValueError, match=r"^run was trained on another hierarchy than that of 'digits'"):
            dataset_of_run("run", self.OPTIONS, other)
        narrow = toy.LinearModel(8, digits.hierarchy)
        with pytest.raises(ValueError, match=r"takes inputs of shape \(8,\)\. Found \(64,\) in 'digits'"):
            dataset_of_run("run", self.OPTIONS, narrow)
        large = toy.ImageModel((1, 9, 9), digits.hierarchy)
        with pytest.raises(ValueError, match=r"shape \(1, 9, 9\)\. Found \(1, 8, 8\) in 'digits'"):
            dataset_of_run("run", self.OPTIONS, large)

    def test_columns_are_in_the_order_of_the_model(self, toy, tmp_path):
        rows = [f"{i},{i % 3},{'red' if i % 2 else 'blue'},{'ab'[i % 2]}" for i in range(40)]
        (tmp_path / "t.csv").write_text("\n".join(["x,y,colour,labels", *rows]))
        dataset = load_dataset(f"table:{tmp_path / 't.csv'}", categorical=["colour"])
        model = toy.LinearModel(4, dataset.hierarchy)
        model.decision = replace(model.decision, features=("y", "colour=red", "x", "colour=blue"))
        options = {"dataset": f"table:{tmp_path / 't.csv'}", "categorical": ["colour"]}
        mine = dataset_of_run("run", options, model)
        assert torch.equal(mine.test.inputs, dataset.test.inputs[:, [1, 3, 0, 2]])
        model.decision = replace(model.decision, features=("y", "colour=red", "x", "colour=green"))
        with pytest.raises(ValueError, match=r"takes the feature 'colour=green'\. 't' has x, y, colour"):
            dataset_of_run("run", options, model)

    def test_images_of_a_table_fit_any_shape(self, toy, tmp_path, encode):
        for name in ("a", "b"):
            (tmp_path / "set" / name).mkdir(parents=True)
            for number in range(5):
                (tmp_path / "set" / name / f"{number}.png").write_bytes(encode((9 + number, 8)))
        folder = f"folder:{tmp_path / 'set'}"
        hierarchy = load_dataset(folder).hierarchy
        model = toy.ImageModel((3, 5, 5), hierarchy)
        assert dataset_of_run("run", {"dataset": folder}, model).kind == "image"
