"""Hierarchy against walks over names and pairs, on random DAGs and trees."""

from __future__ import annotations

import copy
import doctest
import pickle
import re
import tempfile
from itertools import pairwise
from pathlib import Path
from random import Random

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hmc_shared.hierarchy
from hmc_shared import Hierarchy
from hmc_shared.graph_depth import CycleError
from hmc_shared.testing import DEVICE

Graph = tuple[list[str], list[tuple[str, str]]]


@st.composite
def graphs(draw: st.DrawFn, max_parents: int = 3) -> Graph:
    """Names and edges of a random DAG (1 parent: forest), neither of them in topological order."""
    size = draw(st.integers(1, 10))
    names = draw(st.lists(st.text(min_size=1, max_size=3), min_size=size, max_size=size, unique=True))
    edges = []
    for child in range(1, size):
        above = draw(st.lists(st.integers(0, child - 1), unique=True, max_size=max_parents))
        edges += [(names[parent], names[child]) for parent in above]
    return draw(st.permutations(names)), draw(st.permutations(edges))


GRAPHS = st.one_of(graphs(), graphs(max_parents=1))
PATHS = st.lists(st.text("abc", min_size=1, max_size=4).map("/".join), min_size=1, max_size=8)


def built(graph: Graph) -> Hierarchy:
    nodes, edges = graph
    return Hierarchy.from_edges(edges, nodes=nodes)


def parents_of(name: str, edges: list[tuple[str, str]]) -> set[str]:
    return {parent for parent, child in edges if child == name}


def ancestors_of(name: str, edges: list[tuple[str, str]]) -> set[str]:
    """The node and all its ancestors, by walking up."""
    return {name}.union(*(ancestors_of(parent, edges) for parent in parents_of(name, edges)))


def depth_of(name: str, edges: list[tuple[str, str]]) -> int:
    return max((depth_of(parent, edges) + 1 for parent in parents_of(name, edges)), default=0)


def random_targets(seed: int, size: int) -> torch.Tensor:
    return torch.rand(6, size, generator=torch.Generator().manual_seed(seed)) < 0.3


SEEDS = st.integers(0, 2**32 - 1)


# Ids and structure


@given(GRAPHS)
def test_ids_are_sorted_by_depth_then_by_first_appearance(graph: Graph) -> None:
    nodes, edges = graph
    h = built(graph)
    depth = {name: depth_of(name, edges) for name in nodes}
    assert list(h.names) == sorted(nodes, key=lambda name: (depth[name], nodes.index(name)))
    assert h.depth.tolist() == [depth[name] for name in h.names]
    assert h.index == {name: i for i, name in enumerate(h.names)}
    assert all(h.index[parent] < h.index[child] for parent, child in edges)
    assert [i for level in h.levels for i in level] == list(range(len(h)))
    assert all(h.depth[i] == d for d, level in enumerate(h.levels) for i in level)
    assert h.num_levels == max(depth.values()) + 1


@given(GRAPHS)
def test_neighbours_are_those_of_the_edges(graph: Graph) -> None:
    nodes, edges = graph
    h = built(graph)
    pairs = [(h.names[parent], h.names[child]) for parent, child in h.edges.tolist()]
    assert sorted(pairs) == sorted(edges)
    assert h.edges.tolist() == sorted(h.edges.tolist(), key=lambda edge: edge[::-1])
    for i, name in enumerate(h.names):
        assert {h.names[j] for j in h.parents(i)} == parents_of(name, edges)
        assert sorted(h.names[j] for j in h.children(i)) == sorted(c for p, c in edges if p == name)
    assert {h.names[i] for i in h.roots} == {name for name in nodes if not parents_of(name, edges)}
    assert {h.names[i] for i in h.leaves} == set(nodes) - {parent for parent, _ in edges}
    assert h.is_tree == all(len(parents_of(name, edges)) <= 1 for name in nodes)


