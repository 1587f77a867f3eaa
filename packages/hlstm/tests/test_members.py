"""Members: as so many single networks, trained together."""

import pytest
import torch

from hlstm.batches import member_seeds, training_batches
from hlstm.build import build_model, load_model, method_loss
from hlstm.config import Config
from hlstm.members import NETWORKS, Members, transposed
from hlstm.train import train
from hmc_shared.data import load_dataset
from hmc_shared.metrics import incoherent
from hmc_shared.mixture import mean_logits
from hmc_shared.predict.score import score_split

EACH = pytest.mark.parametrize("method", NETWORKS)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", view="vector")


def config(method="chmcnn", **options):
    small = {"hidden_size": 16, "dropout": 0.0, "max_levels": None, "batch_size": 50, "members": 3}
    return Config(method=method, **small | options)


def single_networks(together, digits, configuration):
    """The members as networks of their own, with the same weights and statistics."""
    networks = [build_model(replaced(configuration), digits) for _ in range(together.members)]
    state = together.stacked_state()
    for number, network in enumerate(networks):
        own = {name: stack[number] for name, stack in state.items()}
        network.load_state_dict(network.state_dict() | own)
    return networks


def replaced(configuration):
    return Config(**vars(configuration) | {"members": 1})


@EACH
def test_outputs_and_gradients_are_those_of_single_networks(digits, method):
    configuration = config(method, prior_bias=True)
    together = build_model(configuration, digits)
    alone = single_networks(together, digits, configuration)
    loss_of = method_loss(configuration, digits.hierarchy, digits.evaluated)
    rows = torch.randperm(150, generator=torch.Generator().manual_seed(0))
    features, targets = together.normalize(digits.train.inputs[rows]), digits.train.targets[rows]
    outputs = together(features.unflatten(0, (3, -1)))
    loss_of(*outputs, targets).sum().backward()
    parameters = dict(together.networks.named_parameters())
    for number, network in enumerate(alone):
        part = slice(50 * number, 50 * (number + 1))
        own = network(features[part])
        for mine, theirs in zip(own, outputs, strict=True):
            torch.testing.assert_close(theirs[part], mine, rtol=1e-5, atol=1e-5)
        loss_of(*own, targets[part]).sum().backward()
        for name, parameter in network.named_parameters():
            if parameter.grad is not None:
                torch.testing.assert_close(
                    transposed(parameters[name].grad)[number], parameter.grad, rtol=1e-4, atol=1e-5
                )


@EACH
def test_the_prediction_is_the_mean_of_their_probabilities_and_coherent(digits, method):
    configuration = config(method)
    together = build_model(configuration, digits)
    alone = single_networks(together, digits, configuration)
    scores = score_split(together, digits.test)
    expected = torch.stack([score_split(network, digits.test).sigmoid() for network in alone]).mean(0)
    torch.testing.assert_close(scores.sigmoid(), expected, rtol=1e-4, atol=1e-6)
    assert incoherent(scores.numpy(), digits.hierarchy) == 0


def test_a_mean_of_extreme_probabilities_stays_finite():
    logits = torch.tensor([[-200.0, 200.0, 0.0], [-200.0, 200.0, 0.0]])
    assert torch.equal(mean_logits(logits), logits[0])
    assert mean_logits(torch.tensor([[-200.0], [200.0]])).tolist() == [0.0]


def test_each_member_has_weights_dropout_and_an_order_of_its_own(digits):
    model = build_model(config(dropout=0.5), digits)
    weight = model.networks.head.weight
    assert not torch.equal(weight[0], weight[1])
    model.train()
    hidden = model(torch.ones(3, 4, 64))[0].unflatten(0, (3, 4))
    assert not torch.equal(hidden[0], hidden[1])
    batch = next(batches_of(model, config(), digits))
    orders = batch.rows.unflatten(0, (3, -1))
    assert len({tuple(order.tolist()) for order in orders}) == 3
    assert torch.equal(batch.labels, digits.train.targets[batch.rows])
    first = next(batches_of(build_model(config(members=1), digits), config(members=1), digits))
    assert torch.equal(first.rows, orders[0])
    assert torch.equal(first.inputs, batch.inputs[0])


def batches_of(model, configuration, digits):
    inputs, targets = digits.train.inputs, digits.train.targets
    return training_batches(model, inputs, targets, configuration, 0, slice(0, None), rank=0, world=1)


def test_two_trained_together_are_two_trained_alone(tmp_path, digits):
    """Without dropout, from the same weights, with the same orders of rows."""
    options = {"epochs": 2, "members": 2, "patience": 9, "learning_rate": 1e-3}
    train(config(**options, output_dir=str(tmp_path / "both")), digits)
    both = load_model(tmp_path / "both" / "model")
    assert isinstance(both, Members)
    torch.manual_seed(0)
    together = build_model(config(**options), digits)
    for number, network in enumerate(single_networks(together, digits, config(**options))):
        seed = member_seeds(config(**options))[number]
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-6)
        loss_of = method_loss(config(), digits.hierarchy, digits.evaluated)
        for epoch in range(2):
            inputs, targets = digits.train.inputs, digits.train.targets
            for batch in training_batches(
                network, inputs, targets, config(members=1, seed=seed), epoch, slice(0, None), rank=0, world=1
            ):
                optimizer.zero_grad()
                (batch.weights @ loss_of(*network(batch.inputs), batch.labels)).backward()
                optimizer.step()
        for name, parameter in network.named_parameters():
            there = both.stacked_state()[name][number]
            torch.testing.assert_close(there, parameter, rtol=1e-3, atol=1e-4)


def test_a_forest_has_trees_instead():
    with pytest.raises(ValueError, match="`--members` should be 1 with --method clus-ens"):
        config("clus-ens")
