"""``hmc blend``: weights that validation prefers, and a run folder whose model gives what the mix has."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hmc_shared.blend import blend, choose_weights
from hmc_shared.cli.blend import Blend
from hmc_shared.cli.train_options import TrainOptions
from hmc_shared.data import load_dataset
from hmc_shared.metrics import au_prc, incoherent
from hmc_shared.mixture import mean_logits
from hmc_shared.model import load_model
from hmc_shared.predict.decision import load_decision
from hmc_shared.predict.score import score_split
from hmc_shared.predict.threshold import thresholds_of_classes
from hmc_shared.runs.folder import RunFolder
from hmc_shared.runs.read import RESERVED, VALIDATION, load_predictions, load_run
from hmc_shared.runs.refit import fit_on_validation


class Options(TrainOptions):
    package = "toy"

    @property
    def label(self):
        return "linear"


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", view="vector")


@pytest.fixture
def run(toy, digits, tmp_path):
    """``run(name, seed)`` leaves the folder of a toy model whose weights are least squares of some pixels."""

    def make(name, seed, coherent=True, protocol="default", digits=digits):
        options = Options(dataset="digits", output_dir=str(tmp_path / name), protocol=protocol)
        folder = RunFolder(options.run_folder)
        folder.write_config(yaml.safe_dump({"dataset": "digits"}))
        model = toy.LinearModel(64, digits.hierarchy, coherent)
        model.learn_statistics(digits)
        pixels = torch.randperm(64, generator=torch.Generator().manual_seed(seed))[:20]
        features = model.normalize(digits.train.inputs)[:, pixels]
        with torch.no_grad():
            model.layer.weight.zero_()
            solution = torch.linalg.lstsq(features, 4.0 * digits.train.targets - 2.0).solution
            model.layer.weight[:, pixels] = solution.T
        split = digits.validation
        held_out = score_split(model, split)
        of_split = split.targets, split.ids, digits.evaluated
        fit_on_validation(model, held_out, *of_split, folder, split.unknown)
        model.save_pretrained(folder.model)
        logits = score_split(model, digits.test)
        folder.finish(
            digits,
            logits,
            model.to_probabilities(logits),
            config=options,
            parameters=1,
            seconds={"train": 2.0},
            device=torch.device("cpu"),
        )
        return str(folder.path)

    return make


def options(tmp_path, *runs, **more):
    return Blend(runs, output_dir=str(tmp_path / "blend"), **more)


def test_the_model_gives_what_the_run_folder_has(run, digits, tmp_path):
    runs = [run("one", 1), run("two", 2), run("three", 3)]
    results = blend(options(tmp_path, *runs))
    mix, model = load_run(tmp_path / "blend"), load_model(tmp_path / "blend")
    scores = score_split(model, digits.test)
    np.testing.assert_allclose(scores.numpy(), mix.scores, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(digits.test.inputs), mix.probabilities, atol=1e-6)
    assert incoherent(mix.scores, digits.hierarchy) == 0
    weights = [part["weight"] for part in results["blend"].values()]
    assert list(results["blend"]) == runs
    assert results["parameters"] == sum(weight > 0 for weight in weights)  # each says that it has one
    assert sum(weights) == pytest.approx(1)
    expected = sum(
        weight * load_run(path).uncalibrated.astype(float) for weight, path in zip(weights, runs, strict=True)
    )
    np.testing.assert_allclose(mix.uncalibrated, expected, atol=1e-6)


def test_it_has_thresholds_of_classes_too(run, digits, tmp_path):
    runs = [run("one", 1), run("two", 2)]
    blend(options(tmp_path, *runs, threshold_by="class"))
    assert load_model(tmp_path / "blend").decision.threshold is None  # each digit has one path
    for path in runs:
        decision = load_decision(Path(path) / "model")
        replace(decision, single_path=False).save(Path(path) / "model")
    blend(options(tmp_path, *runs, threshold_by="class", overwrite=True))
    mix, model = load_run(tmp_path / "blend"), load_model(tmp_path / "blend")
    held_out = load_predictions(tmp_path / "blend" / VALIDATION, digits.hierarchy)
    known = np.ones(held_out["scores"].shape, dtype=bool)
    assert mix.threshold == thresholds_of_classes(held_out["scores"], held_out["targets"], known)
    assert np.array_equal(model.predict(digits.test.inputs).numpy(), mix.answers)


def test_labels_that_are_unknown_count_neither_in_the_choice_nor_in_the_metrics(run, digits, tmp_path):
    def unsure(split):
        maybe = torch.rand(split.targets.shape, generator=torch.Generator().manual_seed(3)) < 0.3
        return replace(split, unknown=digits.hierarchy.add_ancestors(split.targets | maybe) & ~split.targets)

    parts = {name: unsure(split) for name, split in digits.splits.items()}
    partly = replace(digits, **parts)
    results = blend(
        options(tmp_path, *(run(name, seed, digits=partly) for name, seed in (("a", 1), ("b", 2))))
    )
    mix, held_out = (
        load_run(tmp_path / "blend"),
        load_predictions(tmp_path / "blend" / VALIDATION, digits.hierarchy),
    )
    assert np.array_equal(mix.unknown, partly.test.unknown.numpy())
    assert np.array_equal(held_out["unknown"], partly.validation.unknown.numpy())
    known = [of[~held_out["unknown"]][None] for of in (held_out["scores"], held_out["targets"])]
    assert results["validation"] == pytest.approx(au_prc(*known))
    known = [of[~mix.unknown][None] for of in (mix.scores, mix.targets)]
    assert results["metrics"]["test/au_prc"] == pytest.approx(au_prc(*known))
    whole = run("whole", 1)
    with pytest.raises(ValueError, match=r"has other unknown test labels \(is it `--uncertain`, .* than"):
        blend(options(tmp_path, run("c", 1, digits=partly), whole, overwrite=True))


def test_it_is_never_worse_on_validation_than_the_best_of_them(run, digits, tmp_path, capsys):
    runs = [run("one", 1), run("two", 2)]
    results = blend(options(tmp_path, *runs))
    assert results["validation"] >= max(part["validation"] for part in results["blend"].values())
    held_out = load_predictions(tmp_path / "blend" / VALIDATION, digits.hierarchy)
    assert au_prc(held_out["scores"], digits.validation.targets) == pytest.approx(results["validation"])
    assert "blending does not help" not in capsys.readouterr().err


def test_rows_that_all_runs_have_set_aside_stay_so(run, digits, tmp_path):
    runs = [run("one", 1), run("two", 2)]
    for path in runs:
        (Path(path) / RESERVED).write_bytes((Path(path) / VALIDATION).read_bytes())
    blend(options(tmp_path, *runs))
    files = (tmp_path / "blend" / name for name in (RESERVED, VALIDATION))
    kept, expected = (load_predictions(file, digits.hierarchy) for file in files)
    for name in ("ids", "targets", "scores", "probabilities"):
        np.testing.assert_array_equal(kept[name], expected[name])
    (Path(runs[1]) / RESERVED).unlink()
    blend(options(tmp_path, *runs, overwrite=True))
    assert not (tmp_path / "blend" / RESERVED).exists()


def test_one_that_cannot_help_gets_no_weight_and_that_is_said(run, tmp_path, capsys):
    good, bad = run("good", 1), run("bad", 2)
    arrays = dict(np.load(f"{bad}/{VALIDATION}"))
    arrays["scores"] = -arrays["scores"]
    np.savez(f"{bad}/{VALIDATION}", **arrays)
    results = blend(options(tmp_path, good, bad))
    assert [part["weight"] for part in results["blend"].values()] == [1.0, 0.0]
    assert f"blending does not help: {good} alone is best" in capsys.readouterr().err
    assert len(load_model(tmp_path / "blend").members) == 1


def test_a_mix_can_be_mixed_again(run, tmp_path):
    blend(options(tmp_path, run("one", 1), run("two", 2)))
    again = Blend((str(tmp_path / "blend"), run("three", 3)), output_dir=str(tmp_path / "again"))
    assert blend(again)["validation"] >= load_run(tmp_path / "blend").results["validation"]
    assert load_run(tmp_path / "again").results["protocol"] == "default"


@pytest.mark.parametrize("metric", ["au_prc", "map"])
def test_weights_are_chosen_for_the_metric(run, tmp_path, metric):
    results = blend(options(tmp_path, run("one", 1), run("two", 2), metric=metric))
    assert results["validation"] >= max(part["validation"] for part in results["blend"].values())


def test_runs_that_do_not_fit_together_are_refused_by_name(run, tmp_path):
    one, two = run("one", 1), run("two", 2, protocol="paper")
    with pytest.raises(ValueError, match=r"one protocol\. Found 'default' in .*one, 'paper' in .*two"):
        blend(options(tmp_path, one, two))
    with pytest.raises(ValueError, match="should be named once"):
        blend(options(tmp_path, one, one))
    with pytest.raises(ValueError, match=r"`--dataset` is 'products'\. Found a run on 'digits'"):
        blend(options(tmp_path, one, dataset="products"))
    other = run("other", 3)
    arrays = dict(np.load(f"{other}/{VALIDATION}"))
    np.savez(f"{other}/{VALIDATION}", **{**arrays, "ids": arrays["ids"][::-1]})
    with pytest.raises(ValueError, match=r"other has other validation samples or targets .*than .*one"):
        blend(options(tmp_path, one, other))
    (tmp_path / "one" / VALIDATION).unlink()
    with pytest.raises(ValueError, match=f"one has no {VALIDATION}.*: put the file back"):
        blend(options(tmp_path, one))
    assert not (tmp_path / "blend").exists()


def test_runs_that_see_other_inputs_are_refused(run, toy, digits, tmp_path):
    one, two = run("one", 1), run("two", 2)
    toy.LinearModel(32, digits.hierarchy).save_pretrained(f"{two}/model")
    with pytest.raises(ValueError, match=r"same inputs\. Found 64 features in .*one, 32 features in .*two\."):
        blend(options(tmp_path, one, two))
    assert not (tmp_path / "blend").exists()


def test_without_a_run_there_is_nothing_to_mix(tmp_path):
    with pytest.raises(ValueError, match="no run to mix"):
        blend(options(tmp_path))


def test_a_run_that_is_mixed_is_not_overwritten(run, tmp_path):
    one, two = run("one", 1), run("two", 2)
    inner = run("one/selection", 3)
    for runs in ((one, two), (inner, two)):
        with pytest.raises(
            ValueError, match=r"`--output` should be apart from the runs\. Found .*one, where"
        ):
            blend(Blend(runs, output_dir=one, overwrite=True))
    assert load_run(one).results["method"] == "linear"


def test_a_mix_goes_on_where_it_was_stopped(run, tmp_path):
    runs = run("one", 1), run("two", 2)
    first = blend(options(tmp_path, *runs))
    (tmp_path / "blend" / "results.json").unlink()
    assert blend(options(tmp_path, *runs, resume=True))["metrics"] == first["metrics"]
    with pytest.raises(ValueError, match=r"config\.yaml: `runs` is .* there"):
        blend(options(tmp_path, runs[1], resume=True))


def test_the_data_set_is_known_by_its_name_and_by_its_option(run, tmp_path):
    one = run("one", 1)
    file = tmp_path / "one" / "results.json"
    results = json.loads(file.read_text())
    results["config"]["dataset"] = "table:some/digits.csv"
    file.write_text(json.dumps(results))
    for dataset in ("digits", "table:some/digits.csv", None):
        mix = blend(options(tmp_path, one, dataset=dataset, overwrite=True))
        assert mix["config"]["dataset"] == "table:some/digits.csv"
    again = Blend(
        (str(tmp_path / "blend"),), output_dir=str(tmp_path / "again"), dataset="table:some/digits.csv"
    )
    assert blend(again)["dataset"]["name"] == "digits"


@pytest.mark.parametrize("weights", [[], [0.5], [0.5, 0.6], [-1.0, 2.0], [1.0, 0.0]])
def test_weights_of_a_damaged_configuration_are_refused(run, tmp_path, weights):
    blend(options(tmp_path, run("one", 1), run("two", 2)))
    file = tmp_path / "blend" / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"weights": weights}))
    with pytest.raises(ValueError, match=r"config\.json .*`weights` should be positive and add up to 1"):
        load_model(tmp_path / "blend")


def test_an_occupied_folder_is_refused_and_can_be_overwritten(run, tmp_path):
    one = run("one", 1)
    first = blend(options(tmp_path, one))
    with pytest.raises(ValueError, match="is not empty"):
        blend(options(tmp_path, one))
    assert blend(replace(options(tmp_path, one), overwrite=True))["metrics"] == first["metrics"]


PREDICTIONS = st.integers(1, 4).flatmap(
    lambda count: st.lists(
        st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6), min_size=count, max_size=count
    )
)


@given(PREDICTIONS, st.integers(1, 8))
def test_weights_are_convex_and_never_below_the_best_alone(predictions, rounds):
    held_out = [np.array(row).reshape(3, 2) for row in predictions]
    targets = np.array([[1, 0], [0, 1], [1, 1]], dtype=bool)
    weights = choose_weights(held_out, lambda p: au_prc(p, targets), rounds)
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0
    mix = sum(weight * part for weight, part in zip(weights, held_out, strict=True))
    assert au_prc(mix, targets) >= max(au_prc(part, targets) for part in held_out) - 1e-12


@given(PREDICTIONS)
def test_the_mix_is_the_mean_of_the_probabilities(predictions):
    probabilities = [torch.tensor(row).reshape(3, 2).clamp(1e-6, 1 - 1e-6) for row in predictions]
    weights = [2.0**-i for i in range(len(probabilities))]
    weights = [weight / sum(weights) for weight in weights]
    found = mean_logits(torch.stack([p.logit() for p in probabilities]), weights).sigmoid()
    expected = sum(weight * p for weight, p in zip(weights, probabilities, strict=True))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
