"""Labels in the cells of a table."""

from __future__ import annotations

import csv
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.storage.cache import save_quietly

N = 20
X = [float(i) for i in range(N)]
EDGES = "parent,child\nanimal,cat\nanimal,dog\n"


def labels_of(dataset: HierarchicalDataset) -> dict[int, set[str]]:
    """The classes of each row, by its feature x."""
    return {
        int(x): {dataset.hierarchy.names[i] for i in target.nonzero().flatten()}
        for split in dataset.splits.values()
        for x, target in zip(split.inputs[:, 0], split.targets, strict=True)  # type: ignore[index]
    }


def table(folder: Path, cells: object, edges: str | None = None) -> str:
    parquet.write_table(pa.table({"x": X, "labels": cells}), folder / "t.parquet")
    if edges:
        (folder / "edges.csv").write_text(edges)
    return f"table:{folder / 't.parquet'}"


def text(folder: Path, cells: list[str], edges: str | None = None) -> str:
    lines = [f'{i},"{cell}"' for i, cell in enumerate(cells)]
    (folder / "t.csv").write_text("\n".join(["x,labels", *lines]))
    if edges:
        (folder / "edges.csv").write_text(edges)
    return f"table:{folder / 't.csv'}"


def test_lists_are_several_labels(tmp_path: Path) -> None:
    lists = [["cat"], ["cat", "dog"]] * (N // 2)
    seen = labels_of(load_dataset(table(tmp_path, lists)))
    assert seen == {i: {"cat", "dog"} if i % 2 else {"cat"} for i in range(N)}
    seen = labels_of(load_dataset(table(tmp_path, lists, EDGES)))
    assert seen == {i: {"animal", "cat", "dog"} if i % 2 else {"animal", "cat"} for i in range(N)}
    ids = table(tmp_path, [[0], [0, 2]] * (N // 2), "parent,child\n0,1\n0,2\n")
    assert labels_of(load_dataset(ids))[1] == {"0", "2"}


def test_lists_written_out_are_several_labels(tmp_path: Path) -> None:
    for cells in (["['cat']", "['cat', 'dog']"], ['[""cat""]', '[""cat"", ""dog""]'], ["cat", "cat; dog"]):
        seen = labels_of(load_dataset(text(tmp_path, cells * (N // 2), EDGES)))
        assert seen[0] == {"animal", "cat"}
        assert seen[1] == {"animal", "cat", "dog"}


WRITTEN = ["a", "a;b", "a|b", "b | a", "['a', 'b']", '["c"]', "", "NA"]
READ = [{"a"}, {"a", "b"}, {"a", "b"}, {"a", "b"}, {"a", "b"}, {"c"}, set(), set()]


@pytest.mark.parametrize("levels", [None, "labels"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "categories", "hf"])
def test_one_column_of_levels_is_read_as_a_column_of_labels(tmp_path: Path, kind: str, levels: str) -> None:
    """Several labels in a text are several, whoever names the column and whatever file holds it."""
    cells, x = WRITTEN * 5, [float(i) for i in range(40)]
    content = pa.table({"x": x, "labels": cells})
    name = f"table:{tmp_path / 't.parquet'}"
    if kind == "categories":
        content = content.set_column(1, "labels", content["labels"].dictionary_encode())
    if kind in ("csv", "tsv"):
        name = f"table:{tmp_path / f't.{kind}'}"
        with (tmp_path / f"t.{kind}").open("w") as file:
            csv.writer(file, delimiter="," if kind == "csv" else "\t").writerows(
                [["x", "labels"], *zip(x, cells, strict=True)]
            )
    elif kind == "hf":
        name, levels = f"hf:{tmp_path / 's'}", "labels"
        save_quietly(datasets.Dataset.from_dict({"x": x, "labels": cells}), tmp_path / "s")
    else:
        parquet.write_table(content, tmp_path / "t.parquet")
    dataset = load_dataset(name, levels=levels)
    assert labels_of(dataset) == {i: READ[i % 8] for i in range(40)}
    assert dataset.hierarchy.names == ("a", "b", "c")


def test_a_class_label_is_one_name_whatever_stands_in_it(tmp_path: Path) -> None:
    names = ["a;b", "['c']", "none"]
    rows = datasets.Dataset.from_dict({"x": [float(i) for i in range(24)], "a": [0, 1, 2, -1] * 6})
    save_quietly(rows.cast_column("a", datasets.ClassLabel(names=names)), tmp_path / "s")
    dataset = load_dataset(f"hf:{tmp_path / 's'}", levels="a")
    assert labels_of(dataset) == {i: {names[i % 4]} if i % 4 < 3 else set() for i in range(24)}


def test_names_that_look_like_paths_or_lists_in_levels_are_said(tmp_path: Path) -> None:
    said = "labels such as 'a/b' and 'a/c' are plain names, not paths"
    path = text(tmp_path, ["a/b", "a/c", "TV/monitor", "d"] * (N // 4))
    for levels in (None, "labels"):
        dataset = load_dataset(path, levels=levels)
        assert dataset.hierarchy.names == ("TV/monitor", "a/b", "a/c", "d")
        assert said in dataset.notes[-1]
    dataset = load_dataset(text(tmp_path, ["TV/monitor", "d"] * (N // 2)))
    assert not any("paths" in note for note in dataset.notes)
    columns = {"x": X, "up": ["a;b", "c"] * (N // 2), "low": ["d", "e"] * (N // 2)}
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    dataset = load_dataset(f"table:{tmp_path / 't.parquet'}", levels="up,low")
    assert dataset.hierarchy.names == ("a;b", "c", "d", "e")
    assert "labels of 'up' such as 'a;b' are one name each: levels have one label" in dataset.notes


@pytest.mark.parametrize("scheme", ["table", "hf"])
def test_two_classes_of_one_path_are_told_in_the_words_of_the_file(tmp_path: Path, scheme: str) -> None:
    columns = {"up": ["a/b", "c", "a"] * 8, "low": ["", "b", "b"] * 8, "x": [float(i) for i in range(24)]}
    path = tmp_path / "t.parquet"
    if scheme == "hf":
        save_quietly(datasets.Dataset.from_dict(columns), tmp_path / "s")
        path = tmp_path / "s"
    else:
        parquet.write_table(pa.table(columns), path)
    with pytest.raises(ValueError, match="would be one class") as caught:
        load_dataset(f"{scheme}:{path}", levels="up,low")
    assert str(caught.value) == (
        f"{path}, row 3: ['a/b'] and ['a', 'b'] would be one class, 'a/b': take '/' out of the labels."
    )


def test_lists_of_class_labels(tmp_path: Path) -> None:
    kinds = datasets.Features(
        {"x": datasets.Value("float32"), "a": datasets.List(datasets.ClassLabel(names=["cat", "dog"]))}
    )
    rows = datasets.Dataset.from_dict({"x": X, "a": [[0], [0, 1]] * (N // 2)}, features=kinds)
    save_quietly(rows, tmp_path / "s")
    dataset = load_dataset(f"hf:{tmp_path / 's'}", levels="a")
    assert labels_of(dataset) == {i: {"cat", "dog"} if i % 2 else {"cat"} for i in range(N)}
    rows = datasets.Dataset.from_dict({"x": X, "a": [[0, 0], [0, 1]] * (N // 2)}, features=kinds)
    save_quietly(rows, tmp_path / "vectors")
    with pytest.raises(ValueError, match=r"ids or names of classes\. Found a vector of 0 and 1"):
        load_dataset(f"hf:{tmp_path / 'vectors'}", levels="a")


def test_whole_numbers_stored_as_floats_are_the_integers(tmp_path: Path) -> None:
    gaps = table(tmp_path, [1.0, np.nan] * (N // 2), "parent,child\n,0.0\n0.0,1\n")
    assert load_dataset(gaps).hierarchy.names == ("0", "1")
    dataset = load_dataset(text(tmp_path, ["1.0", ""] * (N // 2)))
    assert dataset.hierarchy.names == ("0", "1")


def test_names_in_lists_are_those_of_the_edges(tmp_path: Path) -> None:
    cells = [["2.0"] if i % 2 else ["cat"] for i in range(N)]
    dataset = load_dataset(table(tmp_path, cells, "parent,child\n,cat\ncat,2.0\n"))
    assert labels_of(dataset) == {i: {"cat", "2"} if i % 2 else {"cat"} for i in range(N)}


def test_words_for_nothing_are_no_labels_and_said(tmp_path: Path) -> None:
    dataset = load_dataset(text(tmp_path, ["cat", "NA", "", "None"] * (N // 4)))
    assert dataset.hierarchy.names == ("cat",)
    assert "no label where the cell says 'NA', 'None'" in dataset.notes
    named = load_dataset(text(tmp_path, ["cat", "None"] * (N // 2), "parent,child\n,cat\n,None\n"))
    assert labels_of(named)[1] == {"None"}


def test_a_name_that_holds_a_separator_is_one_label_where_it_is_known(tmp_path: Path) -> None:
    dataset = load_dataset(text(tmp_path, ["a;b", "c"] * (N // 2), "parent,child\n,a;b\n,c\n"))
    assert labels_of(dataset)[0] == {"a;b"}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            [[0, 1, 0], [1, 0, 0]] * (N // 2),
            r"lists in 'labels' should hold ids or names.*Found a vector of 0",
        ),
        ([[0.3], [1.0]] * (N // 2), "lists in 'labels' should hold names or ids of classes. Found double"),
        ([[True, False]] * N, "lists in 'labels' should hold names or ids of classes. Found bool"),
        ([[["a"]]] * N, "lists in 'labels' should hold names or ids of classes. Found list"),
        ([["cat", ""]] * N, r"row 1: '' in a list is no name or id"),
        ([b"cat"] * N, "'labels' should hold one text or number in each row. Found 'binary'"),
        (["['cat' 'dog']"] * N, r"row 1: .* is not a list of labels"),
        (["[0, 1, 0]"] * N, r"lists in 'labels' should hold ids or names.*Found a vector of 0 and 1"),
        (["[[[" + "[" * 5000 + "]"] * N, r"row 1: .*\.\.\..* is not a list of labels"),
        (["[0.5]"] * N, r"row 1: 0\.5 in a list is no name or id"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path: Path, cells: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset(table(tmp_path, cells))
    assert len(str(caught.value)) < 500


def test_an_unknown_label_is_refused_with_what_would_help(tmp_path: Path) -> None:
    for cell, message in (
        ("Dog", r"line 3: 'Dog' is not a class of edges\.csv: is it 'dog'\?"),
        ("cat,dog", r"line 3: 'cat,dog' is not .*: labels are separated by ';' or '\|'"),
        ("GO:1; GO:2", r"line 3: 'GO:1' is not .*edges\.csv, and 1 more label is none: add a line for it"),
    ):
        with pytest.raises(ValueError, match=message):
            load_dataset(text(tmp_path, ["cat", cell] * (N // 2), EDGES))
