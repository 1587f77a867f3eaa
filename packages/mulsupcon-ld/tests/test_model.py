"""The network: what it promises about scores, distributions, inputs and saved models."""

import json

import numpy as np
import pytest
import torch

from hmc_shared import Hierarchy
from hmc_shared.model import load_model as shared_load_model
from mulsupcon_ld import MulSupCon
from mulsupcon_ld.build import load_model

TREE = Hierarchy.from_paths(["a/b", "a/c/d", "e"])
FLAT = Hierarchy.from_edges([], nodes="abcde")


def vectors(n=9, seed=0):
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed)) * 3


def images(n=9):
    return torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network(hierarchy=TREE, input_shape=(6,), **options):
    """With statistics that are not those of a new network."""
    torch.manual_seed(0)
    model = MulSupCon(hierarchy, input_shape, **{"width": 16, "dim": 8, **options})
    model.input_mean += 0.5
    model.input_scale *= 2.0
    model.train()
    inputs = model.normalize(vectors(64) if len(input_shape) == 1 else images(64))
    for _ in range(3):  # running statistics of batch normalisation
        model(inputs)
    return model


CASES = {
    "vectors": ({}, vectors),
    "vectors-linear": ({"projection": "linear", "distribution_of": "embedding"}, vectors),
    "images": ({"input_shape": (1, 8, 8), "encoder": "resnet8", "width": 4}, images),
}


@pytest.mark.parametrize("case", CASES)
def test_embeddings_are_unit_vectors_and_everything_is_float32(case):
    options, inputs = CASES[case]
    model = network(**options)
    with torch.autocast("cpu", torch.bfloat16):
        z, logits = model(model.normalize(inputs()))
    assert z.dtype == logits.dtype == torch.float32
    assert (z.shape, logits.shape) == ((9, 8), (9, 5))
    torch.testing.assert_close(z.norm(dim=1), torch.ones(9))


@pytest.mark.parametrize("case", CASES)
def test_a_row_is_scored_by_itself(case):
    options, inputs = CASES[case]
    model = network(**options)
    raw = inputs()
    together = model.predict_proba(raw)
    for size in (1, 4):
        torch.testing.assert_close(model.predict_proba(raw, batch_size=size), together, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.predict_proba(raw.flip(0)).flip(0), together, rtol=1e-5, atol=1e-6)
    assert model.training  # as before
    assert model.predict_proba(raw[:0]).shape == (0, 5)


def test_no_class_exceeds_its_parent_where_the_model_is_coherent():
    raw = vectors(200)
    parents, children = TREE.edges.unbind(1)
    coherent, free = network().predict_proba(raw), network(coherent=False).predict_proba(raw)
    assert (coherent[:, children] <= coherent[:, parents]).all()
    assert (free[:, children] > free[:, parents]).any()
    leaves = TREE.leaves
    torch.testing.assert_close(coherent[:, leaves], free[:, leaves])
    for node in range(len(TREE)):  # the best of the class and its descendants
        below = TREE.ancestors[:, node]
        torch.testing.assert_close(coherent[:, node], free[:, below].max(1).values)


def test_plain_labels_are_not_constrained():
    model = network(FLAT)
    assert not model.is_constrained
    torch.testing.assert_close(
        model.predict_proba(vectors()), network(FLAT, coherent=False).predict_proba(vectors()), rtol=0, atol=0
    )


@pytest.mark.parametrize("case", CASES)
def test_distributions_are_a_softmax_of_the_layers_own_output(case):
    options, inputs = CASES[case]
    model = network(**options)
    found = model.distributions(inputs())
    torch.testing.assert_close(found.sum(1), torch.ones(9))
    assert (found > 0).all()
    with torch.no_grad():
        z, logits = model.eval()(model.normalize(inputs()))
        of = z if options.get("distribution_of") == "embedding" else model.encoder(model.normalize(inputs()))
        torch.testing.assert_close(logits, of @ model.fc.weight.T + model.fc.bias)
    torch.testing.assert_close(found, logits.double().exp().float() / logits.exp().sum(1, keepdim=True))