@given(GRAPHS)
def test_bottom_up_edges_go_through_each_edge_once_when_the_child_is_final(graph: Graph) -> None:
    h = built(graph)
    waiting = torch.bincount(h.edges[:, 0], minlength=len(h))  # edges to children not yet taken
    for parents, children in h.edges_bottom_up:
        assert not waiting[children].any()
        waiting -= torch.bincount(parents, minlength=len(h))
    assert not waiting.any()


@given(GRAPHS)
def test_ancestors_are_those_found_by_walking_up(graph: Graph) -> None:
    h = built(graph)
    for i, name in enumerate(h.names):
        assert {h.names[j] for j in h.ancestors[i].nonzero()} == ancestors_of(name, graph[1])


# Label sets


@given(GRAPHS, SEEDS)
def test_close_adds_exactly_the_ancestors(graph: Graph, seed: int) -> None:
    h = built(graph)
    targets = random_targets(seed, len(h))
    before = targets.clone()
    complete = h.add_ancestors(targets)
    for row, complete_row in zip(targets, complete, strict=True):
        wanted = set().union(*(ancestors_of(h.names[i], graph[1]) for i in row.nonzero()))
        assert {h.names[i] for i in complete_row.nonzero()} == wanted
    assert torch.equal(targets, before)
    assert complete.dtype == torch.bool


@given(GRAPHS, SEEDS)
def test_closure_is_extensive_monotone_and_idempotent(graph: Graph, seed: int) -> None:
    h = built(graph)
    small, more = random_targets(seed, len(h)), random_targets(seed + 1, len(h))
    complete = h.add_ancestors(small)
    assert (complete >= small).all()
    assert (h.add_ancestors(small | more) >= complete).all()
    assert torch.equal(h.add_ancestors(complete), complete)
    assert h.has_ancestors(complete)
    assert h.has_ancestors(small) == torch.equal(complete, small)


@given(GRAPHS, SEEDS)
def test_most_specific_keeps_classes_without_a_child_in_the_set_and_close_restores(
    graph: Graph, seed: int
) -> None:
    h = built(graph)
    complete = h.add_ancestors(random_targets(seed, len(h)))
    specific = h.most_specific(complete)
    for row, specific_row in zip(complete.tolist(), specific.tolist(), strict=True):
        assert specific_row == [held and not any(row[c] for c in h.children(i)) for i, held in enumerate(row)]
    assert torch.equal(h.add_ancestors(specific), complete)


@given(GRAPHS, SEEDS, st.sampled_from([bool, np.uint8, np.int64, np.float32]))
def test_label_sets_as_numpy_arrays(graph: Graph, seed: int, dtype: type) -> None:
    h = built(graph)
    targets = random_targets(seed, len(h))
    array = targets.numpy().astype(dtype)
    array.flags.writeable = False  # as from a memory map
    for operator in (h.add_ancestors, h.most_specific):
        result = operator(array)
        assert isinstance(result, np.ndarray)
        assert result.dtype == bool
        np.testing.assert_array_equal(result, operator(targets).numpy())
        np.testing.assert_array_equal(operator(array[::-1]), result[::-1])
    assert h.has_ancestors(array) == h.has_ancestors(targets)


def test_no_label_sets_at_all() -> None:
    h = Hierarchy.from_paths(["a/b", "c"])
    empty = torch.zeros(0, 3, dtype=torch.bool)
    assert h.add_ancestors(empty).shape == h.most_specific(empty).shape == (0, 3)
    assert h.has_ancestors(empty)


@pytest.mark.parametrize("shape", [(3,), (2, 2), (2, 3, 1)])
def test_label_sets_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    h = Hierarchy.from_paths(["a/b", "c"])
    for operator in (h.add_ancestors, h.has_ancestors, h.most_specific):
        with pytest.raises(ValueError, match=re.escape(f"shape (n, 3). Found {shape}")):
            operator(torch.zeros(shape))


# Constructors and exchange


