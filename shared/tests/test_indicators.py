"""Label sets are 0 and 1, or refused by value, row and class, wherever they are taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hmc_shared import Hierarchy
from hmc_shared.estimator.targets import indicators
from hmc_shared.indicators import as_indicators, refuse_vectors

TREE = Hierarchy.from_paths(["a/b", "a/c"])
OPERATORS = (TREE.add_ancestors, TREE.has_ancestors, TREE.most_specific)
SETS = st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5).map(np.array)
KINDS = (bool, np.int8, np.int64, np.uint8, np.float16, np.float32, np.float64, object)


@given(SETS, st.sampled_from(KINDS))
def test_zeros_and_ones_of_any_type_are_label_sets(sets: np.ndarray, kind: type) -> None:
    values = sets.astype(int).astype(kind)
    assert np.array_equal(as_indicators(values, TREE.names).numpy(), sets)
    assert np.array_equal(as_indicators(np.asfortranarray(values)[::-1], TREE.names).numpy(), sets[::-1])
    assert np.array_equal(indicators(values.tolist(), TREE.names), sets)
    if kind is not object:
        tensor = torch.from_numpy(values)
        assert torch.equal(as_indicators(tensor, TREE.names), torch.from_numpy(sets))
        assert torch.equal(TREE.add_ancestors(tensor), TREE.add_ancestors(torch.from_numpy(sets)))


@given(SETS, st.data(), st.sampled_from([-1, 2, 0.3, float("nan"), float("inf"), "1", None, b"x"]))
def test_any_other_value_is_refused_by_row_and_class(
    sets: np.ndarray, data: st.DataObject, value: object
) -> None:
    row, column = data.draw(st.integers(0, len(sets) - 1)), data.draw(st.integers(0, 2))
    values = sets.astype(object)
    values[row, column] = value
    if isinstance(value, int | float):
        values = values.astype(type(value))
    message = rf"should hold 0 and 1\. Found .* in row {row}, column '{TREE.names[column]}'"
    for operator in OPERATORS:
        with pytest.raises(ValueError, match=message):
            operator(values)
        if values.dtype != object:
            with pytest.raises(ValueError, match=message):
                operator(torch.from_numpy(values))
    with pytest.raises(ValueError, match="`y` " + message):
        indicators(values, TREE.names)


@pytest.mark.parametrize(
    ("lists", "kind"),
    [
        ([[1, 0, 0], [0, 0, 1]], "0 and 1"),
        ([[1, 0, 0]], "0 and 1"),
        ([[0, 1], [1, 0], None, []], "0 and 1"),  # as ids, both classes for all
        ([[2, 0, 0], [0, 1, 4]], "numbers"),  # counts, or ids with zeros behind them
    ],
)
def test_vectors_over_all_classes_are_no_ids(lists: list[list[int]], kind: str) -> None:
    with pytest.raises(ValueError, match=rf"^cells should hold ids .*Found a vector of {kind}, \["):
        refuse_vectors(lists, "cells")


@pytest.mark.parametrize(
    "lists",
    [
        [[0], [1], [0, 1]],
        [[0, 1]],
        [[0], [1]],
        [[1, 2], [2, 3]],
        [[0, 0, 1], [1]],  # two of one class in a picture
        [["a", "a"], ["b", "c"]],
        [[0, None], [1, None]],
        [],
    ],
)
def test_ids_of_classes_are_ids(lists: list[list[int]]) -> None:
    refuse_vectors(lists, "cells")


def test_ancestors_of_some_classes_are_rows_of_the_matrix() -> None:
    dag = Hierarchy.from_edges([("a", "c"), ("b", "c"), ("c", "d"), ("b", "e"), ("e", "d")])
    nodes = torch.tensor([4, 0, 4, 2])
    assert torch.equal(dag.ancestors_of(nodes), dag.ancestors[nodes])
    for node in range(len(dag)):
        assert dag.path_to(node) == dag.ancestors[node].nonzero().flatten().tolist()