@pytest.mark.parametrize("case", CASES)
def test_a_saved_model_predicts_the_same_bits(case, tmp_path):
    options, inputs = CASES[case]
    model = network(**options, resize="pad")
    model.save_pretrained(tmp_path / "model")
    loaders = (load_model, shared_load_model, MulSupCon.from_pretrained)
    for again in (load(tmp_path / "model") for load in loaders):
        assert torch.equal(again.predict_proba(inputs()), model.predict_proba(inputs()))
        assert torch.equal(again.distributions(inputs()), model.distributions(inputs()))
        assert torch.equal(again.predict(inputs()), model.predict(inputs()))
        assert again.hierarchy == TREE
        assert (again.input_shape, again.resize) == (model.input_shape, "pad")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "mulsupcon-ld" in card
    assert "load_model" in card


def test_a_folder_of_another_package_is_refused(tmp_path):
    network().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["library"], config["method"]) == ("mulsupcon_ld", "mulsupcon-ld")
    (tmp_path / "config.json").write_text(json.dumps(config | {"method": "hcal"}))
    with pytest.raises(ValueError, match=r"config\.json is not the configuration of a model of this package"):
        load_model(tmp_path)


def test_raw_features_are_standardised_and_missing_ones_are_the_mean():
    model = network()
    raw = vectors()
    missing = raw.clone()
    missing[2, 3] = torch.nan
    filled = raw.clone()
    filled[2, 3] = model.input_mean[3]
    assert torch.equal(model.predict_proba(missing), model.predict_proba(filled))
    standardised = ((raw - model.input_mean) / model.input_scale).float()
    expected = model.eval().logits(standardised).sigmoid()
    torch.testing.assert_close(model.predict_proba(raw), expected)
    assert torch.equal(model.predict_proba(raw.numpy().astype(np.float64)), model.predict_proba(raw.double()))


def test_a_constant_feature_of_the_training_rows_does_not_count():
    model = network()
    model.input_scale[1] = torch.inf
    raw = vectors()
    other = raw.clone()
    other[:, 1] += 100
    assert torch.equal(model.predict_proba(raw), model.predict_proba(other))


def test_images_are_bytes_or_their_numbers():
    model = network(input_shape=(1, 8, 8), encoder="resnet8", width=4)
    assert torch.equal(model.predict_proba(images()), model.predict_proba(images().float()))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (torch.zeros(3, 5), r"the inputs should have shape \(n, 6\)\. Found \(3, 5\)"),
        (torch.zeros(6), r"the inputs should have shape \(n, 6\)\. Found \(6,\)"),
        (
            torch.tensor([[0.0] * 6, [torch.inf] + [0.0] * 5]),
            r"finite, or NaN where missing\. Found inf in row 1",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(raw, message):
    model = network()
    for method in (model.predict_proba, model.predict, model.distributions):
        with pytest.raises(ValueError, match=message):
            method(raw)


@pytest.mark.parametrize(
    ("input_shape", "encoder", "message"),
    [
        ((1, 8, 8), "mlp", r"`encoder` should be an image encoder for inputs of shape \(1, 8, 8\)"),
        ((6,), "resnet8", r"`encoder` should be 'mlp' for inputs of shape \(6,\)\. Found 'resnet8'"),
        ((3, 8, 8), "resnet19", "resnet19"),
    ],
)
def test_encoders_that_do_not_suit_are_refused(input_shape, encoder, message):
    with pytest.raises(ValueError, match=message):
        MulSupCon(TREE, input_shape, encoder=encoder)


def test_dropout_and_the_projection_are_as_told():
    model = MulSupCon(TREE, (6,), dropout=0.7, projection="linear")
    assert {layer.p for layer in model.modules() if isinstance(layer, torch.nn.Dropout)} == {0.7}
    assert isinstance(model.projection, torch.nn.Linear)
    hidden = MulSupCon(TREE, (6,), width=32, dim=5)
    assert any(isinstance(layer, torch.nn.BatchNorm1d) for layer in hidden.projection.modules())
    widths = [layer.out_features for layer in hidden.encoder.modules() if isinstance(layer, torch.nn.Linear)]
    assert widths == [32, 64, 32]
    assert hidden.fc.in_features == 32
    assert MulSupCon(TREE, (6,), dim=5, distribution_of="embedding").fc.in_features == 5
