"""From logits to labels: coherent paths that end where the confidence does."""

import csv
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_descendants
from hmc_shared.data import load_dataset
from hmc_shared.predict.calibration import Calibration
from hmc_shared.predict.decision import Decision, confident_labels, load_decision
from hmc_shared.predict.write import write_predictions
from hmc_shared.runs.folder import RunFolder
from hmc_shared.runs.read import load_run

TREE = Hierarchy.from_paths(["p", "b/c/x", "b/c/y", "b/d", "e/f/z"])
DAG = Hierarchy.from_edges([("a", "c"), ("b", "c"), ("c", "d"), ("b", "e")])


def coherent(hierarchy, values):
    return max_over_descendants(torch.tensor(values).reshape(-1, len(hierarchy)), hierarchy)


@given(
    values=st.lists(st.floats(0, 1, width=32), min_size=len(TREE), max_size=len(TREE)),
    bound=st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]),
)
def test_the_answer_is_the_deepest_sure_node_of_a_path(values, bound):
    p = coherent(TREE, values)
    labels = confident_labels(p, TREE, bound, single_path=True)
    sure = [node for node in range(len(TREE)) if p[0, node].item() >= bound]
    found = labels[0].nonzero().flatten().tolist()
    if not sure:
        assert found == []
        return
    deepest = max(TREE.depth[node].item() for node in sure)
    best = max(p[0, node].item() for node in sure if TREE.depth[node] == deepest)
    assert TREE.depth[found[-1]] == deepest
    assert p[0, found[-1]].item() == best
    assert found == TREE.ancestors[found[-1]].nonzero().flatten().tolist()  # a path from a root
    assert set(found) <= set(sure)


@given(values=st.lists(st.floats(0, 1, width=32), min_size=5, max_size=5), bound=st.floats(0, 1))
def test_several_paths_keep_all_sure_classes(values, bound):
    p = coherent(DAG, values)
    labels = confident_labels(p, DAG, bound, single_path=False)
    assert labels.tolist() == [[x >= bound for x in p[0].tolist()]]
    assert DAG.has_ancestors(labels)


@pytest.mark.parametrize("bound", [-0.1, 1.1, float("nan")])
def test_a_bound_is_a_probability(bound):
    with pytest.raises(ValueError, match=r"`--min-confidence` should lie in \[0, 1\]"):
        confident_labels(torch.zeros(1, len(TREE)), TREE, bound, single_path=True)


def test_labels_without_a_bound():
    noise = torch.randn(50, len(TREE), generator=torch.Generator().manual_seed(0))
    logits = max_over_descendants(noise, TREE)
    calibration = Calibration(torch.tensor([2.0, 3.0, 0.5]), torch.tensor([0.5, 0.0, -0.5]))
    p = calibration.probabilities(logits, TREE)
    chosen = Decision(TREE, calibration, threshold=0.4, single_path=True)
    assert torch.equal(chosen.labels(logits), logits >= 0.4)  # of logits as the run scored them
    assert torch.equal(Decision(TREE, calibration).labels(logits), p >= 0.5)
    path = Decision(TREE, calibration, single_path=True).labels(logits)
    assert TREE.has_ancestors(path)
    leaves = TREE.most_specific(path)
    assert (leaves.sum(1) == 1).all()
    for row, leaf in enumerate(leaves.nonzero()[:, 1].tolist()):
        assert p[row, leaf] == p[row, TREE.leaves].max()


def test_labels_at_a_threshold_have_their_ancestors_also_where_scores_are_not_coherent():
    labels = Decision(DAG, Calibration.none(DAG), threshold=0.0).labels(torch.tensor([[-1.0, -1, 1, -1, -1]]))
    assert [DAG.names[i] for i in labels[0].nonzero()] == ["a", "b", "c"]


def test_a_run_leaves_its_decision_with_the_model_and_the_predictions(tmp_path):
    digits = load_dataset("digits")
    generator = torch.Generator().manual_seed(0)

    def overconfident(split):
        noise = 4 * torch.randn(split.targets.shape, generator=generator)
        return max_over_descendants(4 * (split.targets.float() * 4 - 2 + noise), digits.hierarchy)

    folder = RunFolder(tmp_path / "run")
    folder.model.mkdir()
    how = {"method": "m", "protocol": "default", "seed": 0, "config": {}, "parameters": 1, "seconds": {}}
    scores = overconfident(digits.test)
    held_out = overconfident(digits.validation)
    results = folder.finish(
        digits, scores, device=torch.device("cpu"), threshold=0.25, validation_logits=held_out, **how
    )
    decision, run = load_decision(folder.model, digits.hierarchy), load_run(folder.path)
    assert (decision.threshold, decision.single_path, decision.features) == (0.25, True, ())
    assert (decision.calibration.temperature > 1.5).all()
    torch.testing.assert_close(torch.from_numpy(run.probabilities), decision.probabilities(scores))
    assert torch.equal(torch.from_numpy(run.scores), scores)  # as the model scored them
    found = results["calibration"]
    assert found["test/ece"] < 0.5 * found["test/ece_uncalibrated"]
    assert found["temperature"] == decision.calibration.temperature.tolist()

    other = RunFolder(tmp_path / "other")
    results = other.finish(digits, scores, device=torch.device("cpu"), **how)
    assert results["calibration"]["temperature"] == [1, 1, 1]
    np.testing.assert_allclose(load_run(other.path).probabilities, scores.sigmoid(), rtol=1e-5)
    assert load_decision(other.path, digits.hierarchy).threshold is None


@pytest.mark.parametrize("text", ["{", "[]", '{"temperature": [1], "shift": [0]}', '{"temperature": "a"}'])
def test_a_damaged_decision_is_named(text, tmp_path):
    (tmp_path / "decision.json").write_text(text)
    with pytest.raises(ValueError, match=r"decision\.json does not say how to decide"):
        load_decision(tmp_path, TREE)


def test_predictions_as_csv_and_as_json(tmp_path, capsys):
    p = coherent(DAG, [0.1, 0.2, 0.8, 0.6, 0.1, 0.0, 0.25, 0.0, 0.0, 0.125])
    labels = confident_labels(p, DAG, 0.5, single_path=False)
    write_predictions(str(tmp_path / "p.csv"), ["one", "two"], DAG, p, labels)
    rows = list(csv.reader((tmp_path / "p.csv").read_text().splitlines()))
    assert rows[0] == ["id", "labels", "a", "b", "c", "e", "d"]
    assert rows[1] == ["one", "a;b;c;e", "0.8", "0.8", "0.8", "0.6", "0.1"]
    assert rows[2] == ["two", "", "0.125", "0.25", "0.125", "0", "0.125"]
    write_predictions(None, ["one", "two"], DAG, p, labels, as_json=True)
    one, two = json.loads(capsys.readouterr().out)
    assert one["id"] == "one"
    assert one["answer"] == [
        {"class": "c", "probability": 0.8, "path": ["a", "b", "c"]},
        {"class": "e", "probability": 0.6, "path": ["b", "e"]},
    ]
    assert two["answer"] == []
    assert two["probabilities"] == {"a": 0.125, "b": 0.25, "c": 0.125, "e": 0.0, "d": 0.125}
