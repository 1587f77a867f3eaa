"""From scores and probabilities to labels: coherent paths that end where the confidence does."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_descendants
from hmc_shared.metrics.summary import decided
from hmc_shared.predict.decision import Decision, confident_labels, load_decision

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
    answer = labels[0].nonzero().flatten().tolist()
    if not sure:
        assert answer == []
        return
    deepest = max(TREE.depth[node].item() for node in sure)
    best = max(p[0, node].item() for node in sure if TREE.depth[node] == deepest)
    assert TREE.depth[answer[-1]] == deepest
    assert p[0, answer[-1]].item() == best
    assert answer == TREE.ancestors[answer[-1]].nonzero().flatten().tolist()  # a path from a root
    assert set(answer) <= set(sure)


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


def random_answers():
    """Scores (50, C), coherent, and probabilities that are theirs no more, as a calibration leaves them."""
    noise = torch.randn(2, 50, len(TREE), generator=torch.Generator().manual_seed(0))
    scores, moved = (max_over_descendants(values, TREE) for values in noise)
    return scores, moved.sigmoid()


def test_a_threshold_is_of_the_scores():
    scores, p = random_answers()
    for threshold in (0.4, -1.0, scores[3, 2].item()):
        labels = Decision(threshold, single_path=True).labels(scores, p, TREE)
        assert torch.equal(labels, scores.double() >= threshold)
    assert Decision(scores[3, 2].item()).labels(scores, p, TREE)[3, 2]  # reached is enough


def test_without_a_threshold_half_counts():
    scores, p = random_answers()
    assert torch.equal(Decision().labels(scores, p, TREE), p >= 0.5)


def test_on_one_path_it_is_the_path_to_the_best_leaf():
    scores, p = random_answers()
    path = Decision(single_path=True).labels(scores, p, TREE)
    assert TREE.has_ancestors(path)
    leaves = TREE.most_specific(path)
    assert (leaves.sum(1) == 1).all()
    for row, leaf in enumerate(leaves.nonzero()[:, 1].tolist()):
        assert p[row, leaf] == p[row, TREE.leaves].max()


def test_labels_at_a_threshold_have_their_ancestors_also_where_scores_are_not_coherent():
    scores = torch.tensor([[-1.0, -1, 1, -1, -1]])
    labels = Decision(threshold=0.0).labels(scores, scores.sigmoid(), DAG)
    assert [DAG.names[i] for i in labels[0].nonzero()] == ["a", "b", "c"]


@given(
    scores=st.lists(st.floats(-9, 9, width=32), min_size=5, max_size=5),
    thresholds=st.lists(st.floats(-9, 9), min_size=5, max_size=5),
)
def test_labels_at_thresholds_of_classes_are_coherent_and_no_more_than_that(scores, thresholds):
    values = torch.tensor([scores])
    labels = Decision(tuple(thresholds)).labels(values, values.sigmoid(), DAG)
    assert DAG.has_ancestors(labels)
    reached = [score >= threshold for score, threshold in zip(scores, thresholds, strict=True)]
    for node in range(len(DAG)):
        assert labels[0, node] == all(reached[above] for above in DAG.path_to(node))
    of_metrics = decided(values.double().numpy(), thresholds, DAG)
    assert np.array_equal(of_metrics, labels.numpy())


def test_thresholds_of_other_classes_are_refused(tmp_path):
    Decision((0.5, 1.0)).save(tmp_path)
    assert load_decision(tmp_path, 2).threshold == (0.5, 1.0)
    with pytest.raises(ValueError, match=r"decision\.json .* `threshold` should be of 3 classes. Found 2"):
        load_decision(tmp_path, 3)


@pytest.mark.parametrize(
    "decision",
    [
        Decision(),
        Decision(0.0),
        Decision((0.5, -1 / 3)),
        Decision(-1 / 3, single_path=True, features=("é", "a,b"), window=(0.5, 99)),
    ],
)
def test_it_is_kept_bit_for_bit_beside_the_weights(decision, tmp_path):
    decision.save(tmp_path)
    assert load_decision(tmp_path) == decision
    content = json.loads((tmp_path / "decision.json").read_text())
    assert list(content) == ["threshold", "single_path", "features", "window"]
    by_class = isinstance(decision.threshold, tuple)
    assert content["threshold"] == (list(decision.threshold) if by_class else decision.threshold)


def test_without_its_file_it_is_the_default(tmp_path):
    assert load_decision(tmp_path) == Decision()


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "null", '{"threshold": 1}', '{"threshold": "a", "single_path": true, "features": []}'),
        '{"threshold": null, "single_path": true, "features": 3}',
        '{"threshold": [0.5, null], "single_path": true, "features": []}',
        '{"threshold": [0.5, [1]], "single_path": true, "features": []}',
        '{"threshold": {"a": 1}, "single_path": true, "features": []}',
        '{"threshold": NaN, "single_path": true, "features": []}',
    ],
)
def test_a_damaged_decision_is_named(text, tmp_path):
    (tmp_path / "decision.json").write_text(text)
    with pytest.raises(
        ValueError,
        match=r"decision\.json( does not say how to decide|:1: damaged JSON| should hold a mapping)",
    ):
        load_decision(tmp_path)


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        *(
            (text, f"or null. Found {found}")
            for text, found in (("false", "False"), ('""', "''"), ("{}", "{}"))
        ),
        (f"1{'0' * 400}", "or null. Found 1000"),
    ],
)
def test_what_is_no_threshold_is_not_taken_for_zero(threshold, message, tmp_path):
    text = f'{{"threshold": {threshold}, "single_path": false, "features": []}}'
    (tmp_path / "decision.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_decision(tmp_path)


def test_what_is_missing_is_named(tmp_path):
    (tmp_path / "decision.json").write_text('{"single_path": true, "features": []}')
    with pytest.raises(ValueError, match=r"it should name threshold\. Found single_path, features"):
        load_decision(tmp_path)


def test_labels_of_probabilities_that_are_not_coherent_have_their_ancestors():
    p = torch.tensor([[0.1, 0.2, 0.9, 0.1, 0.1]])  # c, and neither of its parents
    for labels in (
        Decision().labels(p.logit(), p, DAG),
        confident_labels(p, DAG, 0.5, single_path=False),
    ):
        assert [DAG.names[i] for i in labels[0].nonzero()] == ["a", "b", "c"]
