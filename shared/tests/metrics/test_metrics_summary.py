"""summarize: the agreed names, each the value of its own function; docstring examples; import cost."""

from __future__ import annotations

import doctest
import subprocess
import sys

import numpy as np
import pytest
import torch

from hmc_shared import Hierarchy, metrics
from hmc_shared.metrics import cafa, hierarchical, levels, ranking, severity, summary, thresholded
from hmc_shared.metrics import summarize as summarize_scores
from hmc_shared.study.places import check_metric

ALWAYS = {
    "au_prc",
    "map",
    "map_classes",
    "map_absent",
    "ap_variance",
    "auroc_macro",
    "precision_at_1",
    "coverage_error",
    "ranking_loss",
    "f1_micro",
    "f1_macro",
    "f1_example",
    "exact_match",
    "hamming_accuracy",
    "hierarchical_precision",
    "hierarchical_recall",
    "hierarchical_f1",
    "hierarchical_f1_example",
    "incoherent",
    "fmax",
}
SINGLE_PATH = {
    "accuracy_level_0",
    "accuracy_level_1",
    "accuracy_level_2",
    "accuracy_leaf",
    "hvr",
    "hvr_levels",
    "hvr_relations",
    "accuracy_path",
    "accuracy_balanced",
    "tree_error",
    "mistake_severity",
    "distance_at_1",
    "hops_at_1",
}
TREE = Hierarchy.from_paths(["r/a/x", "r/a/y", "r/b/z", "r/c"])
EVALUATED = np.arange(len(TREE)) > 0  # all but the root


@pytest.fixture
def single_path() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = TREE.add_ancestors(np.eye(len(TREE), dtype=bool)[rng.integers(1, len(TREE), size=40)])
    return (rng.normal(size=targets.shape) + 2 * targets - 1).astype(np.float32), targets


def test_names_for_single_paths_and_for_several(single_path):
    scores, targets = single_path
    assert set(summarize_scores(scores, targets, TREE)) == ALWAYS | SINGLE_PATH
    targets[0] = True
    assert set(summarize_scores(scores, targets, TREE)) == ALWAYS
    with_roots = summarize_scores(scores, targets, TREE, evaluated=EVALUATED)
    assert set(with_roots) == ALWAYS | {"au_prc_with_roots"}


@pytest.mark.parametrize("is_path", [True, False])
def test_a_metric_alone_is_what_it_is_among_all(single_path, is_path):
    scores, targets = single_path
    targets[0] |= not is_path
    options = {
        "evaluated": EVALUATED,
        "train_counts": targets.sum(0) * 10,
        "information": np.linspace(0, 3, len(TREE)),
        "answers": targets[::-1],
    }
    every = summarize_scores(scores, targets, TREE, **options)
    assert {"map_head", "smin", "fmax_weighted"} <= set(every)
    for name, value in every.items():
        alone = summarize_scores(scores, targets, TREE, **options, only=name)
        np.testing.assert_equal(alone[name], value)
        assert len(alone) < len(every) / 2


