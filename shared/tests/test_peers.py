"""Classifiers of other libraries, beside what the libraries themselves say."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from hmc_shared import Hierarchy, peers
from hmc_shared.cli.peer import Peer
from hmc_shared.compare.comparison import compare
from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.dataset import targets_with_ancestors
from hmc_shared.data.vector_dataset import from_arrays
from hmc_shared.runs.read import load_run


def make(paths: list[str], classes: int, n: int = 300, seed: int = 0) -> HierarchicalDataset:
    """Rows of the last ``classes`` nodes of a hierarchy, each around a centre of its own."""
    hierarchy, rng = Hierarchy.from_paths(paths), np.random.default_rng(seed)
    nodes = rng.integers(len(hierarchy) - classes, len(hierarchy), n)
    centres = rng.normal(size=(len(hierarchy), 5))
    X = centres[nodes] + rng.normal(size=(n, 5))
    X[::7, 2] = np.nan
    return from_arrays(X, targets_with_ancestors(nodes, hierarchy).numpy(), hierarchy, seed=0)


TREES = {
    "three levels": (["a/b/c", "a/b/d", "a/e/f", "g/h/i", "g/h/j", "g/k/l"], 6),
    "paths that end early": (["a/b/c", "a/b/d", "a/e", "g", "h/i"], 6),
    "no levels": (["a", "b", "c"], 3),
}


@pytest.mark.parametrize("name", TREES)
def test_the_choices_down_the_tree_are_those_of_hiclass(name):
    """HiClass goes down by the best child; probabilities are products, so the best child scores highest."""
    hiclass = pytest.importorskip("hiclass")
    dataset = make(*TREES[name])
    hierarchy = dataset.hierarchy
    predict, _ = peers.fit_hiclass(hiclass, Peer(c=3.0), dataset)
    probabilities = predict(dataset.test.inputs)

    model = hiclass.LocalClassifierPerParentNode(peers.LogisticRegression(C=3.0, max_iter=1000))
    true = peers.level_targets(dataset.train.targets, hierarchy)
    model.fit(peers.standardised(dataset, dataset.train.inputs), np.where(true >= 0, true.astype(str), ""))
    expected = model.predict(peers.standardised(dataset, dataset.test.inputs)).reshape(len(probabilities), -1)
    for row, path in zip(probabilities, expected, strict=True):
        choices = hierarchy.roots.tolist()
        for node in path:
            if not choices:
                assert node == ""
                continue
            best = max(choices, key=lambda child: row[child])
            assert int(node) == best
            choices = hierarchy.children(best)


@pytest.mark.parametrize("name", TREES)
def test_children_share_the_probability_of_their_parent(name):
    hiclass = pytest.importorskip("hiclass")
    dataset = make(*TREES[name])
    predict, _ = peers.fit_hiclass(hiclass, Peer(), dataset)
    probabilities, hierarchy = predict(dataset.test.inputs), dataset.hierarchy
    np.testing.assert_allclose(probabilities[:, hierarchy.roots].sum(1), 1)
    for node in range(len(hierarchy)):
        if children := list(hierarchy.children(node)):
            np.testing.assert_allclose(probabilities[:, children].sum(1), probabilities[:, node])
    scores = peers.log_odds(probabilities)
    np.testing.assert_allclose(scores.sigmoid(), probabilities, atol=1e-6)


def test_a_class_without_training_samples_has_no_probability():
    hiclass = pytest.importorskip("hiclass")
    dataset = make(["a/b", "a/c", "d/e", "d/f"], 3)  # none of a/b
    predict, _ = peers.fit_hiclass(hiclass, Peer(), dataset)
    assert (predict(dataset.test.inputs)[:, dataset.hierarchy.index["a/b"]] == 0).all()


def test_log_odds_are_finite_and_in_order():
    p = np.array([[0.0, 1e-300, 1e-20, 0.5, 1 - 1e-12, 1.0]])
    scores = peers.log_odds(p)
    assert scores.isfinite().all()
    assert (scores.diff() >= 0).all()
    assert scores[0, 3] == 0


def test_several_paths_and_dags_are_refused():
    hiclass = pytest.importorskip("hiclass")
    with pytest.raises(ValueError, match="Found several classes in one level in 'digit-scenes'"):
        peers.fit_hiclass(hiclass, Peer(), load_dataset("digit-scenes"))
    hierarchy = Hierarchy.from_edges([("a", "c"), ("b", "c")])
    X = np.random.default_rng(0).normal(size=(40, 2))
    dag = from_arrays(X, targets_with_ancestors([2] * 40, hierarchy).numpy(), hierarchy, seed=0)
    with pytest.raises(ValueError, match="Found a class with two parents in 'array'"):
        peers.fit_hiclass(hiclass, Peer(), dag)


def test_the_command_writes_a_run_that_is_compared(hmc, capsys, tmp_path):
    pytest.importorskip("hiclass")
    folder = tmp_path / "digits" / "hiclass" / "seed-0"
    words = ["peer", "--method", "hiclass", "--dataset", "digits", "--output-dir", folder]
    assert hmc(*words) == 0
    assert "test/accuracy_leaf" in capsys.readouterr().out
    run = load_run(folder)
    assert run.results["method"] == "hiclass"
    assert run.results["seconds"]["train"] > 0
    (row,) = compare([tmp_path]).tables[0].rows
    assert row.metric("accuracy_leaf").mean > 0.85
    assert row.metric("incoherent").mean == 0
    assert row.cost("parameters").mean == 65 * (5 + 3 + 3)  # two children need one regression
    assert row.runs[0].origin["command"] == "hmc peer --method hiclass --dataset digits"

    assert hmc(*words) == 2
    assert "is not empty" in capsys.readouterr().err
    assert hmc(*words, "--resume", "--c", 2) == 2
    assert "`c` is 1.0 there. Found 2.0" in capsys.readouterr().err
    assert hmc(*words, "--resume") == 0
    again = load_run(folder)
    torch.testing.assert_close(torch.from_numpy(again.scores), torch.from_numpy(run.scores), rtol=0, atol=0)


def test_without_the_extra_there_is_one_line_and_no_folder(hmc, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "hiclass", None)
    assert hmc("peer", "--dataset", "digits", "--output-dir", tmp_path / "run") == 2
    said = "hmc: error: hiclass is not installed: pip install 'hmc-shared[peers]'\n"
    assert capsys.readouterr().err == said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("option", "value"), [("--c", "0"), ("--seed", "-1"), ("--method", "forest")])
def test_wrong_options_are_refused(hmc, capsys, option, value):
    assert hmc("peer", option, value) == 2
    assert option in capsys.readouterr().err
