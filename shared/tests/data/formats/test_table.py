"""`table:PATH`: features, labels and an edge list, or columns of levels."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from hmc_shared import Hierarchy
from hmc_shared.data import load_dataset
from hmc_shared.data.formats.features import read_table
from hmc_shared.data.formats.hf_export import export

EDGES = "parent,child\nanimal,cat\nanimal,dog\nplant,oak\ncat,robocat\nthing,robocat\n"


def write(folder, name, text):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def rows(labels, n=40):
    """n lines of two features and labels, with ids."""
    rng = np.random.default_rng(0)
    return [f"row-{i},{rng.normal():.4f},{i},{labels[i % len(labels)]}" for i in range(n)]


def test_a_table_with_an_edge_list(tmp_path):
    lines = rows(["cat", "dog|oak", "robocat", ""])
    lines[3] = "row-3,?,,"
    file = write(tmp_path / "zoo", "zoo.csv", "id,a,b,labels\n" + "\n".join(lines) + "\n")
    write(tmp_path / "zoo", "edges.csv", EDGES)
    dataset = load_dataset(f"table:{file}")
    assert dataset.name == "zoo"
    assert set(dataset.hierarchy.names) == {"animal", "plant", "thing", "cat", "dog", "oak", "robocat"}
    assert not dataset.hierarchy.is_tree
    assert dataset.feature_names == ("a", "b")
    assert [len(split) for split in dataset.splits.values()] == [24, 8, 8]
    assert "60 % training" in dataset.notes[0]
    expected = {0: {"animal", "cat"}, 1: {"animal", "dog", "plant", "oak"}, 3: set()}
    expected[2] = {"animal", "cat", "robocat", "thing"}
    seen = []
    for split in dataset.splits.values():
        for name, target, features in zip(split.ids, split.targets, split.inputs, strict=True):
            row = int(name.removeprefix("row-"))
            seen.append(row)
            assert {dataset.hierarchy.names[i] for i in target.nonzero().flatten()} == expected[row % 4]
            assert features.isnan().all() if row == 3 else features[1].item() == row
    assert sorted(seen) == list(range(40))
    same = load_dataset(f"table:{tmp_path / 'zoo'}")
    assert same.checksum == dataset.checksum
    torch.testing.assert_close(same.train.inputs, dataset.train.inputs, rtol=0, atol=0, equal_nan=True)


def test_levels_and_given_splits_in_parquet(tmp_path):
    n = 30
    columns = {
        "kind": ["animal" if i % 3 else "plant" for i in range(n)],
        "species": ["cat" if i % 3 == 1 else None if i % 3 == 2 else "oak" for i in range(n)],
        "x": [float(i) if i != 4 else None for i in range(n)],
        "split": ["training", "val", "test"] * 10,
    }
    (tmp_path / "mine").mkdir()
    parquet.write_table(pa.table(columns), tmp_path / "mine" / "table.parquet")
    dataset = load_dataset(f"table:{tmp_path / 'mine'}", levels="kind,species")
    assert dataset.name == "mine"
    assert dataset.hierarchy == Hierarchy.from_levels([["plant", "oak"], ["animal", "cat"]])
    assert dataset.test.ids == tuple(str(i) for i in range(2, 30, 3))
    assert dataset.validation.ids == tuple(str(i) for i in range(1, 30, 3))
    assert dataset.test.targets.sum(1).tolist() == [1] * 10  # an animal and no species
    assert dataset.notes[0] == "levels: kind, species"
    assert dataset.is_single_path
    export(dataset, tmp_path / "exported")
    assert load_dataset(f"hf:{tmp_path / 'exported'}").feature_names == ("x",)


def test_without_a_test_split_validation_takes_its_place(tmp_path):
    lines = [f"{i},{'ab'[i % 2]},{'train' if i < 30 else 'val'}" for i in range(40)]
    file = write(tmp_path, "t.csv", "x,labels,split\n" + "\n".join(lines) + "\n")
    dataset = load_dataset(f"table:{file}")
    assert dataset.test.ids == tuple(str(i) for i in range(30, 40))
    assert len(dataset.validation) == 6
    assert dataset.hierarchy == Hierarchy.from_edges([], nodes=["a", "b"])


def test_a_label_with_two_parents_is_named_by_its_path(tmp_path):
    text = "x,room,thing\n" + "1,kitchen,lamp\n2,office,lamp\n3,office,desk\n" * 5
    dataset = load_dataset(f"table:{write(tmp_path, 't.csv', text)}", levels=["room", "thing"])
    names = ["kitchen", "office", "kitchen/lamp", "office/lamp", "office/desk"]
    assert list(dataset.hierarchy.names) == names
    assert "named by their paths" in dataset.notes[-1]


@pytest.mark.parametrize(
    ("text", "levels", "message"),
    [
        ("x,y\n1,2\n", None, r"t\.csv should have a column 'labels'\. Found x, y"),
        ("labels\na\n", None, r"t\.csv should have columns of features\. Found labels"),
        ("x,labels\n1,a\n2,zebra\n", None, r"t\.csv, line 3: 'zebra' is not a class of edges\.csv"),
        (
            "x,labels\n1,a\nred,a\n",
            None,
            r"t\.csv, line 3: 'red' is no.*'x'.*`--categorical`.*`--drop`",
        ),
        ("x,labels\n1,a\ninf,a\n", None, r"t\.csv, line 3: features should be finite"),
        ("x,id,labels\n1,r,a\n2,r,a\n", None, r"t\.csv, line 3: each row .*'id'\. Found 'r' again"),
        ("x,labels,split\n1,a,train\n2,a,later\n", None, r"t\.csv, line 3: the split should be .* 'later'"),
        (
            "x,labels,split\n1,a,val\n2,a,test\n",
            None,
            r"t\.csv should have a train split\. Found 'val', 'test'",
        ),
        ("x,up,low\n1,a,\n2,,b\n", "up,low", r"t\.csv, line 3: a label should have one in each column"),
        ("x,up,low\n1,a,\n", "up,lower", r"t\.csv should have a column 'lower'"),
        ("x,up,low\n1,,\n", "up,low", r"t\.csv should have labels in the column 'up'"),
        ("x,up,low\n1,a,b\n", "up,up", r"`--levels` should name columns.* Found 'up,up'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, levels, message):
    file = write(tmp_path, "t.csv", text)
    write(tmp_path, "edges.csv", "parent,child\n,a\n")
    with pytest.raises(ValueError, match=message):
        load_dataset(f"table:{file}", levels=levels)


def test_wrong_places_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"table:PATH should name a \.csv, \.tsv or \.parquet file"):
        load_dataset(f"table:{tmp_path / 'gone.csv'}")
    with pytest.raises(ValueError, match=r"table:PATH should name .*, or a folder with one. Found none"):
        load_dataset(f"table:{tmp_path}")
    file = write(tmp_path, "a.csv", "x,labels\n1,a\n")
    write(tmp_path, "edges.csv", "parent,child\na,b\nb,a\n")
    with pytest.raises(ValueError, match=r"edges\.csv, line \d: The hierarchy has a cycle: "):
        load_dataset(f"table:{file}")
    with pytest.raises(ValueError, match=r"`--levels` is for hf:PATH, table:PATH and labels:PATH only"):
        load_dataset("digits", levels="a,b")


@pytest.mark.parametrize(
    ("lines", "part"),
    [(["1,x"], "validation"), (["1,x", "2,x", "3,x"], "validation"), ([], "train")],
)
def test_a_split_without_rows_is_refused(tmp_path, lines, part):
    write(tmp_path / "few", "edges.csv", "parent,child\n,x\n")
    file = write(tmp_path / "few", "few.csv", "\n".join(["a,labels", *lines, ""]))
    with pytest.raises(
        ValueError, match=rf"few: the {part} split should have rows\. Found none in {len(lines)}"
    ):
        load_dataset(f"table:{file}")


def test_a_validation_split_sampled_from_one_row_is_refused(tmp_path):
    file = write(tmp_path / "few", "few.csv", "a,labels,split\n1,x,train\n2,x,test\n")
    with pytest.raises(ValueError, match=r"few: the validation split should have rows\. Found none in 2"):
        load_dataset(f"table:{file}")


@pytest.mark.parametrize(("start", "is_blurred"), [(1.7e9, True), (1.7e6, False)])
def test_a_column_that_float32_blurs_is_refused(tmp_path, start, is_blurred):
    lines = [f"{start + 10 * i},{i},{'ab'[i % 2]}" for i in range(40)]
    file = write(tmp_path, "times.csv", "\n".join(["time,x,labels", *lines]) + "\n")
    if is_blurred:
        with pytest.raises(ValueError, match=r"times: column time should vary .* around 1\.7e\+09"):
            load_dataset(f"table:{file}")
        return
    dataset = load_dataset(f"table:{file}")
    _, raw = read_table(file, dataset.feature_names)
    value_of = {x[1]: x[0] for x in raw.tolist()}
    assert all(value_of[x[1]] == x[0] for x in dataset.test.inputs.tolist())


@pytest.mark.parametrize(
    "edges",
    [
        "child;parent\ncat;animal\ndog;animal\ncat;animal\n",  # as relations of an ontology may stand twice
        "Parent,CHILD,relation\nanimal,cat,is_a\nanimal,cat,part_of\n\nanimal,dog,is_a\n,\n",
        "parent\tchild\n\tanimal\nanimal\tcat\nanimal\tdog\n",
    ],
)
def test_edge_lists_as_they_are_written(tmp_path, edges):
    file = write(tmp_path, "t.csv", "x,Label\n" + "1,cat\n2,dog\n" * 10)
    write(tmp_path, "edges.csv", edges)
    hierarchy = load_dataset(f"table:{file}").hierarchy
    assert hierarchy == Hierarchy.from_edges([("animal", "cat"), ("animal", "dog")])


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (
            "animal,cat\nanimal,dog\n",
            r"edges\.csv should have the columns parent and child, named in",
        ),
        (
            "parent,child\nanimal,cat\n\ncat,cat\n",
            r"edges\.csv, line 4: .* cycle: cat -> cat",
        ),
        ("parent,child\n", r"edges\.csv: A hierarchy should have at least one node"),
    ],
)
def test_edges_that_are_none_are_named(tmp_path, edges, message):
    file = write(tmp_path, "t.csv", "x,labels\n1,cat\n")
    write(tmp_path, "edges.csv", edges)
    with pytest.raises(ValueError, match=message):
        load_dataset(f"table:{file}")


def test_a_table_with_splits_is_in_memory_once(tmp_path):
    """Its features in float64, and the smaller arrays made of them: 1.8 times as much at most, not 2.4."""
    n, width = 40_000, 40
    rng = np.random.default_rng(0)
    columns = {f"x{at}": rng.normal(size=n).astype(np.float32) for at in range(width)}
    columns |= {"labels": ["a", "b"] * (n // 2), "split": ["train", "val", "test", "unlabeled"] * (n // 4)}
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    tracemalloc.start()
    dataset = load_dataset(f"table:{tmp_path / 't.parquet'}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    for part, split in enumerate(dataset.splits.values()):
        assert split.inputs[:, 3].tolist() == columns["x3"][part::4].tolist()
        assert split.ids[:2] == (str(part), str(part + 4))
    assert peak < 2.1 * 8 * n * 3 / 4 * width