def test_every_value_is_that_of_its_own_function(single_path):
    scores, targets = single_path
    bits = np.arange(len(TREE)) / 2 + 1
    result = summarize_scores(scores, targets, TREE, evaluated=EVALUATED, information=bits, threshold=0.5)
    s, t, p = scores[:, 1:], targets[:, 1:], scores[:, 1:] >= 0.5
    ids, true = metrics.level_predictions(scores, TREE), metrics.level_targets(targets, TREE)
    by_level = metrics.accuracy_per_level(ids, true)
    answers, ranked = metrics.best_leaves(scores, TREE), metrics.ranked_distances(scores, targets, TREE, 1)
    hp, hr, hf = metrics.hierarchical_precision_recall_f1(scores >= 0.5, targets, TREE, evaluated=EVALUATED)
    assert result == {
        "au_prc": metrics.au_prc(s, t),
        "au_prc_with_roots": metrics.au_prc(scores, targets),
        "map": metrics.mean_average_precision(s, t),
        "map_classes": 6.0,
        "map_absent": 0.0,
        "ap_variance": metrics.ap_variance(s, t),
        "auroc_macro": np.mean(metrics.auroc(s, t)),
        "precision_at_1": metrics.precision_at_1(s, t),
        "coverage_error": metrics.coverage_error(s, t),
        "ranking_loss": metrics.ranking_loss(s, t),
        "f1_micro": metrics.f1_micro(p, t),
        "f1_macro": metrics.f1_macro(p, t),
        "f1_example": metrics.f1_example(p, t),
        "exact_match": metrics.exact_match(p, t),
        "hamming_accuracy": metrics.hamming_accuracy(p, t),
        "hierarchical_precision": hp,
        "hierarchical_recall": hr,
        "hierarchical_f1": hf,
        "hierarchical_f1_example": metrics.hierarchical_f1_example(
            scores >= 0.5, targets, TREE, evaluated=EVALUATED
        ),
        "incoherent": metrics.incoherent(scores, TREE),
        "fmax": metrics.fmax(scores, targets, EVALUATED),
        "fmax_weighted": metrics.fmax(scores, targets, bits * EVALUATED),
        "smin": metrics.smin(scores, targets, bits * EVALUATED),
        "accuracy_level_0": by_level[0],
        "accuracy_level_1": by_level[1],
        "accuracy_level_2": by_level[2],
        "accuracy_leaf": metrics.accuracy_leaf(ids, true),
        "hvr": 0.0,  # of the path to the best leaf
        "hvr_levels": metrics.hvr(ids, TREE),
        "hvr_relations": metrics.hvr_relations(ids, TREE),
        "accuracy_path": metrics.accuracy_path(answers, targets, TREE),
        "accuracy_balanced": metrics.accuracy_balanced(answers, targets, TREE),
        "tree_error": metrics.tree_error(answers, targets, TREE),
        "mistake_severity": metrics.mistake_severity(answers, targets, TREE),
        "distance_at_1": metrics.distance_at(ranked, 1),
        "hops_at_1": metrics.hops_at(ranked, 1),
    }
    assert {type(value) for value in result.values()} == {float}


def test_a_study_knows_all_names(single_path):
    h = Hierarchy.from_edges([], nodes=map(str, range(21)))
    scores = np.eye(21)
    names = {*summarize_scores(scores, scores, h), *summarize_scores(*single_path, TREE, evaluated=EVALUATED)}
    for name in names:
        check_metric(name)
    with pytest.raises(ValueError, match="Found 'distance_at_2'"):
        check_metric("distance_at_2")
    assert {f"{of}_at_{k}" for of in ("distance", "hops") for k in (1, 5, 20)} <= names


def test_a_score_at_the_threshold_is_a_prediction():
    h = Hierarchy.from_paths(["a", "b"])
    scores, targets = np.array([[0.0, -0.1]]), np.array([[1, 0]])
    assert summarize_scores(scores, targets, h)["hamming_accuracy"] == 1.0
    assert summarize_scores(scores, targets, h, threshold=-0.1)["hamming_accuracy"] == 0.5
    threshold = np.float64(-0.1)  # as read from a file; float32 rounds -0.1 down
    assert summarize_scores(scores.astype(np.float32), targets, h, threshold=threshold)["f1_micro"] == 2 / 3


def test_answers_replace_the_best_leaf(single_path):
    scores, targets = single_path
    result = summarize_scores(scores, targets, TREE, answers=targets)
    assert (result["accuracy_path"], result["tree_error"], result["hvr"]) == (1.0, 0.0, 0.0)
    assert result["accuracy_leaf"] < 1  # of the level-wise best classes, whatever the answers are
    with pytest.raises(ValueError, match="`targets` should have the shape of `predictions`"):
        summarize_scores(scores, targets, TREE, answers=targets[1:])


def test_groups_are_the_evaluated_classes_with_positives():
    h = Hierarchy.from_edges([], nodes=list("abcde"))
    targets = np.array([[1, 1, 1, 0, 0], [0, 0, 0, 1, 0]])
    scores = np.array([[0.0, 2.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 2.0, 0.0]])  # AP: 1/2, 1, 1/2, 1, none
    counts, evaluated = np.array([5, 500, 100, 20, 3]), np.array([False, True, True, True, True])
    result = summarize_scores(scores, targets, h, evaluated=evaluated, train_counts=counts)
    assert {name: value for name, value in result.items() if name.startswith("map")} == {
        "map": pytest.approx(2.5 / 3),
        "map_classes": 3.0,
        "map_absent": 1.0,
        "map_head": 0.75,
        "map_medium": 1.0,  # the first class is not evaluated; the only tail class has no positive
    }


def test_information_of_classes_that_do_not_count_gives_no_metric(single_path):
    bits = np.where(EVALUATED, 0.0, 1.0)
    result = summarize_scores(*single_path, TREE, evaluated=EVALUATED, information=bits)
    assert not {"fmax_weighted", "smin"} & set(result)


