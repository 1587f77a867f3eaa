"""From raw inputs to probabilities and labels, and from a folder to the same bits, by two toy models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import hub_mixin
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import load_file, save_file

import hmc_shared
from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_descendants
from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.in_memory import from_arrays
from hmc_shared.embed.embedder import Embedder
from hmc_shared.embed.texts import fit_texts
from hmc_shared.model import check_inputs, load_model, load_model_of, load_pretrained
from hmc_shared.predict.decision import Decision, confident_labels

TREE = Hierarchy.from_paths(["a/b", "a/c", "d/e", "d/f/g"])
FLAT = Hierarchy.from_edges([], nodes=["x", "y", "z"])
FEATURES = 4


def raw_features(n: int = 30) -> np.ndarray:
    """(n, 4) float32: a column far from 0, one with missing values, a constant one."""
    X = np.random.default_rng(0).normal([1e4, 0, 3, 0], [1, 10, 0.01, 1], (n, FEATURES)).astype(np.float32)
    X[::3, 1] = np.nan
    X[:, 3] = np.float32(0.1)
    return X


@pytest.fixture
def dataset() -> HierarchicalDataset:
    X = raw_features()
    targets = np.zeros((len(X), len(TREE)), dtype=bool)
    targets[np.arange(len(X)), np.arange(len(X)) % len(TREE)] = True
    return from_arrays(X, TREE.add_ancestors(targets), TREE, seed=0)


@pytest.fixture
def model(toy, dataset):
    """A linear model with statistics, and with a calibration that turns some parents and children around."""
    torch.manual_seed(0)
    model = toy.LinearModel(FEATURES, TREE)
    model.learn_statistics(dataset)
    model.calibration.temperature.copy_(torch.tensor([2.0, 0.5, 1.0]))
    model.calibration.shift.copy_(torch.tensor([-1.0, 0.5, 0.3]))
    return model.eval()


@pytest.fixture
def image_model(toy):
    torch.manual_seed(0)
    digits = load_dataset("digits", view="image")
    model = toy.ImageModel((1, 8, 8), digits.hierarchy)
    model.learn_statistics(digits)
    return model


def is_coherent(values: torch.Tensor) -> bool:
    parents, children = TREE.edges.unbind(1)
    return bool((values[:, children] <= values[:, parents]).all())


class TestNormalise:
    def test_vectors_are_numpys_in_float64_and_0_where_nothing_is_known(self, model, dataset):
        X = raw_features()
        mean, scale = dataset.feature_mean.numpy(), dataset.feature_scale.numpy()
        assert mean.dtype == scale.dtype == np.float64
        expected = ((X.astype(np.float64) - mean) / scale).astype(np.float32)
        expected[np.isnan(X)] = 0
        expected[:, 3] = 0
        normalised = model.normalize(torch.from_numpy(X))
        assert normalised.dtype == torch.float32
        np.testing.assert_array_equal(normalised.numpy(), expected)
        in_float32 = (X - mean.astype(np.float32)) / scale.astype(np.float32)
        assert np.abs(in_float32[:, 0] - expected[:, 0]).max() > 1e-5  # so float64 is worth it

    def test_a_constant_column_is_0_whatever_it_is_later(self, model):
        later = torch.from_numpy(raw_features())
        later[:, 3] = 1e6
        assert not model.normalize(later)[:, 3].any()

    def test_integers_and_float64_are_raw_vectors_too(self, model):
        for kind in (torch.int64, torch.uint8, torch.float64):
            raw = torch.tensor([[3, 7, 1, 0]]).to(kind)
            assert torch.equal(model.normalize(raw), model.normalize(raw.float()))

    def test_without_statistics_vectors_stay_as_they_are(self, toy, dataset):
        model = toy.LinearModel(FEATURES, TREE)
        model.learn_statistics(replace(dataset, feature_mean=None, feature_scale=None))
        raw = torch.randn(3, FEATURES)
        assert torch.equal(model.normalize(raw), raw)

    def test_images_are_standardised_by_channel_and_lie_as_convolutions_want_them(self, toy):
        images = torch.randint(0, 256, (5, 3, 6, 7), dtype=torch.uint8)
        model = toy.ImageModel((3, 6, 7), TREE)
        model.input_mean.copy_(torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1))
        model.input_scale.copy_(torch.tensor([4.0, 5.0, 6.0]).view(3, 1, 1))
        normalised = model.normalize(images)
        assert normalised.dtype == torch.float32
        assert normalised.is_contiguous(memory_format=torch.channels_last)
        for channel in range(3):
            expected = (images[:, channel].float() - (channel + 1)) / (channel + 4)
            assert torch.equal(normalised[:, channel], expected)

    def test_the_decision_learns_paths_and_columns_and_keeps_its_threshold(self, toy, dataset):
        model = toy.LinearModel(FEATURES, TREE)
        model.decision = Decision(threshold=0.25)
        model.learn_statistics(replace(dataset, feature_names=("p", "q", "r", "s")))
        assert model.decision == Decision(0.25, dataset.is_single_path, ("p", "q", "r", "s"))
        assert dataset.is_single_path


class TestAnswers:
    def test_probabilities_are_calibrated_and_coherent(self, model):
        X = raw_features()
        logits = model.logits_of(X)
        temperature, shift = torch.tensor([2.0, 0.5, 1.0]), torch.tensor([-1.0, 0.5, 0.3])
        moved = logits / temperature[TREE.depth] + shift[TREE.depth]
        assert not is_coherent(moved)  # so the constraint has something to do
        p = model.predict_proba(X)
        torch.testing.assert_close(p, max_over_descendants(moved, TREE).sigmoid())
        assert is_coherent(p)
        assert is_coherent(model.to_scores(logits))
        assert p.dtype == logits.dtype == torch.float32
        assert not p.requires_grad

    def test_logits_are_those_of_normalised_inputs(self, model):
        raw = torch.from_numpy(raw_features())
        logits = model.logits_of(raw)
        expected = max_over_descendants(model.layer(model.normalize(raw)), TREE)
        torch.testing.assert_close(logits, expected)
        assert torch.equal(model.predict_proba(raw), model.to_probabilities(logits))
        assert torch.equal(model.predict_proba(raw.numpy()), model.predict_proba(raw))

    def test_a_model_may_be_incoherent(self, toy):
        torch.manual_seed(0)
        model = toy.LinearModel(FEATURES, TREE, coherent=False)
        assert not model.is_constrained
        assert not is_coherent(model.predict_proba(torch.randn(30, FEATURES)))
        assert toy.LinearModel(FEATURES, TREE).is_constrained
        assert not toy.LinearModel(FEATURES, FLAT).is_constrained

    def test_labels_are_what_the_decision_says(self, model):
        X = raw_features()
        scores, p = model.to_scores(model.logits_of(X)), model.predict_proba(X)
        model.decision = Decision(threshold=0.3, single_path=True)
        assert torch.equal(model.predict(X), scores >= 0.3)
        model.decision = Decision()
        assert torch.equal(model.predict(X), p >= 0.5)
        model.decision = Decision(single_path=True)
        labels = model.predict(X)
        assert labels.dtype == torch.bool
        assert TREE.has_ancestors(labels)
        best = TREE.leaves[p[:, TREE.leaves].argmax(1)]
        assert torch.equal(labels, TREE.ancestors[best])

    def test_a_confidence_takes_the_place_of_the_threshold(self, model):
        logits = model.logits_of(raw_features())
        for single_path in (True, False):
            model.decision = Decision(threshold=100.0, single_path=single_path)
            expected = confident_labels(model.to_probabilities(logits), TREE, 0.6, single_path=single_path)
            assert torch.equal(model.to_labels(logits, 0.6), expected)
            assert expected.any()

    def test_calibration_is_fitted_to_held_out_samples(self, model):
        logits = model.logits_of(raw_features(2000))
        targets = torch.bernoulli((logits / 4).sigmoid(), generator=torch.Generator().manual_seed(0)).bool()
        model.calibrate(logits, targets)
        np.testing.assert_allclose(model.calibration.temperature, 4, rtol=0.5)
        model.calibration.reset()
        model.calibrate(logits, targets, TREE.depth == 1)
        assert model.calibration.temperature[0] == model.calibration.temperature[2] == 1

    def test_the_batch_size_does_not_matter(self, model, image_model):
        images = load_dataset("digits", view="image").test.inputs[:10]
        for each, raw in ((model, torch.from_numpy(raw_features())), (image_model, images)):
            expected = each.predict_proba(raw)
            for size in (1, 3, 1000):
                torch.testing.assert_close(each.predict_proba(raw, size), expected)
                assert torch.equal(each.predict(raw, size), each.predict(raw))

    def test_batches_have_the_size_of_the_class(self, image_model, monkeypatch):
        sizes = []
        plain = type(image_model).logits

        def counted(self, inputs):
            sizes.append(len(inputs))
            return plain(self, inputs)

        monkeypatch.setattr(type(image_model), "logits", counted)
        image_model.predict_proba(torch.zeros(10, 1, 8, 8))
        image_model.predict_proba(torch.zeros(10, 1, 8, 8), 9)
        assert sizes == [4, 4, 2, 9, 1]

    @pytest.mark.parametrize("training", [True, False])
    def test_dropout_is_off_and_the_mode_is_as_before(self, model, training):
        expected = model.predict_proba(raw_features())
        model.train(training)
        assert torch.equal(model.predict_proba(raw_features()), expected)
        assert model.training is model.dropout.training is training
        with pytest.raises(ValueError, match="shape"):
            model.predict(torch.zeros(2, FEATURES + 1))
        assert model.training is training

    @pytest.mark.parametrize(
        "shape", [(2, FEATURES + 1), (FEATURES,), (2, FEATURES, 1), ()], ids=["wide", "row", "deep", "number"]
    )
    def test_another_shape_is_refused(self, model, shape):
        with pytest.raises(ValueError, match=r"the inputs should have shape \(n, 4\)\. Found \("):
            model.predict_proba(torch.zeros(shape))

    @pytest.mark.parametrize("value", [np.inf, -np.inf])
    def test_an_infinite_value_is_refused_with_its_row(self, model, value):
        X = raw_features()
        X[7, 2] = value
        with pytest.raises(ValueError, match=r"finite, or NaN where missing\. Found inf in row 7"):
            model.predict(X)

    def test_no_rows_are_no_answers(self, model):
        assert model.predict_proba(torch.zeros(0, FEATURES)).shape == (0, len(TREE))


class TestFiles:
    def test_the_same_bits_come_back(self, toy, model, image_model, tmp_path):
        model.decision = Decision(threshold=1 / 3, single_path=True, features=("p", "q", "r", "é"))
        images = load_dataset("digits", view="image").test.inputs[:10]
        for saved, raw in ((model, raw_features()), (image_model, images)):
            folder = tmp_path / saved.method
            saved.save_pretrained(folder)
            again = type(saved).from_pretrained(folder)
            assert {path.name for path in folder.iterdir()} == {
                *("README.md", "config.json", "decision.json", "model.safetensors")
            }
            content = json.loads((folder / "config.json").read_text())
            assert (content["library"], content["method"]) == ("toy", saved.method)
            before, after = saved.state_dict(), again.state_dict()
            assert before.keys() == after.keys()
            assert all(torch.equal(before[name], after[name]) for name in before)
            assert again.input_mean.dtype == saved.input_mean.dtype
            assert (again.decision, again.hierarchy) == (saved.decision, saved.hierarchy)
            assert again.input_shape == saved.input_shape
            assert torch.equal(again.predict_proba(raw), saved.predict_proba(raw))
            assert torch.equal(again.predict(raw), saved.predict(raw))

    def test_options_of_the_constructor_come_back(self, toy, tmp_path):
        toy.LinearModel(FEATURES, TREE, coherent=False).save_pretrained(tmp_path / "m")
        assert not toy.LinearModel.from_pretrained(tmp_path / "m").is_constrained
        toy.ImageModel((3, 9, 8), TREE, resize="imagenet").save_pretrained(tmp_path / "i")
        again = toy.ImageModel.from_pretrained(tmp_path / "i")
        assert (again.resize, again.input_shape) == ("imagenet", (3, 9, 8))

    def test_a_model_of_the_hub_has_its_decision_and_embedder_too(self, toy, model, tmp_path, monkeypatch):
        model.decision = Decision(threshold=0.125)
        fit = fit_texts(["one", "two", "three"], 2)
        model.embedder = Embedder("tfidf", "texts", 2, ("title",), fit=fit)
        model.save_pretrained(tmp_path)
        asked = []

        def download(repo_id: str, filename: str, **options: object) -> str:
            asked.append((repo_id, filename, options.get("revision")))
            if not (tmp_path / filename).is_file():
                raise EntryNotFoundError("no such file")
            return str(tmp_path / filename)

        monkeypatch.setattr(hub_mixin, "hf_hub_download", download)
        monkeypatch.setattr(hmc_shared.model, "hf_hub_download", download)
        again = toy.LinearModel.from_pretrained("me/toy", revision="v1")
        assert again.decision == model.decision
        assert (again.embedder.of_texts(["two"]) == model.embedder.of_texts(["two"])).all()
        assert ("me/toy", "decision.json", "v1") in asked
        (tmp_path / "embedder.json").unlink()
        (tmp_path / "decision.json").unlink()
        again = toy.LinearModel.from_pretrained("me/toy")
        assert (again.decision, again.embedder) == (Decision(), None)

    @pytest.mark.parametrize("inside", ["model", "."])
    def test_a_run_folder_or_its_model_is_loaded_by_its_package(self, toy, model, tmp_path, inside):
        model.save_pretrained(tmp_path / inside)
        for load in (
            load_model,
            hmc_shared.load_model,
            lambda folder: load_model_of("toy", str(folder), "predict"),
        ):
            again = load(tmp_path)
            assert type(again) is toy.LinearModel
            assert torch.equal(again.predict_proba(raw_features()), model.predict_proba(raw_features()))

    def test_nothing_is_printed_where_results_go(self, toy, model, tmp_path, capsys):
        model.save_pretrained(tmp_path)
        capsys.readouterr()
        load_model(tmp_path)
        assert capsys.readouterr().out == ""

    def test_a_model_of_another_package_names_its_command(self, toy, model, tmp_path):
        model.save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=r"is a model of toy: `toy predict .*` takes it\.$"):
            load_model_of("another", str(tmp_path), "predict")
        assert load_model_of(None, str(tmp_path), "predict").library == "toy"

    def test_a_package_that_is_not_installed_is_named_with_those_that_are(self, toy, model, tmp_path):
        model.save_pretrained(tmp_path)
        edit(tmp_path / "config.json", library="elsewhere")
        with pytest.raises(
            ValueError, match=r"is a model of the package 'elsewhere'\. Installed packages: toy"
        ):
            load_model(tmp_path)

    def test_a_folder_without_a_model_is_named(self, toy, tmp_path):
        with pytest.raises(ValueError, match=r"has no trained model \(no config\.json"):
            load_model(tmp_path)

    @pytest.mark.parametrize("text", ["{", "[]", "{}", "3"])
    def test_a_damaged_configuration_is_named(self, toy, tmp_path, text):
        (tmp_path / "config.json").write_text(text)
        message = r"config\.json ?(is not the configuration of|:1: damaged JSON|should hold a mapping)"
        with pytest.raises(ValueError, match=message):
            load_model(tmp_path)

    def test_an_unknown_method_and_missing_weights_are_named(self, toy, model, tmp_path):
        model.save_pretrained(tmp_path)
        (tmp_path / "model.safetensors").rename(tmp_path / "elsewhere")
        with pytest.raises(ValueError, match=r"model\.safetensors does not hold the weights of this model"):
            load_pretrained(tmp_path, toy.MODELS)
        (tmp_path / "model.safetensors").write_bytes((tmp_path / "elsewhere").read_bytes()[:50])
        with pytest.raises(ValueError, match=r"model\.safetensors does not hold the weights of this model"):
            load_pretrained(tmp_path, toy.MODELS)
        weights = load_file(tmp_path / "elsewhere")
        weights.pop(next(name for name in weights if name.endswith("weight")))
        save_file(weights, tmp_path / "model.safetensors")  # one is missing: it would stay random
        with pytest.raises(ValueError, match=r"does not hold the weights of this model.*weight"):
            load_pretrained(tmp_path, toy.MODELS)
        (tmp_path / "elsewhere").rename(tmp_path / "model.safetensors")
        edit(tmp_path / "config.json", method="quadratic")
        with pytest.raises(ValueError, match=r"of a model of this package: 'quadratic'"):
            load_pretrained(tmp_path, toy.MODELS)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"num_features": "4"}, r"`num_features` should be of the type int\. Found '4'"),
            ({"num_features": True}, "`num_features` should be of the type int"),
            ({"num_features": None}, "`num_features` should be of the type int"),
            ({"hierarchy": 3}, "`hierarchy` should be of the type Hierarchy. Found 3"),
        ],
    )
    def test_a_value_of_another_type_is_named(self, toy, model, tmp_path, changes, message):
        model.save_pretrained(tmp_path)
        edit(tmp_path / "config.json", **changes)
        with pytest.raises(ValueError, match=rf"config\.json is not the configuration of .*{message}"):
            load_model(tmp_path)

    @pytest.mark.parametrize("features", [10**5, 10**8, 10**12])
    def test_a_network_that_is_too_large_for_its_weights_is_refused(self, toy, model, tmp_path, features):
        model.save_pretrained(tmp_path)
        edit(tmp_path / "config.json", num_features=features)
        with pytest.raises(ValueError, match=r"(config\.json|model\.safetensors) .* of this") as error:
            load_model(tmp_path)
        assert len(str(error.value)) < 1000

    def test_weights_that_are_not_finite_are_refused(self, toy, model, tmp_path):
        with torch.no_grad():
            next(model.parameters()).view(-1)[0] = torch.nan
        model.save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=r"model\.safetensors holds a number in .* that is not finite"):
            load_model(tmp_path)

    def test_a_damaged_decision_is_named(self, toy, model, tmp_path):
        model.save_pretrained(tmp_path)
        (tmp_path / "decision.json").write_text("{}")
        with pytest.raises(ValueError, match=rf"^{tmp_path}/decision\.json does not say how to decide"):
            load_model(tmp_path)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_inputs_in_double_precision_are_rounded_as_those_of_data_sets():
    raw = np.array([[0.1, 1 / 3]])
    assert check_inputs(raw, (2,)).dtype == torch.float32
    assert check_inputs(np.zeros((1, 2), dtype=np.uint8), (2,)).dtype == torch.uint8
    with pytest.raises(ValueError, match="should be an array of numbers"):
        check_inputs([["a", "b"]], (2,))
