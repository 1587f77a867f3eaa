"""Classifiers of other libraries, beside what the libraries themselves say."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from hmc_shared import Hierarchy, peers
from hmc_shared.cli.peer import Peer
from hmc_shared.compare.comparison import compare
from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.dataset import targets_with_ancestors
from hmc_shared.data.in_memory import from_arrays
from hmc_shared.object_files import read_json
from hmc_shared.runs.read import load_run
from hmc_shared.study.plan import Overrides, read_plan


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


def test_a_chain_is_one_regression_after_another():
    """Each on the features and what the ones before it said, parents first, frequent classes first."""
    dataset = load_dataset("digit-scenes")
    dataset = replace(dataset, **{name: split.select(range(200)) for name, split in dataset.splits.items()})
    hierarchy, targets = dataset.hierarchy, dataset.train.targets.numpy()
    predict, parameters = peers.fit_chains(Peer(c=0.1), dataset)
    order = peers.chain_order(dataset)
    for before, after in pairwise(order):
        keys = [(hierarchy.depth[node].item(), -targets[:, node].sum()) for node in (before, after)]
        assert keys[0] <= keys[1]

    seen, at = (peers.standardised(dataset, part.inputs) for part in (dataset.train, dataset.test))
    expected, parameters_of_links = np.zeros((len(at), len(hierarchy))), 0
    for node in order:
        link = peers.LogisticRegression(C=0.1, max_iter=1000).fit(seen, targets[:, node])
        expected[:, node] = link.predict_proba(at)[:, 1]
        parameters_of_links += seen.shape[1] + 1
        seen = np.column_stack([seen, targets[:, node]])
        at = np.column_stack([at, link.predict(at)])
    for node in range(len(hierarchy)):
        below = hierarchy.ancestors[:, node].numpy()
        raised = expected[:, below].max(1)
        np.testing.assert_allclose(predict(dataset.test.inputs)[:, node], raised, atol=1e-6)
    assert parameters == parameters_of_links


def test_a_class_that_never_varies_is_no_link_of_a_chain():
    dataset = make(["a/b", "a/c", "d/e", "d/f"], 3)  # none of a/b
    every = dataset.train.targets.clone()
    every[:, dataset.hierarchy.index["a"]] = True
    dataset = replace(dataset, train=replace(dataset.train, targets=every))
    probabilities = peers.fit_chains(Peer(), dataset)[0](dataset.test.inputs)
    assert (probabilities[:, dataset.hierarchy.index["a/b"]] == 0).all()
    assert (probabilities[:, dataset.hierarchy.index["a"]] == 1).all()


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


def test_a_search_chooses_its_penalty_on_validation(hmc, write_plan, capsys, monkeypatch):
    """And another method of the plan is left out of the search."""
    pytest.importorskip("hiclass")
    pytest.importorskip("optuna")
    path = write_plan(
        "datasets: [digits]\nsearch: {trials: 2}\nmethods:\n  hiclass: hmc peer\n"
        "  fixed: {command: hmc peer --c 2, search: false}\n"
    )
    assert hmc("study", "run", path, "--jobs", 1) == 0
    out = capsys.readouterr().out
    assert "Each had 2 trials" in out
    trials = [read_json(Path(f"runs/study/search/digits/hiclass/trial-{i}/validation.json")) for i in (0, 1)]
    assert all(0.5 < trial["validation"] < 1 for trial in trials)
    assert not Path("runs/study/search/digits/fixed").exists()
    assert not list(Path("runs/study/search").glob("**/predictions.npz"))
    chosen = load_run("runs/study/digits/hiclass/seed-0").results["config"]["c"]
    assert chosen == 1.0 or trials[1]["validation"] > trials[0]["validation"]
    assert load_run("runs/study/digits/fixed/seed-0").results["config"]["c"] == 2


def test_a_study_knows_the_options_of_a_peer(write_plan):
    pytest.importorskip("optuna")
    from hmc_shared.study.spaces import load_space

    words = ("hmc", "peer", "--dataset", "digits")
    space = load_space(words)
    assert space is not None
    assert (space.metric, space.texts, space.recipe) == (peers.METRIC, {"c": "[0.001, 1000] log"}, {"c": 1.0})
    with pytest.raises(ValueError, match=r"spaces.yaml has nothing to search for hiclass"):
        load_space((*words, "--c", "3"))
    path = str(write_plan("datasets: [digits]\nmethods: {h: hmc peer}"))
    for option, said in (
        ({"epochs": 5}, "`--set epochs`: `hmc peer` has no option 'epochs'"),
        ({"c": 0}, "`--set c`: `--c` should be finite and above 0. Found 0.0."),
    ):
        with pytest.raises(ValueError, match=said):
            read_plan(path, Overrides(options=option))
    with pytest.raises(
        ValueError, match=r"the command should be `hmc peer` or `hmc blend`\. Found 'hmc compare'"
    ):
        read_plan(str(write_plan("datasets: [digits]\nmethods: {h: hmc compare}")))


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
