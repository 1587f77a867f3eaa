"""Labels that nobody knows: no loss has a term for them, no choice and no metric counts them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from hlstm.build import frequencies, load_model, method_loss
from hlstm.config import Config
from hlstm.members import NETWORKS
from hlstm.train import train
from hmc_shared import Hierarchy
from hmc_shared.data import load_dataset
from hmc_shared.metrics import au_prc, summarize
from hmc_shared.runs.log import read_log
from hmc_shared.runs.read import VALIDATION, load_predictions, load_run

DAG = Hierarchy.from_edges([("r", "a"), ("r", "b"), ("a", "c"), ("b", "c"), ("c", "d"), ("r", "e")])
ALL = torch.ones(len(DAG), dtype=torch.bool)


def draw(hierarchy, targets, seed=0):
    """(n, C): what is not known of targets; who may have a class may have its parents."""
    maybe = torch.rand(targets.shape, generator=torch.Generator().manual_seed(seed)) < 0.3
    return hierarchy.add_ancestors(targets | maybe) & ~targets


@pytest.fixture(scope="module")
def rows():
    """Logits of both outputs (2, n, C), targets and what is unknown."""
    generator = torch.Generator().manual_seed(1)
    targets = DAG.add_ancestors(torch.rand(20, len(DAG), generator=generator) < 0.2)
    return torch.randn(2, 20, len(DAG), generator=generator), targets, draw(DAG, targets)


@pytest.mark.parametrize("method", sorted(NETWORKS))
def test_no_loss_depends_on_what_is_unknown(method, rows):
    outputs, targets, unknown = rows
    loss = method_loss(Config(method=method), DAG, ALL)
    outputs = outputs.clone().requires_grad_()
    loss(*outputs, targets, unknown).sum().backward()
    assert (outputs.grad[:, unknown] == 0).all()
    known = (outputs.grad != 0).any(0) & ~unknown
    assert known[~targets & ~unknown].float().mean() > 0.7  # LHLoss leaves some to their parents
    moved = torch.where(unknown, 3 - outputs, outputs)
    assert torch.equal(loss(*moved, targets, unknown), loss(*outputs, targets, unknown))
    none = torch.zeros_like(unknown)
    torch.testing.assert_close(loss(*outputs, targets, none), loss(*outputs, targets))


def terms(method, global_logits, local_logits, targets, unknown):
    """The loss of one row, class by class, as the papers have it, over what is known."""
    total = torch.zeros(())
    for node in range(len(DAG)):
        if unknown[node]:
            continue
        sign = -1 if targets[node] else 1
        below = [i for i in range(len(DAG)) if DAG.ancestors[i, node] and not unknown[i]]
        if targets[node]:
            below = [i for i in below if targets[i]]
        above = [node, *(parent for parent in DAG.parents(node) if not unknown[parent])]
        constrained = softplus(sign * global_logits[below].max())
        local = softplus(sign * local_logits[above].min())
        of_method = {"chmcnn": constrained, "hmc-lmlp": softplus(sign * global_logits[node])}
        total = total + of_method.get(method, 0.7 * constrained + 0.3 * local)
    return total / len(DAG)


@pytest.mark.parametrize("method", ["hlstm", "chmcnn", "hmc-lmlp"])
def test_losses_are_those_of_the_known_terms(method, rows):
    (global_logits, local_logits), targets, unknown = rows
    found = method_loss(Config(method=method), DAG, ALL)(global_logits, local_logits, targets, unknown)
    of_rows = zip(global_logits, local_logits, targets, unknown, strict=True)
    torch.testing.assert_close(found, torch.stack([terms(method, *row) for row in of_rows]))


@pytest.fixture(scope="module")
def digits():
    """Digits of which a part of the labels is not known, in all splits."""
    whole = load_dataset("digits")
    parts = {
        name: replace(split, unknown=draw(whole.hierarchy, split.targets))
        for name, split in whole.splits.items()
    }
    return replace(whole, **parts)


def small(folder, **options):
    defaults = {"method": "hmc-lmlp", "epochs": 1, "hidden_size": 16, "num_layers": 1, "dropout": 0.0}
    return Config(output_dir=str(folder), **{**defaults, **options})


def test_a_run_trains_chooses_and_counts_by_what_is_known(tmp_path, digits):
    results = train(small(tmp_path, learning_rate=0.0), digits)
    run, model = load_run(tmp_path), load_model(tmp_path / "model")
    with torch.no_grad():
        logits = model.eval()(model.normalize(digits.train.inputs))[0]
    targets, unknown = digits.train.targets, digits.train.unknown
    entropies = softplus(torch.where(targets, -logits, logits)).double()
    expected = entropies.masked_fill(unknown, 0).mean()
    [epoch] = read_log(tmp_path)
    assert epoch["train_loss"] == pytest.approx(expected.item(), rel=1e-4)
    held_out = load_predictions(tmp_path / VALIDATION, digits.hierarchy)
    known = ~held_out["unknown"]
    assert np.array_equal(held_out["unknown"], digits.validation.unknown.numpy())
    ranked = held_out["scores"][known], held_out["targets"][known]
    assert epoch["validation/au_prc"] == pytest.approx(au_prc(*(of[None] for of in ranked)))
    assert np.array_equal(run.unknown, digits.test.unknown.numpy())
    of_known = summarize(run.scores, run.targets, run.hierarchy, unknown=run.unknown, threshold=run.threshold)
    assert results["metrics"]["test/map"] == pytest.approx(of_known["map"])
    assert results["metrics"]["test/f1_micro"] == pytest.approx(of_known["f1_micro"])


def test_partial_labels_are_unknown_labels_of_training_and_validation(tmp_path):
    whole = load_dataset("digits")

    def ended(split):
        targets = split.targets.clone()
        targets[::2, whole.hierarchy.leaves] = False
        return replace(split, targets=targets)

    partly = replace(whole, train=ended(whole.train), validation=ended(whole.validation))
    options = {"method": "hlstm", "prior_bias": True}
    train(small(tmp_path / "option", partial_labels=True, **options), partly)
    train(small(tmp_path / "unknown", **options), partly.with_partial_labels())
    first, second = (load_run(tmp_path / name) for name in ("option", "unknown"))
    assert np.array_equal(first.scores, second.scores)
    assert first.unknown is None  # whole labels of the test split count as ever
    assert load_model(tmp_path / "option" / "model").decision.single_path  # it only ends early
    held_out = load_predictions(tmp_path / "option" / VALIDATION, whole.hierarchy)
    assert held_out["unknown"].any()


def test_the_frequency_of_a_class_is_that_of_its_known_rows(digits):
    split = digits.train
    for node, share in enumerate(frequencies(split).tolist()):
        known = ~split.unknown[:, node]
        assert share == pytest.approx(
            (split.targets[known, node].sum().item() + 1) / (known.sum().item() + 2)
        )


def test_a_forest_needs_all_labels(tmp_path, digits):
    with pytest.raises(ValueError, match="hlstm --method clus-ens cannot leave out labels"):
        train(small(tmp_path, method="clus-ens"), digits)