def test_torch_and_numpy_give_equal_summaries(single_path):
    scores, targets = single_path
    counts = targets.sum(axis=0)
    ours = summarize_scores(scores, targets, TREE, evaluated=EVALUATED, train_counts=counts)
    tensors = [torch.from_numpy(x) for x in (scores, targets, EVALUATED, counts)]
    assert summarize_scores(*tensors[:2], TREE, evaluated=tensors[2], train_counts=tensors[3]) == ours


def test_perfect_scores_have_only_ones_and_no_violation():
    targets = TREE.add_ancestors(np.eye(len(TREE), dtype=bool)[TREE.leaves])
    result = summarize_scores(np.where(targets, 1.0, -1.0), targets, TREE, evaluated=EVALUATED)
    assert result.pop("coverage_error") == targets[:, EVALUATED].sum(1).mean()
    zeros = {"incoherent", "hvr", "hvr_levels", "hvr_relations", "ap_variance", "map_absent", "ranking_loss"}
    zeros |= {"tree_error", "distance_at_1"}
    assert np.isnan(result.pop("mistake_severity"))  # of no mistake
    assert {name for name, value in result.items() if value == 0} == zeros
    assert {value for name, value in result.items() if name not in zeros | {"map_classes"}} == {1.0}


def test_no_positives_leave_the_areas_undefined():
    h = Hierarchy.from_paths(["a/b"])
    result = summarize_scores(np.array([[-1.0, -2.0]]), np.zeros((1, 2)), h, train_counts=np.array([200, 5]))
    undefined = {name for name, value in result.items() if np.isnan(value)}
    assert undefined == {
        *("au_prc", "map", "ap_variance", "auroc_macro", "f1_micro", "f1_macro", "accuracy_leaf", "fmax"),
        *("accuracy_path", "accuracy_balanced", "tree_error", "mistake_severity"),
        *("distance_at_1", "hops_at_1"),
        *(
            "hierarchical_precision",
            "hierarchical_recall",
            "hierarchical_f1",
            "accuracy_level_0",
            "accuracy_level_1",
        ),
    }
    assert result["map_absent"] == 2.0


def test_bad_input_is_named(single_path):
    scores, targets = single_path
    with pytest.raises(
        ValueError, match=r"`scores` should have 7 columns, one per node. Found shape \(40, 6\)"
    ):
        summarize_scores(scores[:, 1:], targets[:, 1:], TREE)
    with pytest.raises(
        ValueError, match=r"`evaluated` should be bool of shape \(7,\). Found bool of shape \(6,\)"
    ):
        summarize_scores(scores, targets, TREE, evaluated=EVALUATED[1:])
    with pytest.raises(ValueError, match=r"`train_counts` should have 7 entries, one per node. Found 2"):
        summarize_scores(scores, targets, TREE, train_counts=np.array([1, 2]))
    with pytest.raises(
        ValueError, match=r"`information` should be numbers of shape \(7,\). Found int64 of sha"
    ):
        summarize_scores(scores, targets, TREE, information=np.array([1, 2]))
    with pytest.raises(ValueError, match=r"`threshold` should be a finite number. Found nan"):
        summarize_scores(scores, targets, TREE, threshold=float("nan"))
    with pytest.raises(ValueError, match=r"Found bfloat16: half precision"):
        summarize_scores(torch.from_numpy(scores).bfloat16(), targets, TREE)


@pytest.mark.parametrize(
    "module", [cafa, hierarchical, levels, ranking, severity, summary, thresholded], ids=lambda m: m.__name__
)
def test_docstring_examples(module):
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_import_does_not_pull_in_sklearn():
    code = "import sys, hmc_shared.metrics; print('sklearn' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False\n"
    )


def test_where_samples_have_one_path_f1_is_of_the_answers():
    """Log-odds of a softmax over many leaves are all below 0, though the best leaf is right."""
    h = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant/tree"])
    targets = h.ancestors_of(torch.tensor([2, 3, 4])).numpy()
    scores = np.where(targets, -1.0, -2.0)
    assert summarize_scores(scores, targets, h)["f1_micro"] == 0
    found = summarize_scores(scores, targets, h, answers=targets)
    assert found["f1_micro"] == found["exact_match"] == found["hierarchical_f1"] == 1
    two = targets | targets[::-1]  # several paths: the threshold decides
    assert summarize_scores(np.where(two, -1.0, -2.0), two, h, answers=two)["f1_micro"] == 0
