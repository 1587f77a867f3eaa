"""Targets as users of scikit-learn have them, and answers as they were given."""

from __future__ import annotations

import numpy as np
import pandas  # comes with datasets
import pytest
import scipy.sparse

from hmc_shared import Hierarchy
from hmc_shared.estimator.targets import (
    Indicators,
    Labels,
    Levels,
    indicators,
    level_labels,
    level_paths,
    read_targets,
)

PATHS = [["a", "b"], ["a"], ["c", "d"]]
FRAME = pandas.DataFrame({"up": ["a", "a", "c"], "low": ["b", None, "d"]})


@pytest.mark.parametrize(
    "y",
    [
        PATHS,
        [tuple(path) for path in PATHS],
        [["a", "b"], ["a", None], ["c", "d"]],
        np.array([["a", "b"], ["a", ""], ["c", "d"]]),
        np.array([["a", "b"], ["a", np.nan], ["c", "d"]], dtype=object),
        FRAME,
        FRAME.set_index([[7, 8, 9]]).astype("string"),
        FRAME.astype("category"),
    ],
    ids=lambda y: type(y).__name__,
)
def test_paths_in_any_container(y: object) -> None:
    levels, targets = level_labels(y)
    assert levels.hierarchy.names == ("a", "c", "b", "d")
    assert targets.tolist() == [[1, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 1]]
    assert level_paths(levels.answer(targets)) == [("a", "b"), ("a",), ("c", "d")]


def test_gaps_come_back_as_they_were_given() -> None:
    for y in (np.array([["a", "b"], ["a", ""]]), np.array([["a", "b"], ["a", ""]], dtype=object)):
        levels, targets = level_labels(y)
        assert levels.answer(targets).dtype.kind == "U"
        assert levels.answer(targets).tolist() == y.tolist()
    for y in (PATHS, np.array([["a", "b"], ["a", None], ["c", "d"]]), FRAME):
        levels, targets = level_labels(y)
        assert levels.answer(targets).tolist() == [["a", "b"], ["a", None], ["c", "d"]]


def test_integers_come_back_as_integers() -> None:
    whole, targets = level_labels(np.array([[1, 10], [1, 11]]))
    assert whole.answer(targets).tolist() == [[1, 10], [1, 11]]
    assert whole.answer(targets).dtype.kind == "i"
    gaps, targets = level_labels(np.array([[1, 10], [2, np.nan]]))  # floats, because of the gap
    assert gaps.hierarchy.names == ("1", "2", "10")
    assert gaps.answer(targets).tolist() == [[1, 10], [2, None]]


def test_a_label_below_two_parents_is_two_classes_of_one_label() -> None:
    levels, targets = level_labels([["p", "other"], ["q", "other"]])
    assert levels.hierarchy.names == ("p", "q", "p/other", "q/other")
    assert levels.answer(targets).tolist() == [["p", "other"], ["q", "other"]]
    assert level_paths([["p", "other"], ["q", None]]) == [("p", "other"), ("q",)]


TREE = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant"])
MATRIX = np.array([[1, 0], [1, 1], [0, 0]])


@pytest.mark.parametrize(
    ("y", "hierarchy", "kind"),
    [
        (["b", "a", "b"], None, Labels),
        (np.array([3, 1, 3]), None, Labels),
        (pandas.Series(["b", "a", "b"], dtype="category"), None, Labels),
        (np.array([["b"], ["a"]]), None, Labels),
        (np.array([[3], [1]]), None, Labels),
        (["animal/cat", "plant", "animal"], TREE, Labels),
        (MATRIX, None, Indicators),
        (MATRIX.astype(bool), None, Indicators),
        (MATRIX.astype(float).tolist(), None, Indicators),
        (pandas.DataFrame(MATRIX, columns=["x", "y"]), None, Indicators),
        (pandas.DataFrame(MATRIX).astype("Int64"), None, Indicators),
        (scipy.sparse.csr_array(MATRIX), None, Indicators),
        (np.array([[1, 0, 1, 0], [0, 1, 0, 0]]), TREE, Indicators),
        (PATHS, None, Levels),
        (np.array([[1, 2], [1, 3]]), None, Levels),
        (np.array([["1", "0"], ["1", "1"]]), None, Levels),
        ([["a"], ["b", "c"]], None, Levels),
        (np.array([["a"], [""]]), None, Levels),
    ],
)
def test_what_y_is_told_by_its_shape_and_values_and_answers_are_as_it_was(
    y: object, hierarchy: Hierarchy | None, kind: type
) -> None:
    spelling, targets = read_targets(y, hierarchy)
    assert type(spelling) is kind
    assert targets.shape == (len(y) if isinstance(y, list) else y.shape[0], len(spelling.classes))  # type: ignore[attr-defined]
    assert spelling.hierarchy.has_ancestors(targets)
    answer = spelling.answer(targets)
    given = y.toarray() if hasattr(y, "toarray") else y
    if kind is Indicators:
        assert type(answer).__name__ == (type(y).__name__ if hasattr(y, "toarray") else "ndarray")
        answer = answer.toarray() if hasattr(answer, "toarray") else answer
        assert np.array_equal(answer, np.asarray(given).astype(int))
    elif kind is Labels:
        assert np.array_equal(answer, np.asarray(given))
        assert answer.dtype.kind == np.asarray(given).dtype.kind
    else:
        assert level_paths(answer) == level_paths(given)


