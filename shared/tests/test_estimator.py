"""Targets as users of scikit-learn have them."""

from __future__ import annotations

import numpy as np
import pandas  # comes with datasets
import pytest
import scipy.sparse

from hmc_shared.cli.train_options import TrainOptions
from hmc_shared.estimator import configured, indicators, level_labels, level_paths

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
    levels = level_labels(y)
    assert levels.hierarchy.names == ("a", "c", "b", "d")
    assert levels.targets.tolist() == [[1, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 1]]
    assert levels.paths(levels.targets + np.array([0, 0, 0.1, 0])).tolist() == [
        ["a", "b"],
        ["a", "b"],
        ["c", "d"],
    ]


def test_integers_come_back_as_integers() -> None:
    whole = level_labels(np.array([[1, 10], [1, 11]]))
    assert whole.paths(np.array([[1.0, 0.0, 1.0]])).tolist() == [[1, 11]]
    assert whole.paths(np.array([[1.0, 0.0, 1.0]])).dtype.kind == "i"
    gaps = level_labels(np.array([[1, 10], [2, np.nan]]))  # floats, because of the gap
    assert gaps.hierarchy.names == ("1", "2", "10")
    assert gaps.paths(np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])).tolist() == [[1, 10], [2, None]]


def test_a_label_below_two_parents_is_two_classes_of_one_label() -> None:
    levels = level_labels([["p", "other"], ["q", "other"]])
    assert levels.hierarchy.names == ("p", "q", "p/other", "q/other")
    assert levels.paths(levels.targets).tolist() == [["p", "other"], ["q", "other"]]
    assert level_paths([["p", "other"], ["q", None]]) == [("p", "other"), ("q",)]


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
        (None, "requires y to be passed"),
    ],
    ids=str,
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


def test_an_unknown_option_is_named() -> None:
    assert configured(TrainOptions(), {"epochs": np.int64(3)}).epochs == 3
    with pytest.raises(ValueError, match=r"`options` should be some of .*epochs.*\. Found 'epoch'"):
        configured(TrainOptions(), {"epoch": 3})
