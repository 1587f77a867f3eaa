"""Labels that nobody knows, and those below where a sample's path ends: no loss or score counts them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch.nn import functional as F

from hmc_shared.runs.log import read_log
from hmc_shared.runs.read import VALIDATION, load_predictions, load_run
from hp_dval.baselines import fitted_offset
from hp_dval.build import load_model
from hp_dval.train import train


def test_a_run_trains_and_chooses_by_what_is_known(tmp_path, scenes, small):
    """Without a step, the loss of the epoch is the masked one of the model as it began."""
    generator = torch.Generator().manual_seed(0)
    parts = {}
    for name, split in scenes.splits.items():
        maybe = torch.rand(split.targets.shape, generator=generator) < 0.3
        unknown = scenes.hierarchy.add_ancestors(split.targets | maybe) & ~split.targets
        parts[name] = replace(split, unknown=unknown)
    dataset = replace(scenes, **parts)
    steps = {"prompt_epochs": 1, "prompt_learning_rate": 0.0, "batch_size": len(scenes.train)}
    train(small(method="coop", loss="bce", **steps), dataset)
    run, model = load_run(tmp_path / "run"), load_model(tmp_path / "run" / "model").eval()
    training = dataset.train
    with torch.no_grad():
        logits = model(model.normalize(training.inputs)).logits  # as the loss takes them, not constrained
    counted = scenes.evaluated & ~training.unknown
    entropies = F.softplus(torch.where(training.targets, -logits, logits))
    expected = (entropies * counted).double().sum(1).mean() / scenes.evaluated.sum()
    [epoch] = read_log(tmp_path / "run")
    assert epoch["train_loss"] == pytest.approx(expected.item(), rel=1e-4)
    held_out = load_predictions(tmp_path / "run" / VALIDATION, scenes.hierarchy)
    known = ~held_out["unknown"]
    precisions = [
        average_precision_score(held_out["targets"][rows, node], held_out["scores"][rows, node])
        for node, rows in enumerate(known.T)
        if scenes.evaluated[node] and held_out["targets"][:, node].any()
    ]
    assert epoch["validation/map"] == pytest.approx(np.mean(precisions))
    assert np.array_equal(run.unknown, dataset.test.unknown.numpy())
    known = ~run.unknown[:, scenes.evaluated]
    scores, targets = (of[:, scenes.evaluated][known] for of in (run.scores, run.targets))
    metrics = run.results["metrics"]
    assert metrics["test/au_prc"] == pytest.approx(average_precision_score(targets, scores))
    assert metrics["test/f1_micro"] == pytest.approx(f1_score(targets, scores >= run.threshold))


def test_an_offset_is_that_of_the_known_rows():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 3, generator=generator)
    targets, known = (torch.rand(2, 40, 3, generator=generator) < 0.5).unbind()
    found = fitted_offset(logits, targets & known, known)
    for node in range(3):
        rows, at = known[:, node], slice(node, node + 1)
        torch.testing.assert_close(found[at], fitted_offset(logits[rows, at], targets[rows, at]))


def test_partial_labels_are_unknown_labels_of_training_and_validation(tmp_path, scenes, small):
    """Every second row has lost its leaves: to one run they are absent, to the others unknown."""

    def ended(split):
        targets = split.targets.clone()
        targets[::2, scenes.hierarchy.leaves] = False
        return replace(split, targets=targets)

    partly = replace(scenes, train=ended(scenes.train), validation=ended(scenes.validation))
    for name, dataset in (("absent", partly), ("unknown", partly.with_partial_labels())):
        train(small(name, method="coop"), dataset)
    train(small("option", method="coop", partial_labels=True), partly)
    absent, unknown, option = (load_run(tmp_path / name) for name in ("absent", "unknown", "option"))
    assert np.array_equal(unknown.scores, option.scores)
    assert option.unknown is None  # whole labels of the test split count as ever
    assert option.results["validation"] > absent.results["validation"] + 0.02  # no false positives there
