"""Networks: features, prototypes, encoders, pre-trained weights, saving, prediction."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hcal import HCAL
from hcal.build import build_model, check_labels, load_model, method_losses
from hcal.config import Config
from hcal.networks import build_encoder
from hmc_shared import Hierarchy
from hmc_shared.data import HierarchicalDataset, Split, load_dataset
from hmc_shared.metrics import incoherent

UNBALANCED = Hierarchy.from_paths(["p", "b/c/x", "b/c/y", "b/d"])
SMALL = {"encoder": "resnet8", "width": 4, "dim": 16}


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", view="image")


@pytest.fixture(params=["hcal", "flat", "mmoe", "cmt", "dmt"])
def model(request, digits):
    torch.manual_seed(0)
    return build_model(Config(method=request.param, **SMALL), digits).eval()


def step(config, model, inputs, paths):
    losses, weights = method_losses(config, model)(model(inputs), paths, torch.Generator().manual_seed(0))
    (losses @ weights).backward()
    return losses


def paths_of(dataset, rows):
    from hmc_shared.metrics import level_targets

    return torch.from_numpy(level_targets(dataset.train.targets[:rows], dataset.hierarchy))


def test_scores_do_not_depend_on_the_batch(model, digits):
    inputs = model.normalize(digits.test.inputs[:5])
    logits = model.logits(inputs)
    assert logits.shape == (5, len(digits.hierarchy))
    assert logits.dtype == torch.float32
    alone = torch.cat([model.logits(row[None]) for row in inputs])
    torch.testing.assert_close(logits, alone, rtol=1e-5, atol=1e-5)


def test_every_parameter_learns(model, digits):
    model.train()
    config = Config(method=model.method, **SMALL)
    losses = step(config, model, model.normalize(digits.train.inputs[:32]), paths_of(digits, 32))
    assert losses.shape == (3,)
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not without  # data-parallel training would stop at one


def test_normalised_training_images_have_mean_0_and_deviation_1(model, digits):
    normalised = model.normalize(digits.train.inputs)
    assert normalised.mean().item() == pytest.approx(0, abs=1e-5)
    assert normalised.std().item() == pytest.approx(1, abs=1e-3)


def test_save_and_load_gives_the_same_bits(model, digits, tmp_path):
    model.calibrate(torch.randn(50, 16), digits.train.targets[:50])
    assert model.calibration.temperature != 1
    model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path).eval()
    assert type(loaded) is type(model)
    assert loaded.hierarchy == model.hierarchy
    assert loaded.decision == model.decision
    assert loaded.decision.single_path
    inputs = digits.test.inputs
    assert torch.equal(model.predict_proba(inputs), loaded.predict_proba(inputs))
    assert torch.equal(model.predict(inputs), loaded.predict(inputs))


def test_hcal_loads_by_its_own_class(digits, tmp_path):
    build_model(Config(decode="path", **SMALL), digits).save_pretrained(tmp_path)
    loaded = HCAL.from_pretrained(tmp_path)
    assert loaded.decode == "path"
    assert loaded.input_shape == (1, 8, 8)


@pytest.mark.parametrize("decode", ["independent", "path", "leaf"])
def test_predictions_are_coherent(model, digits, decode):
    model.decode = decode
    inputs = digits.test.inputs[:50]
    assert incoherent(model.predict_proba(inputs), digits.hierarchy) == 0
    labels = model.predict(inputs)
    assert (labels.sum(1) == 3).all()
    if decode != "independent":
        assert digits.hierarchy.has_ancestors(labels)
    assert not model.training


def test_logits_are_cosines_over_temperature():
    torch.manual_seed(0)
    model = HCAL(UNBALANCED, (6,), encoder="mlp", width=8, dim=5, temperature=0.25)
    features = model(torch.randn(3, 6))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    prototypes = torch.cat(list(model.prototypes))
    expected = nn.functional.cosine_similarity(features[:, None], prototypes[None], dim=2) / 0.25
    torch.testing.assert_close(model.logits_of_outputs(features), expected)
    assert [len(p) for p in model.prototypes] == [2, 2, 2]


def test_prototypes_step_twice_as_far_at_each_level_above():
    model = HCAL(UNBALANCED, (6,), encoder="mlp", width=8, dim=5)
    encoder, projection, *prototypes = model.parameter_groups(0.01, 0.05)
    assert encoder["lr"] == 0.01
    by_depth = {id(p): depth for depth, p in enumerate(model.prototypes)}
    assert {by_depth[id(group["params"][0])]: group["lr"] for group in prototypes} == {
        2: 0.05,
        1: 0.1,
        0: 0.2,
    }
    listed = [id(p) for group in (encoder, projection, *prototypes) for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())


def test_single_task_networks_share_nothing(digits):
    config = Config(task="single", **SMALL)
    model = build_model(config, digits).train()
    outputs = model(model.normalize(digits.train.inputs[:32]))
    assert outputs.shape == (32, 3, 16)
    losses, weights = method_losses(config, model)(outputs, paths_of(digits, 32), torch.Generator())
    assert weights.tolist() == [1, 1, 1]
    losses[1].backward()
    learning = {
        name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()
    }
    assert learning == {"1"}  # encoders.1 and prototypes.1
    assert model.eval().logits(model.normalize(digits.test.inputs[:2])).shape == (2, 16)


def test_vectors_are_standardised_by_the_training_rows_and_nan_is_their_mean():
    vectors = load_dataset("digits")
    model = build_model(Config(encoder="mlp"), vectors).eval()
    normalised = model.normalize(vectors.train.inputs)
    constant = vectors.train.inputs.amax(0) == vectors.train.inputs.amin(0)
    torch.testing.assert_close(normalised.mean(0), torch.zeros(64), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.std(0, correction=0), (~constant).float(), atol=1e-5, rtol=0)
    raw = vectors.test.inputs[:1].clone()
    raw[0] = torch.nan
    torch.testing.assert_close(model.logits(model.normalize(raw[:1])), model.logits(torch.zeros(1, 64)))


def test_data_that_hcal_cannot_take_is_refused(digits):
    targets = digits.train.targets.clone()
    targets[5] = True
    several = replace(digits, train=replace(digits.train, targets=targets))
    with pytest.raises(ValueError, match=r"one path.*several classes in one level in 'digits'"):
        check_labels(several)
    targets[5] = False
    unlabelled = replace(digits, train=replace(digits.train, targets=targets))
    with pytest.raises(ValueError, match=f"none for '{digits.train.ids[5]}'"):
        check_labels(unlabelled)
    unknown = torch.zeros_like(targets)
    unknown[5] = True
    unsure = replace(digits, train=replace(digits.train, targets=targets, unknown=unknown))
    with pytest.raises(ValueError, match=f"none that is known for '{digits.train.ids[5]}'"):
        check_labels(unsure)
    check_labels(digits)
    dag = Hierarchy.from_edges([("a", "c"), ("b", "c")])
    split = Split(torch.zeros(1, 2), torch.ones(1, 3, dtype=torch.bool), ("only",))
    known = {"evaluated": torch.ones(3, dtype=torch.bool), "kind": "vector"}
    with pytest.raises(ValueError, match="two parents in 'dag'"):
        check_labels(HierarchicalDataset("dag", dag, train=split, validation=split, test=split, **known))


@pytest.mark.parametrize(
    ("name", "shape", "options", "features"),
    [
        ("mlp", (7,), {"width": 9}, 9),
        ("mlp", (1, 4, 4), {}, 256),
        ("resnet20", (1, 8, 8), {"width": 4}, 16),
        ("resnet18", (1, 32, 32), {"stem": "cifar", "max_pool": False}, 512),
    ],
)
def test_encoders_give_a_row_of_features(name, shape, options, features):
    encoder, size = build_encoder(name, shape, **options)
    assert size == features
    assert encoder.eval()(torch.zeros(2, *shape)).shape == (2, features)


def test_vectors_need_the_mlp():
    with pytest.raises(ValueError, match=r"'mlp' for inputs of shape \(64,\)"):
        build_encoder("resnet18", (64,))


@pytest.mark.parametrize("options", [SMALL, {"encoder": "mlp", "width": 8}])
def test_networks_start_from_the_given_weights(options, tmp_path, capsys):
    digits = load_dataset("digits", view=None if options["encoder"] == "mlp" else "image")
    torch.manual_seed(1)
    (source,) = build_model(Config(**options), digits).backbones()
    torch.save(source.state_dict(), tmp_path / "trained.pt")
    model = build_model(Config(weights=str(tmp_path / "trained.pt"), **options), digits)
    (encoder,) = model.backbones()
    weights = source.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())
    assert capsys.readouterr().err.endswith("new: none\n")
    with pytest.raises(ValueError, match=r"none that fits in .*trained\.pt"):
        build_model(Config(**{**options, "width": 5}, weights=str(tmp_path / "trained.pt")), digits)


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"config\.json"):
        load_model(tmp_path)


@pytest.mark.parametrize("method", ["hcal", "flat", "mmoe", "cmt"])
def test_a_frozen_pretrained_encoder_sees_images_in_its_own_way(method, digits, tmp_path):
    options = {"encoder": "lite0", "weights": "lite0", "freeze": "all", "dim": 16}
    model = build_model(Config(method=method, **options), digits)
    assert torch.equal(model.input_mean.flatten(), torch.tensor([127.5]))
    assert torch.equal(model.input_scale.flatten(), torch.tensor([127.5]))
    (encoder,) = model.backbones()
    assert not encoder.training
    assert model.training
    trained = {id(p) for group in model.parameter_groups(0.1, 0.2, 0.5) for p in group["params"]}
    assert trained == {id(p) for p in model.parameters() if p.requires_grad}
    assert not trained & {id(p) for p in encoder.parameters()}
    model.save_pretrained(tmp_path)
    images = digits.test.inputs[:4]
    torch.testing.assert_close(load_model(tmp_path).predict_proba(images), model.predict_proba(images))


@pytest.mark.parametrize("options", [{"accumulate": 2}, {"freeze": "all"}])
def test_combined_gradients_are_of_one_batch_and_of_an_encoder_that_is_trained(options, digits):
    name = next(iter(options))
    with pytest.raises(ValueError, match=rf"`--{name}.*`--method imtl-g`"):
        build_model(Config(method="imtl-g", **options, **SMALL), digits)


def test_step_sizes_fall_towards_the_images(model):
    sizes = [group["lr"] for group in model.parameter_groups(0.1, 0.2, 0.5)]
    assert sizes[:5] == [0.05, 0.025, 0.0125, 0.00625, 0.1]
