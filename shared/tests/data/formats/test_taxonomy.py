"""Paths of classes in one column, and Google's product taxonomy."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmc_shared import Hierarchy
from hmc_shared.data import load_dataset
from hmc_shared.data.formats.taxonomy import labels_of_paths, parts_of_path, paths_of_cell, read_products

PRODUCTS = """# Google_Product_Taxonomy_Version: 2021-09-21
1 - Animals & Pet Supplies
3237 - Animals & Pet Supplies > Live Animals
2 - Animals & Pet Supplies > Pet Supplies
3 - Animals & Pet Supplies > Pet Supplies > Bird Supplies

166 - Apparel & Accessories
"""
FOX = "1dd9a3f1-c9d8-4a3d-b10a-4b0d4e6b2a3c;mammalia;carnivora;canidae;vulpes;vulpes;red fox"
DOGS = "3d80f1d6-b1df-4966-9ff4-94053c7a902a;mammalia;carnivora;canidae;;;canidae family"
BLANK = "f1856211-cfb7-4a5b-9158-c0f72fd09ee6;;;;;;blank"


def write(folder, lines, name="t.csv"):
    (folder / name).write_text("\n".join(lines) + "\n")
    return f"table:{folder / name}"


@pytest.mark.parametrize(
    ("text", "separator", "parts"),
    [
        ("a > b>c", ">", ("a", "b", "c")),
        ("a;b;;", ";", ("a", "b")),
        ("a;b;NA", ";", ("a", "b")),
        ("n/a", ">", ()),
        ("", ";", ()),
        (FOX, ";", ("mammalia", "carnivora", "canidae", "vulpes", "vulpes")),
        (DOGS, ";", ("mammalia", "carnivora", "canidae")),
        (BLANK, ";", ("blank",)),
    ],
)
def test_the_parts_of_a_path(text, separator, parts):
    assert parts_of_path(text, separator) == parts


def test_a_gap_is_refused():
    with pytest.raises(ValueError, match=r"a path should have no gap\. Found 'a;;c'\."):
        parts_of_path("a;;c", ";")


def test_several_paths_in_a_cell():
    assert paths_of_cell("a > b; a|a > b", ">") == [("a", "b"), ("a",)]
    assert paths_of_cell("a;b|c", ";") == [("a", "b"), ("c",)]


NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(tuple)


@given(st.lists(st.lists(NAMES, unique=True, max_size=3), min_size=1).filter(any))
def test_every_label_has_its_path(paths):
    hierarchy, labels, notes = labels_of_paths(paths, "t", str)
    for of_row, ids in zip(paths, labels, strict=True):
        for path, node in zip(of_row, ids, strict=True):
            found = [hierarchy.names[i] for i in hierarchy.path_to(node)]
            assert found == (["/".join(path[: i + 1]) for i in range(len(path))] if notes else [*path])


def test_a_column_of_paths(tmp_path):
    lines = ["id,x,kind", *(f"{i},{i},{('a > b', 'a > c', 'd', '')[i % 4]}" for i in range(40))]
    dataset = load_dataset(write(tmp_path, lines), levels="kind>")
    assert dataset.hierarchy == Hierarchy.from_edges([("a", "b"), ("a", "c")], nodes=["a", "d", "b", "c"])
    assert dataset.feature_names == ("x",)
    assert "paths of classes: kind" in dataset.notes
    flat = load_dataset(write(tmp_path, lines), levels="kind")
    assert any("--levels 'category>'" in note for note in flat.notes)


def test_a_column_of_taxa(tmp_path):
    lines = ["x\tprediction", *(f"{i}\t{(FOX, DOGS, BLANK)[i % 3]}" for i in range(30))]
    dataset = load_dataset(write(tmp_path, lines, "t.tsv"), levels="prediction;")
    ranks = ["mammalia", "carnivora", "canidae", "vulpes", "vulpes"]
    paths = ["/".join(ranks[:end]) for end in range(1, 6)]
    assert set(dataset.hierarchy.names) == {*paths, "blank"}


def test_a_gap_in_a_cell_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"t\.csv, line 3: a path should have no gap.* \(column 'kind'\)"):
        load_dataset(write(tmp_path, ["x,kind", "1,a > b", "2,a > > c"]), levels="kind>")


@pytest.mark.parametrize("column", ["labels", "google_product_category"])
def test_googles_products(tmp_path, column):
    (tmp_path / "taxonomy-with-ids.en-US.txt").write_text(PRODUCTS)
    cells = ["3", "Animals & Pet Supplies > Live Animals", "166", "3237|166", ""]
    dataset = load_dataset(write(tmp_path, [f"x,{column}", *(f"{i},{cells[i % 5]}" for i in range(50))]))
    top = "Animals & Pet Supplies"
    edges = [(top, "Pet Supplies"), (top, "Live Animals"), ("Pet Supplies", "Bird Supplies")]
    assert {(dataset.hierarchy.names[a], dataset.hierarchy.names[b]) for a, b in dataset.hierarchy.edges} == {
        *edges
    }
    assert len(dataset.hierarchy) == 5
    assert "taxonomy-with-ids.en-US.txt" in dataset.sources


@pytest.mark.parametrize("cell", ["4", "Pet Supplies", "Animals & Pet Supplies > Fish"])
def test_a_product_that_the_taxonomy_lacks(tmp_path, cell):
    (tmp_path / "taxonomy.txt").write_text(PRODUCTS)
    says = rf"t\.csv, line 3: '{re.escape(cell)}' is no path or number of taxonomy\.txt"
    with pytest.raises(ValueError, match=says):
        load_dataset(write(tmp_path, ["x,labels", "1,3", f"2,{cell}"]))


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a\na", 2, "'a' again"),
        ("1 - a\n1 - b", 2, "'1' again"),
        ("a > b", 1, "the class above 'a > b' should stand before it"),
        ("a\na > > b", 2, "no gap"),
        ("\xff", 1, "not UTF-8"),
    ],
)
def test_a_damaged_taxonomy_is_named(tmp_path, text, line, says):
    path = tmp_path / "taxonomy.txt"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"taxonomy\.txt:{line}: .*{says}"):
        read_products(path)


def test_one_hierarchy_beside_a_table(tmp_path):
    (tmp_path / "taxonomy.txt").write_text(PRODUCTS)
    (tmp_path / "edges.csv").write_text("parent,child\na,b\n")
    with pytest.raises(ValueError, match=r"should hold one hierarchy .* Found edges\.csv, taxonomy\.txt"):
        load_dataset(write(tmp_path, ["x,labels", "1,3"]))
