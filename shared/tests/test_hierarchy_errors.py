"""What is no hierarchy is refused, and the message names the nodes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import networkx
import pytest

from hmc_shared import Hierarchy


def from_json_of(nodes: object, edges: object) -> Callable[[], Hierarchy]:
    return lambda: Hierarchy.from_json(json.dumps({"nodes": nodes, "edges": edges}))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Hierarchy.from_edges([("r", "a"), ("a", "b"), ("b", "c"), ("c", "a")]),
            "cycle: b -> c -> a -> b.",
        ),
        (lambda: Hierarchy.from_edges([("r", "a"), ("a", "a")]), "cycle: a -> a."),
        (lambda: Hierarchy.from_parents({"a": "b", "b": "a"}), "cycle: a -> b -> a."),
        (
            lambda: Hierarchy.from_edges([], nodes=["a", "b", "a"]),
            "node should be given once. Found again: a.",
        ),
        (
            lambda: Hierarchy.from_edges([("a", "b"), ("a", "b")]),
            "edge should be given once. Found again: 'a' -> 'b'.",
        ),
        (lambda: Hierarchy.from_parents({"a": None, "b": ["a", "a"]}), "Found again: 'a' -> 'b'."),
        (lambda: Hierarchy.from_parents({"b": "a"}), "Unknown parent 'a' in the edge 'a' -> 'b'."),
        (
            lambda: Hierarchy.from_edges([("a", "b")], nodes=["a"]),
            "Unknown child 'b' in the edge 'a' -> 'b'.",
        ),
        (lambda: Hierarchy.from_edges([("a", "")]), "non-empty string. Found ''."),
        (lambda: Hierarchy.from_edges([("a", 3)]), "non-empty string. Found 3."),
        (lambda: Hierarchy.from_parents({"a": ""}), "non-empty string. Found ''."),
        (lambda: Hierarchy.from_edges(["ab"]), "(parent, child) pair. Found 'ab'."),
        (lambda: Hierarchy.from_edges([("a", "b", "c")]), "(parent, child) pair. Found ('a', 'b', 'c')."),
        (lambda: Hierarchy.from_edges([]), "at least one node. Found none."),
        (lambda: Hierarchy.from_paths([]), "at least one node. Found none."),
        (lambda: Hierarchy.from_paths(["a//b"]), "no empty part. Found 'a//b'."),
        (lambda: Hierarchy.from_paths(["a", ""]), "no empty part. Found ''."),
        (
            lambda: Hierarchy.from_levels([["a", "b"], ["a", None], ["", "b"]]),
            "Row 2 of the level matrix has a gap",
        ),
        (lambda: Hierarchy.from_levels(["ab", "cd"]), "`matrix` should have shape (n, levels). Found (2,)."),
        (
            lambda: Hierarchy.from_levels([["a", "x"], ["b", "x"]]),
            "'x' stands for two classes, ['a', 'x'] and ['b', 'x']: pass qualify=True",
        ),
        (lambda: Hierarchy.from_levels([["a", "a"]]), "'a' stands for two classes, ['a'] and ['a', 'a']"),
        (
            lambda: Hierarchy.from_levels([["a", "b"], ["c", "a"]]),
            "'a' stands for two classes, ['a'] and ['c', 'a']",
        ),
        (
            lambda: Hierarchy.from_levels([["a/b", None], ["a", "b"]], qualify=True),
            "'a/b' stands for two classes, ['a/b'] and ['a', 'b']: labels should have no '/'.",
        ),
        (lambda: Hierarchy.from_networkx(networkx.Graph([("a", "b")])), "undirected"),
        (
            lambda: Hierarchy.from_networkx(networkx.DiGraph([(0, 1), ("0", 2)])),
            "The nodes 0 and '0' of `graph` have one text.",
        ),
        (lambda: Hierarchy.from_paths(["/".join(["a"] * 20_000)]), "1000 parts or fewer. Found 20000."),
        (lambda: Hierarchy.from_networkx(networkx.DiGraph([("a", "b"), ("b", "a")])), "cycle: b -> a -> b."),
        (lambda: Hierarchy.from_folder("no/such/folder"), "no/such/folder should be a folder"),
        (lambda: Hierarchy.from_json("{"), "Not the JSON of a hierarchy"),
        (lambda: Hierarchy.from_json("[]"), "Not the JSON of a hierarchy"),
        (lambda: Hierarchy.from_json("{}"), "Not the JSON of a hierarchy"),
        (from_json_of(["a"], [[0, 1]]), "Not the JSON of a hierarchy"),
        (from_json_of(["a", "b"], [[-2, 1]]), "in id order"),
        (from_json_of(["b", "a"], [[1, 0]]), "in id order"),
        (from_json_of("ab", []), "in id order"),
        (from_json_of(["a", "a"], []), "Found again: a."),
    ],
)
def test_errors_name_the_nodes(build: Callable[[], Hierarchy], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_a_folder_without_folders_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sample.txt").touch()
    (tmp_path / ".hidden").mkdir()
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        Hierarchy.from_folder(tmp_path)


def test_the_repeats_of_qualify_are_the_same_class_twice() -> None:
    """A class that is its own parent in a level matrix is two classes of one label."""
    h = Hierarchy.from_levels([["a", "a"], ["a", "b"], ["c", "b"]], qualify=True)
    assert h == Hierarchy.from_paths(["a/a", "a/b", "c/b"])
