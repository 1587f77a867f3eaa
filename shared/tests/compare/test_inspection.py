"""Failures of classes, siblings and samples, against their definitions written out."""

from __future__ import annotations

import json
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, confusion_matrix, label_ranking_loss, roc_auc_score

from hmc_shared import Hierarchy
from hmc_shared.compare import inspection
from hmc_shared.compare.comparison import ComparisonTable, compare
from hmc_shared.compare.inspection import inspect, ranking_loss, sibling_confusions, sibling_families
from hmc_shared.runs.read import load_run

ANIMAL, PLANT, CAT, DOG, TREE, POODLE = range(6)


@pytest.fixture
def table(make_run) -> ComparisonTable:
    for method, noise in {"good": 0.7, "poor": 1.6}.items():
        for seed in range(2):
            root = make_run(method, seed, noise=noise).parents[1]
    return compare([root]).tables[0]


def arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path / "predictions.npz") as archive:
        return archive["scores"], archive["targets"]


@st.composite
def scored(draw, classes=5):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    targets = rng.random((draw(st.integers(1, 12)), classes)) < draw(st.floats(0, 1))
    decimals = draw(st.sampled_from([0, 6]))  # with and without ties
    return rng.normal(size=targets.shape).round(decimals), targets


@given(scored())
def test_sibling_confusions_are_counted_as_defined(case):
    scores, targets = case
    family = np.array([4, 0, 2])
    expected = np.zeros((3, 3), dtype=int)
    for (row, sample), (i, a), (j, b) in product(enumerate(scores), enumerate(family), enumerate(family)):
        expected[i, j] += targets[row, a] and not targets[row, b] and sample[b] > sample[a]
    np.testing.assert_array_equal(sibling_confusions(scores, targets, family), expected)


@given(st.integers(0, 10**6))
def test_two_siblings_and_one_path_give_scikit_learns_confusion_matrix(seed):
    rng = np.random.default_rng(seed)
    true, scores = rng.integers(0, 2, 30), rng.normal(size=(30, 2))
    counts = sibling_confusions(scores, np.eye(2, dtype=bool)[true], np.arange(2))
    expected = confusion_matrix(true, scores.argmax(1), labels=[0, 1])
    np.testing.assert_array_equal(counts, expected * (1 - np.eye(2, dtype=int)))


@given(scored(), st.sampled_from([1, 2**22]))
def test_ranking_loss_is_the_share_of_wrong_pairs(case, chunk):
    scores, targets = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspection, "_CHUNK", chunk)
        losses = ranking_loss(scores, targets)
    for row, (score, target) in enumerate(zip(scores, targets, strict=True)):
        pairs = [
            score[false] > score[true] for true in np.flatnonzero(target) for false in np.flatnonzero(~target)
        ]
        assert losses[row] == pytest.approx(np.mean(pairs) if pairs else 0)


@given(st.integers(0, 10**6))
def test_ranking_loss_without_ties_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    scores, targets = rng.normal(size=(9, 4)), rng.random((9, 4)) < 0.5
    assert ranking_loss(scores, targets).mean() == pytest.approx(label_ranking_loss(targets, scores))


@given(st.integers(0, 10**6))
def test_families_are_all_pairs_with_a_common_parent_and_the_roots(seed):
    rng = np.random.default_rng(seed)
    edges = [(a, b) for b in range(8) for a in range(b) if rng.random() < 0.3]
    hierarchy = Hierarchy.from_edges([(f"n{a}", f"n{b}") for a, b in edges], [f"n{i}" for i in range(8)])
    evaluated = rng.random(8) < 0.8
    families = {
        pair for family in sibling_families(hierarchy, evaluated) for pair in permutations(family.tolist(), 2)
    }
    parents = [set(hierarchy.parents(node)) or {-1} for node in range(8)]
    expected = {
        (a, b)
        for a, b in permutations(range(8), 2)
        if parents[a] & parents[b] and evaluated[a] and evaluated[b]
    }
    assert families == expected


def test_numbers_of_a_table(table):
    details = inspect(table)
    assert details.ap.shape == (2, 6)
    for row, aps in zip(table.rows, details.ap, strict=True):
        of_seeds = [average_precision_score(*arrays(run.path)[::-1], average=None) for run in row.runs]
        np.testing.assert_allclose(aps, np.mean(of_seeds, axis=0))
    for row, areas in zip(table.rows, details.auroc, strict=True):
        of_seeds = [roc_auc_score(*arrays(run.path)[::-1], average=None) for run in row.runs]
        np.testing.assert_allclose(areas, np.mean(of_seeds, axis=0))
    targets = arrays(table.rows[0].runs[0].path)[1]
    np.testing.assert_array_equal(details.positives, targets.sum(0))
    pairs = {(ANIMAL, PLANT), (PLANT, ANIMAL), (CAT, DOG), (DOG, CAT)}  # tree and poodle have no sibling
    assert {(pair.true, pair.other) for pair in details.confusions} <= pairs
    for pair in details.confusions:
        assert pair.samples == (targets[:, pair.true] & ~targets[:, pair.other]).sum()
        for row, count in zip(table.rows, pair.counts, strict=True):
            wrong = [
                (scores[:, pair.other] > scores[:, pair.true])[
                    targets[:, pair.true] & ~targets[:, pair.other]
                ]
                for scores, targets in (arrays(run.path) for run in row.runs)
            ]
            assert count == pytest.approx(np.mean([of_seed.sum() for of_seed in wrong]))
    totals = [sum(pair.counts) for pair in details.confusions]
    assert totals == sorted(totals, reverse=True)


