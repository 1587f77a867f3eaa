"""The networks: shapes, the paper's recurrence, coherence, independence of the batch, saving."""

import math

import pytest
import torch

from hlstm import HLSTM
from hlstm.baselines import HMCLMLP, mixed_logits
from hlstm.build import build_model, load_model, method_loss
from hlstm.config import Config
from hlstm.members import NETWORKS
from hlstm.model import init_local, merged_level_sizes
from hmc_shared import Hierarchy
from hmc_shared.data import load_dataset
from hmc_shared.metrics import incoherent
from hmc_shared.partial_labels import unknown_classes

DAG = Hierarchy.from_edges([("r", "a"), ("r", "b"), ("a", "c"), ("b", "c"), ("r", "c"), ("c", "d")])


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(params=sorted(NETWORKS))
def model(request, digits):
    torch.manual_seed(0)
    return build_model(Config(method=request.param, hidden_size=16), digits).eval()


def test_scores_are_coherent_and_do_not_depend_on_the_batch(model, digits):
    rows = model.normalize(digits.test.inputs[:7])
    logits = model.logits(rows)
    assert logits.shape == (7, len(digits.hierarchy))
    assert logits.dtype == torch.float32
    assert incoherent(logits.detach(), digits.hierarchy) == 0
    alone = torch.cat([model.logits(row[None]) for row in rows])
    torch.testing.assert_close(logits, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("max_levels", [None, 1])
@pytest.mark.parametrize("method", sorted(NETWORKS))
def test_every_parameter_that_asks_for_a_gradient_gets_one(method, max_levels, digits):
    """Data-parallel training stops at one that does not."""
    config = Config(method=method, hidden_size=16, max_levels=max_levels)
    model = build_model(config, digits).train()
    loss = method_loss(config, digits.hierarchy, digits.evaluated)
    loss(*model(model.normalize(digits.train.inputs[:32])), digits.train.targets[:32]).mean().backward()
    parameters = dict(model.named_parameters())
    asking = {name for name, parameter in parameters.items() if parameter.requires_grad}
    assert asking == {name for name, parameter in parameters.items() if parameter.grad is not None}
    assert parameters.keys() - asking <= ({"gates_of_state.weight"} if max_levels == 1 else set())


@pytest.mark.parametrize("method", sorted(NETWORKS))
def test_partial_labels_teach_nothing_of_what_is_below_them(method):
    """The gradients of those outputs are 0; of a row with a leaf, or none, they are as ever."""
    evaluated = torch.ones(len(DAG), dtype=torch.bool)
    loss = method_loss(Config(method=method), DAG, evaluated)
    deepest = torch.tensor([DAG.index["b"], DAG.index["d"]])
    targets = torch.cat([DAG.ancestors_of(deepest), torch.zeros(1, len(DAG), dtype=torch.bool)])
    shape = (2, *targets.shape)
    outputs = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    gradients = [
        torch.autograd.grad(loss(*outputs, targets, left_out).sum(), outputs)[0]
        for left_out in (None, unknown_classes(targets, DAG))
    ]
    unknown = [DAG.index[name] for name in "cd"]
    assert (gradients[1][:, 0, unknown] == 0).all()
    assert gradients[0][:, 0, unknown].abs().sum() > 0
    assert torch.equal(*(gradient[:, 1:] for gradient in gradients))


@pytest.mark.parametrize("method", sorted(NETWORKS))
def test_with_prior_bias_a_network_without_inputs_gives_the_frequencies(method, digits):
    model = build_model(Config(method=method, hidden_size=16, prior_bias=True), digits).eval()
    with torch.no_grad():
        for group in model.output_layers():
            for layer in group:
                layer.weight.zero_()
    n = len(digits.train.targets)
    expected = (digits.train.targets.double().mean(0) * n + 1) / (n + 2)
    first, second = model(model.normalize(digits.test.inputs[:3]))
    for logits in (first, -second if method == "dhn" else second):  # h_n is "is not of the class"
        torch.testing.assert_close(logits.sigmoid().double(), expected.expand(3, -1), rtol=1e-5, atol=0)


def test_save_and_load_gives_the_same_bits(model, digits, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path).eval()
    assert type(loaded) is type(model)
    assert loaded.hierarchy == model.hierarchy
    assert loaded.decision == model.decision
    assert torch.equal(loaded.predict_proba(digits.test.inputs), model.predict_proba(digits.test.inputs))


def test_the_lstm_is_torchs_lstm_cell_fed_the_same_input():
    torch.manual_seed(0)
    model = HLSTM(5, DAG, hidden_size=8).eval()
    cell = torch.nn.LSTMCell(5, 8)  # its gates are in the order enter, forget, candidate, out
    order = torch.cat([torch.arange(8) + 8 * gate for gate in (1, 0, 2, 3)])
    with torch.no_grad():
        cell.weight_ih.copy_(model.gates_of_input.weight[order])
        cell.weight_hh.copy_(model.gates_of_state.weight[order])
        cell.bias_ih.copy_(model.gates_of_input.bias[order])
        cell.bias_hh.zero_()
    x = torch.randn(3, 5)
    state = cell_state = torch.zeros(3, 8)
    for _ in range(DAG.num_levels):
        state, cell_state = cell(x, (state, cell_state))
    torch.testing.assert_close(model(x)[0], model.global_head(state))


def test_levels_merge_from_below():
    assert merged_level_sizes(DAG, None) == [1, 2, 1, 1]
    assert merged_level_sizes(DAG, 2) == [1, 4]
    assert merged_level_sizes(DAG, 9) == [1, 2, 1, 1]
    assert HLSTM(3, DAG, hidden_size=4, max_levels=2)(torch.zeros(2, 3))[1].shape == (2, 5)


def test_local_initialisations_of_appendix_b():
    layer = torch.nn.Linear(400, 300)
    for how, value in (("constant", 0.3), ("zeros", 0.0), ("ones", 1.0)):
        init_local(layer, how, 0.3)
        assert layer.weight.unique().tolist() == pytest.approx([value])
    for how, deviation in (("normal", 1.0), ("he", 400**-0.5), ("xavier", math.sqrt(2 / 700))):
        init_local(layer, how, 0.3)
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert layer.weight.abs().max() > 0
    with pytest.raises(ValueError, match="local_init"):
        init_local(layer, "magic", 0.1)


def test_mixed_logits_average_probabilities():
    a, b = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(mixed_logits(a, b).sigmoid(), (a.sigmoid() + b.sigmoid()) / 2)
    far = torch.tensor([300.0]), torch.tensor([200.0])
    assert mixed_logits(*far).isfinite().all()


def test_a_last_batch_of_one_row_can_be_learnt_from(model, digits):
    model.train()
    loss = method_loss(Config(method=model.method), digits.hierarchy, digits.evaluated)
    loss(*model(model.normalize(digits.train.inputs[:1])), digits.train.targets[:1]).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_lmlp_trains_each_level_by_itself():
    model = HMCLMLP(3, DAG, hidden_size=4)
    logits, _ = model(torch.randn(5, 3))
    logits[:, -1].sum().backward()  # the deepest level
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    learning = {name for name, gradient in gradients.items() if gradient is not None and gradient.any()}
    assert learning
    assert all(name.startswith(("encoders.3", "heads.3")) for name in learning)


def test_predict_standardises_and_takes_missing_values(digits):
    torch.manual_seed(0)
    model = HLSTM(2, DAG, hidden_size=4)
    model.input_mean.copy_(torch.tensor([1.0, 2.0]))
    model.input_scale.copy_(torch.tensor([2.0, torch.inf]))  # inf: a column that was constant in training
    model.eval()
    missing = model.predict_proba([[float("nan"), 7.0]])
    torch.testing.assert_close(missing, model.logits(torch.zeros(1, 2)).sigmoid().detach())
    assert model.predict_proba(torch.zeros(0, 2)).shape == (0, 5)
    with pytest.raises(ValueError, match=r"shape \(n, 2\)"):
        model.predict(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="row 1"):
        model.predict([[0.0, 0.0], [float("inf"), 0.0]])


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"config\.json"):
        load_model(tmp_path)