@given(GRAPHS)
def test_round_trips_give_an_equal_hierarchy(graph: Graph) -> None:
    h = built(graph)
    parents = {name: [h.names[j] for j in h.parents(i)] for i, name in enumerate(h.names)}
    for again in (
        Hierarchy.from_json(h.to_json()),
        Hierarchy.from_networkx(h.to_networkx()),
        Hierarchy.from_parents(parents),
        pickle.loads(pickle.dumps(h)),
        copy.deepcopy(h),
    ):
        assert again == h
        assert hash(again) == hash(h)
        assert again.checksum == h.checksum
        assert (again.names, again.edges.tolist()) == (h.names, h.edges.tolist())


@given(graphs(max_parents=1))
def test_parents_may_be_single_names_or_none(graph: Graph) -> None:
    nodes, edges = graph
    single = {name: next(iter(parents_of(name, edges)), None) for name in nodes}
    assert Hierarchy.from_parents(single) == built(graph)


@given(PATHS)
def test_paths_edges_and_level_matrices_agree(paths: list[str]) -> None:
    h = Hierarchy.from_paths(paths)
    parts = [path.split("/") for path in paths]
    prefixes = [["/".join(row[:end]) for end in range(1, len(row) + 1)] for row in parts]
    nodes = dict.fromkeys(name for row in prefixes for name in row)
    edges = dict.fromkeys(pair for row in prefixes for pair in pairwise(row))
    assert h == Hierarchy.from_edges(edges, nodes=nodes)
    assert h == Hierarchy.from_levels([row + [None] * (4 - len(row)) for row in parts], qualify=True)
    # Where labels are unique, as whole paths are, the label is the name.
    assert h == Hierarchy.from_levels(np.array([row + [""] * (4 - len(row)) for row in prefixes]))
    arrows = Hierarchy.from_paths([">".join(row) for row in parts], sep=">")
    assert [name.replace(">", "/") for name in arrows.names] == list(h.names)
    assert torch.equal(arrows.edges, h.edges)


@given(PATHS)
@settings(max_examples=20)
def test_folders_and_paths_agree(paths: list[str]) -> None:
    with tempfile.TemporaryDirectory() as root:
        for path in paths:
            (Path(root) / path / ".cache" / "inside").mkdir(parents=True, exist_ok=True)
            (Path(root) / path / "sample.txt").touch()
        assert Hierarchy.from_folder(root) == Hierarchy.from_paths(sorted(paths, key=lambda p: p.split("/")))


def test_level_matrix_of_any_labels_with_any_missing_value() -> None:
    rows = np.array([[1, 20, np.float32("nan")], [1, 21, None], [2, float("nan"), ""]], dtype=object)
    assert Hierarchy.from_levels(rows) == Hierarchy.from_parents({"1": None, "20": "1", "21": "1", "2": None})
    assert Hierarchy.from_levels(np.array([[1, 20], [2, 30]])).names == ("1", "2", "20", "30")


def test_networkx_nodes_become_strings() -> None:
    graph = networkx.DiGraph([(7, 1), (7, 2)])
    assert Hierarchy.from_networkx(graph) == Hierarchy.from_edges([("7", "1"), ("7", "2")])


def test_json_and_checksum_are_pinned() -> None:
    """Run folders of an earlier version must stay readable and comparable."""
    h = Hierarchy.from_parents({"Tier": None, "Hündin": ["Tier", "Hund"], "Hund": "Tier"})
    assert h.to_json() == '{"nodes": ["Tier", "Hund", "Hündin"], "edges": [[0, 1], [0, 2], [1, 2]]}'
    assert h.checksum == "b86a74760114d743a4110bf6a607471cfbb254c030c8650beecd410c1fdfdd3c"


@pytest.mark.parametrize(
    "other",
    [
        Hierarchy.from_edges([("a", "b"), ("a", "d")]),
        Hierarchy.from_edges([("a", "b")], nodes=["a", "b", "c"]),
        Hierarchy.from_edges([("a", "c"), ("a", "b")]),
        "a -> b, c",
    ],
)
def test_another_name_edge_or_order_is_not_equal(other: object) -> None:
    assert Hierarchy.from_edges([("a", "b"), ("a", "c")]) != other