def test_worst_samples_come_first_with_what_each_run_predicts(table):
    details = inspect(table, samples=5)
    losses = np.mean(
        [[ranking_loss(*arrays(run.path)) for run in row.runs] for row in table.rows], axis=(0, 1)
    )
    np.testing.assert_allclose([sample.loss for sample in details.samples], np.sort(losses)[::-1][:5])
    names = ["animal", "plant", "cat", "dog", "tree", "poodle"]
    levels = [range(2), range(2, 5), range(5, 6)]
    for sample in details.samples:
        index = int(sample.id.removeprefix("sample-"))
        for row, answer in zip(table.rows, sample.answers, strict=True):
            assert answer.label == row.label
            for run, predicted, right in zip(row.runs, answer.predicted, answer.right, strict=True):
                scores, targets = arrays(run.path)
                deepest = max(depth for depth, level in enumerate(levels) if targets[index, level].any())
                level = levels[deepest]
                assert predicted == names[level[scores[index, level].argmax()]]
                assert right == (predicted == sample.truth)


def test_answers_on_several_paths_are_the_most_specific_at_the_threshold(make_run):
    table = compare([make_run(several=True, noise=2.0)]).tables[0]
    scores, _ = arrays(table.rows[0].runs[0].path)
    below = {ANIMAL: [CAT, DOG], PLANT: [TREE], DOG: [POODLE]}
    names = ["animal", "plant", "cat", "dog", "tree", "poodle"]
    for sample in inspect(table).samples:
        on = scores[int(sample.id.removeprefix("sample-"))] >= 0
        predicted = [names[i] for i in range(6) if on[i] and not any(on[c] for c in below.get(i, []))]
        (answer,) = sample.answers
        assert answer.predicted == (", ".join(predicted) or "nothing",)
        assert answer.right == (set(predicted) == set(sample.truth.split(", ")),)


def test_a_perfect_run_has_no_confusion_and_no_worst_sample(make_run):
    details = inspect(compare([make_run(noise=0.0)]).tables[0])
    assert details.confusions == ()
    assert details.samples == ()


def test_large_families_are_left_out_and_told(make_run, monkeypatch):
    monkeypatch.setattr(inspection, "LARGEST_FAMILY", 1)
    details = inspect(compare([make_run(noise=3.0)]).tables[0])
    assert details.confusions == ()
    assert details.largest_family == 2


def test_classes_that_are_not_evaluated_have_no_ap(make_run):
    details = inspect(compare([make_run(arrays={"evaluated": np.arange(6) > 1})]).tables[0])
    assert np.isnan(details.ap[:, :2]).all()
    assert not np.isnan(details.ap[:, 2:]).any()
    assert {pair.true for pair in details.confusions} <= {CAT, DOG}


def test_a_run_that_is_gone_is_named(table):
    file = table.rows[1].runs[0].path / "hierarchy.json"
    file.write_text(json.dumps({"nodes": ["a"]}))
    with pytest.raises(ValueError, match=str(file)):
        inspect(table)


@pytest.mark.parametrize("several", [False, True])
def test_answers_have_the_probabilities_of_prediction_and_truth(make_run, several):
    run = load_run(make_run(noise=2.0, several=several))
    names, hierarchy = run.hierarchy.names, run.hierarchy
    for sample in inspect(compare([run.path]).tables[0]).samples:
        (answer,) = sample.answers
        p = run.probabilities[run.ids.tolist().index(sample.id)]
        of = {name: p[names.index(name)] for name in names}
        true, predicted = sample.truth.split(", "), answer.predicted[0].split(", ")
        assert answer.of_truth == (min(of[name] for name in true),)
        assert answer.right == (set(true) == set(predicted),)
        if predicted == ["nothing"]:
            assert np.isnan(answer.probability[0])
        else:
            assert answer.probability == (min(of[name] for name in predicted),)
        if not several:
            (one,), (other,) = predicted, true
            assert hierarchy.depth[names.index(one)] == hierarchy.depth[names.index(other)]