def test_labels_without_a_hierarchy_are_sorted_as_scikit_learn_does() -> None:
    spelling, _ = read_targets(["b", "c", "a"], None)
    assert spelling.classes.tolist() == ["a", "b", "c"]


def test_a_hierarchy_closes_indicators_and_names_of_classes() -> None:
    _, of_names = read_targets(["animal/dog", "animal"], TREE)
    assert of_names.tolist() == [[1, 0, 0, 1], [1, 0, 0, 0]]
    _, of_indicators = read_targets(np.array([[0, 0, 0, 1]]), TREE)
    assert of_indicators.tolist() == [[1, 0, 0, 1]]


def test_columns_of_a_frame_are_told_apart_by_their_names() -> None:
    spelling, _ = read_targets(pandas.DataFrame(MATRIX, columns=["x", "y"]), None)
    assert spelling.classes.tolist() == ["x", "y"]
    names = list(TREE.names)
    frame = pandas.DataFrame([[1, 1, 0, 0]], columns=["animal/dog", "animal", "plant", "animal/cat"])
    _, targets = read_targets(frame, TREE)
    assert [names[node] for node in targets[0].nonzero()[0]] == ["animal", "animal/dog"]
    with pytest.raises(ValueError, match=r"each once\. Found 'bird'"):
        read_targets(frame.rename(columns={"plant": "bird"}), TREE)


@pytest.mark.parametrize(
    ("y", "hierarchy", "message"),
    [
        (["bird"], TREE, r"names of classes of the hierarchy\. Found 'bird' in row 0"),
        ([["animal", "cat"]], TREE, r"`y` should have shape \(n, 4\)"),
        (np.array([0.5, 1.7]), None, "Unknown label type: continuous"),
        (np.full((3, 3), 0.5), None, r"texts or integers\. Found 0\.5 in row 0"),
        (None, None, "requires y to be passed"),
        (3, None, r"rows of `X`\. Found array\(3\)"),
        ("abc", None, r"rows of `X`\. Found 'abc'"),
        ({"a": 1}, None, r"rows of `X`\. Found \{'a'"),
        (iter("ab"), None, "rows of `X`"),
        (["a", np.nan], None, r"a label in each row\. Found nan in row 1"),
        (["a", None], None, r"a label in each row\. Found None in row 1"),
        (["a", ""], None, r"a label in each row\. Found '' in row 1"),
        (pandas.Series(["a", pandas.NA], dtype="string"), None, r"each row\. Found <NA> in row 1"),
        (pandas.Series(["a", None], dtype="category"), None, r"a label in each row\. Found nan in row 1"),
        ([1, "1"], None, r"texts alone, or numbers alone\. Found 1, and '1' in row 1"),
        (["a", ["a", "b"]], None, r"one label in each row.* Found \['a', 'b'\] in row 1"),
        ([{"a", "b"}], None, r"levels.* in row 0: a set has no order"),
        (pandas.DataFrame(np.eye(2, dtype=int), columns=["a", "a"]), None, r"one column\. Found 'a' again"),
    ],
)
def test_what_fits_no_spelling_is_refused(y: object, hierarchy: Hierarchy | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_targets(y, hierarchy)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a", "b"], r"`y` should have shape \(n, levels\).*np\.reshape"),
        (np.array([1, 2]), r"`y` should have shape \(n, levels\).*np\.reshape"),
        ([["a", "b"], [None, "c"]], r"no gap in a path\. Found .* in row 1"),
        ([["a", 0.3]], r"texts or integers\. Found 0\.3 in row 0"),
        ([["a", ["b"]]], r"texts or integers\. Found \['b'\] in row 0"),
        ([[1, 2], ["1", 3]], r"one label for a class\. Found 1, and '1' in row 1"),
        ([[None], [None]], "should hold labels. Found none"),
        ([["a/b", ""], ["c", "b"], ["a", "b"]], r"`y`, row 2: .* would be one class, 'a/b': take '/' out"),
        (scipy.sparse.eye(3), "as no `hierarchy` is given"),
    ],
)
def test_what_is_no_level_matrix_is_refused_in_words_of_y(y: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        level_labels(y)


def test_indicators_in_any_container() -> None:
    y = np.array([[1, 0], [1, 1]])
    frame = pandas.DataFrame(y)
    for same in (y, y.tolist(), frame, frame.astype("Int64"), frame.astype(bool), scipy.sparse.lil_matrix(y)):
        assert np.array_equal(indicators(same), y.astype(bool))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1, 0], r"`y` should be a 2D array.*np\.reshape"),
        ([[1, 0], [1]], "`y` should have rows of one length"),
        (
            pandas.DataFrame([[1, None]], dtype="Int64"),
            r"`y` should hold 0 and 1\. Found <NA> in row 0, column 'b'",
        ),
        ([["cat", "dog"]], r"`y` should hold 0 and 1\. Found 'cat' in row 0"),
        (np.ones((2, 3)), r"`y` should have shape \(n, 2\)\. Found \(2, 3\)"),
    ],
    ids=["1-D", "ragged", "NA", "names", "width"],
)
def test_what_is_no_indicator_is_refused_in_words_of_y(y: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        indicators(y, ["a", "b"])
