"""Hierarchies of the benchmark files."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from hmc_shared import Hierarchy


def class_list(name: str) -> list[str]:
    """The items of the `hierarchical` attribute of a CLUS set: paths, or edges for GO."""
    for file in Path(os.environ["HMC_DATA"]).rglob("*.arff.gz"):
        if file.name.startswith(name) and "train" in file.name.lower():
            with gzip.open(file, "rt", encoding="utf-8", errors="replace") as lines:
                return next(line.split()[3] for line in lines if "hierarchical" in line).split(",")
    pytest.skip(f"needs the training file of {name}: not below HMC_DATA")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "nodes", "edges", "multi_parent", "closure", "longest_path"),
    [
        ("cellcycle_GO", 4126, 5827, 1477, 42704, 14),
        ("eisen_GO", 3574, 5037, 1277, 36881, 14),
        ("seq_GO", 4134, 5839, 1480, 42782, 14),
    ],
)
def test_gene_ontology_has_the_published_counts(
    name: str, nodes: int, edges: int, multi_parent: int, closure: int, longest_path: int
) -> None:
    h = Hierarchy.from_edges(tuple(item.split("/")) for item in class_list(name))
    assert (len(h), len(h.edges)) == (nodes, edges)
    assert int((h.parent_ptr.diff() > 1).sum()) == multi_parent
    assert int(h.ancestors.sum()) == closure
    assert h.num_levels == longest_path + 1
    assert [h.names[i] for i in h.roots] == ["root"]
    assert {h.names[i] for i in h.children(0)} == {"GO0003674", "GO0005575", "GO0008150"}
    assert not h.is_tree
    assert Hierarchy.from_json(h.to_json()) == h


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("cellcycle_FUN", [18, 80, 178, 142, 77, 4]),
        ("eisen_FUN", [18, 76, 165, 131, 67, 4]),
        ("Diatoms", [85, 310, 3]),
        ("Enron", [3, 40, 13]),
    ],
)
def test_label_paths_have_the_published_classes_per_level(name: str, levels: list[int]) -> None:
    h = Hierarchy.from_paths(class_list(name))
    assert [len(level) for level in h.levels] == levels
    assert h.is_tree