def test_a_hierarchy_is_immutable() -> None:
    h = Hierarchy.from_paths(["a/b"])
    with pytest.raises(AttributeError, match="immutable"):
        h.names = ("b", "a")  # type: ignore[misc]


def test_moving_to_its_own_device_is_free() -> None:
    h = Hierarchy.from_paths(["a/b"])
    assert h.to("cpu") is h


@pytest.mark.cuda
@given(GRAPHS, SEEDS)
@settings(max_examples=20)
def test_cuda_equals_cpu(graph: Graph, seed: int) -> None:
    h = built(graph)
    there = h.to(DEVICE)
    assert there == h
    assert h.to(DEVICE) is there
    targets = random_targets(seed, len(h))
    for operator in ("add_ancestors", "most_specific"):
        result = getattr(h, operator)(targets.to(DEVICE))
        assert result.device.type == DEVICE
        assert torch.equal(result.cpu(), getattr(h, operator)(targets))
    assert h.has_ancestors(targets.to(DEVICE)) == h.has_ancestors(targets)
    for name in ("depth", "roots", "leaves", "parent_ptr", "child_ptr", "child_ids", "ancestors"):
        assert torch.equal(getattr(there, name).cpu(), getattr(h, name))


@given(GRAPHS, st.randoms(use_true_random=False))
def test_any_cycle_is_found_and_spelled_out(graph: Graph, random: Random) -> None:
    nodes, edges = graph
    h = built(graph)
    child = random.choice(h.names)
    above = random.choice(sorted(ancestors_of(child, edges)))
    broken = [*edges, (child, above)]
    with pytest.raises(CycleError, match="cycle") as caught:
        Hierarchy.from_edges(broken, nodes=nodes)
    cycle = caught.value.cycle
    assert cycle[0] == cycle[-1]
    assert len({*cycle}) == len(cycle) - 1
    assert {*pairwise(cycle)} <= {*broken}


def test_the_message_of_a_long_cycle_is_short() -> None:
    ring = [(f"{i}" * 20, f"{(i + 1) % 50_000}" * 20) for i in range(50_000)]
    with pytest.raises(CycleError, match=r"cycle: \d+.* -> \(49993 more\) -> ") as caught:
        Hierarchy.from_edges(ring)
    assert len(str(caught.value)) < 1000
    assert len(caught.value.cycle) == 50_001


# Drawing


def test_the_drawing_is_pinned() -> None:
    h = Hierarchy.from_parents(
        {
            "animal": None,
            "plant": None,
            "pet": "animal",
            "wild": "animal",
            "cat": "pet",
            "robot": None,
            "robocat": ["cat", "robot"],
            "wolf": "wild",
            "dog": ["pet", "wild"],
        }
    )
    assert (
        str(h)
        == """\
animal
├── pet
│   ├── cat
│   └── dog (also below wild)
└── wild
    └── wolf
plant
robot
└── robocat (also below cat)"""
    )
    assert repr(h) == "Hierarchy(DAG, 9 nodes, 8 edges, 4 levels)"


def test_a_large_drawing_says_what_it_leaves_out() -> None:
    *lines, last = str(Hierarchy.from_paths([f"root/{i}" for i in range(299)])).splitlines()
    assert len(lines) == 200
    assert last == "... and 100 more nodes"


@given(GRAPHS)
def test_the_drawing_shows_every_node_once(graph: Graph) -> None:
    h = built(
        (
            [f"n{i}" for i in range(len(graph[0]))],
            [(f"n{graph[0].index(p)}", f"n{graph[0].index(c)}") for p, c in graph[1]],
        )
    )
    shown = [re.search(r"n\d+", line).group() for line in str(h).splitlines()]
    assert sorted(shown) == sorted(h.names)


def test_the_examples_of_the_documentation() -> None:
    result = doctest.testmod(hmc_shared.hierarchy)
    assert result.attempted > 0
    assert result.failed == 0
