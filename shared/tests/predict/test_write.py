"""Predictions and other tables, as CSV and as JSON."""

import csv
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyarrow import parquet

from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_descendants
from hmc_shared.data.formats.label_cells import label_names
from hmc_shared.data.formats.table_file import open_table
from hmc_shared.predict.decision import confident_labels
from hmc_shared.predict.layout import Predictions, to_records
from hmc_shared.predict.write import write_json, write_predictions, write_table

DAG = Hierarchy.from_edges([("a", "c"), ("b", "c"), ("c", "d"), ("b", "e")])


def test_predictions_as_csv_and_as_json(tmp_path, capsys):
    values = torch.tensor([[0.1, 0.2, 0.8, 0.6, 0.1], [0.0, 0.25, 0.0, 0.0, 0.125]])
    p = max_over_descendants(values, DAG)
    labels = confident_labels(p, DAG, 0.5, single_path=False)
    write_predictions(str(tmp_path / "p.csv"), [Predictions(["one", "two"], DAG, p, labels)])
    rows = list(csv.reader((tmp_path / "p.csv").read_text().splitlines()))
    assert rows[0] == ["id", "labels", "a", "b", "c", "e", "d"]
    assert rows[1] == ["one", "a;b;c;e", "0.8", "0.8", "0.8", "0.6", "0.1"]
    assert rows[2] == ["two", "", "0.125", "0.25", "0.125", "0", "0.125"]
    write_predictions(None, [Predictions(["one", "two"], DAG, p, labels)], layout="json")
    one, two = json.loads(capsys.readouterr().out)
    assert one["id"] == "one"
    assert one["answer"] == [
        {"class": "c", "probability": 0.8, "path": ["a", "b", "c"]},
        {"class": "e", "probability": 0.6, "path": ["b", "e"]},
    ]
    assert two["answer"] == []
    assert two["probabilities"] == {"a": 0.125, "b": 0.25, "c": 0.125, "e": 0.0, "d": 0.125}
    assert list(to_records(Predictions(["one", "two"], DAG, p, labels))) == [one, two]


def test_no_file_is_standard_output(capsys):
    write_table(None, ["id", "a,b"], [["x", 1], ["y", 2]])
    assert list(csv.reader(capsys.readouterr().out.splitlines())) == [["id", "a,b"], ["x", "1"], ["y", "2"]]
    write_json(None, [{"é": 1}])
    assert capsys.readouterr().out == '[\n  {\n    "é": 1\n  }\n]\n'


def test_files_are_utf_8_with_lines_of_their_own(tmp_path):
    write_table(tmp_path / "t.csv", ["id", "é"], [["x", 'a "b"'], ["y\nz", 2]])
    assert (tmp_path / "t.csv").read_bytes() == 'id,é\nx,"a ""b"""\n"y\nz",2\n'.encode()
    write_json(str(tmp_path / "t.json"), ["é"])
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8")) == ["é"]


def test_the_name_of_the_file_asks_for_a_format(tmp_path):
    p, labels = torch.tensor([[0.25, 0.5]]), torch.tensor([[True, True]])
    two = Hierarchy.from_edges([("a", "b")])
    write_predictions(str(tmp_path / "p.parquet"), [Predictions(["one"], two, p, labels)])
    table = parquet.read_table(tmp_path / "p.parquet").to_pylist()
    assert table == [{"id": "one", "labels": ["a", "b"], "a": 0.25, "b": 0.5}]
    write_predictions(str(tmp_path / "p.json"), [Predictions(["one"], two, p, labels)], layout="json")
    assert json.loads((tmp_path / "p.json").read_text()) == list(
        to_records(Predictions(["one"], two, p, labels))
    )
    write_table(str(tmp_path / "t.tsv"), ["id", "x"], [["a", 1]])
    assert (tmp_path / "t.tsv").read_text() == "id\tx\na\t1\n"
    write_table(str(tmp_path / "t.parquet"), ["id", "x"], [["a", 1], ["b", 2]])
    assert parquet.read_table(tmp_path / "t.parquet").to_pydict() == {"id": ["a", "b"], "x": [1, 2]}
    write_table(str(tmp_path / "t.parquet"), ["id", "x"], [])
    assert parquet.read_table(tmp_path / "t.parquet").column_names == ["id", "x"]


def test_names_of_classes_make_no_column_ambiguous(tmp_path):
    names = ["id", "labels", "id (class)", "a;b", "c|d"]
    flat = Hierarchy.from_edges([], nodes=names)
    p, labels = torch.full((1, 5), 0.5), torch.tensor([[True, False, False, True, True]])
    write_predictions(str(tmp_path / "p.csv"), [Predictions(["one"], flat, p, labels)])
    header, row = csv.reader((tmp_path / "p.csv").read_text().splitlines())
    assert header == ["id", "labels", "id (class)", "labels (class)", "id (class) (class)", "a;b", "c|d"]
    assert json.loads(row[1]) == ["id", "a;b", "c|d"]
    assert label_names(open_table(tmp_path / "p.csv"), "labels")[0] == [["id", "a;b", "c|d"]]


@pytest.fixture
def kept():
    """Two samples of a tree with columns of their table that are called as those of the result."""
    tree = Hierarchy.from_paths(["a/x", "a/y", "b"])
    p = torch.tensor([[0.75, 0.25, 0.5, 0.25], [0.1, 0.9, 0.1, 0.05]])
    labels = torch.tensor([[True, False, True, False], [False, True, False, False]])
    columns = {"labels": pa.chunked_array([["12.0", None]]), "a": pa.chunked_array([[1.5, 2.5]])}
    return Predictions(["one", "two"], tree, p, labels, columns)


def written(path, *blocks, **options):
    write_predictions(str(path), blocks, **options)
    return list(csv.reader(path.read_text().splitlines()))


def test_every_format_keeps_columns(kept, tmp_path):
    file = tmp_path / "p.csv"
    assert kept.hierarchy.names == ("a", "b", "a/x", "a/y")
    header, one, two = written(file, kept)
    assert header == ["id", "labels (input)", "a", "labels", "a (class)", "b", "a/x", "a/y"]
    assert one == ["one", "12.0", "1.5", "a;a/x", "0.75", "0.25", "0.5", "0.25"]
    assert two == ["two", "", "2.5", "b", "0.1", "0.9", "0.1", "0.05"]
    header, *rows = written(file, kept, layout="long")
    assert header == ["id", "labels", "a", "class", "probability", "label"]
    assert len(rows) == 8
    assert rows[2] == ["one", "12.0", "1.5", "a/x", "0.5", "true"]
    header, one, two = written(file, kept, layout="levels")
    assert header == ["id", "labels", "a", "level_0", "probability_0", "level_1", "probability_1"]
    assert (one[3:], two[3:]) == (["a", "0.75", "a/x", "0.5"], ["b", "0.9", "", ""])
    assert next(to_records(kept))["kept"] == {"labels": "12.0", "a": 1.5}


def test_the_most_probable_leaves(kept, tmp_path):
    file = tmp_path / "p.csv"
    header, one, two = written(file, kept, top_k=2)
    assert header[4:] == ["class_1", "probability_1", "class_2", "probability_2"]
    assert (one[4:], two[4:]) == (["a/x", "0.5", "b", "0.25"], ["b", "0.9", "a/x", "0.1"])
    _, *rows = written(file, kept, layout="long", top_k=5)  # there are three
    assert [row[3:] for row in rows[:3]] == [
        ["a/x", "0.5", "true"],
        ["b", "0.25", "false"],
        ["a/y", "0.25", "false"],
    ]
    record = list(to_records(kept, 1))[1]
    assert record["top"] == [{"class": "b", "probability": 0.9, "path": ["b"]}]
    assert "probabilities" not in record


def test_levels_are_of_one_path(kept, tmp_path):
    several = replace(kept, labels=torch.ones_like(kept.labels))
    with pytest.raises(ValueError, match=r"for samples of one path each\. Found 'one'"):
        written(tmp_path / "p.csv", several, layout="levels")
    assert not (tmp_path / "p.csv").exists()


@given(p=arrays(np.float32, (3, 3), elements=st.floats(0, 1, width=32)))
def test_probabilities_are_written_in_full(p, tmp_path_factory):
    file = tmp_path_factory.mktemp("full") / "p.csv"
    flat = Hierarchy.from_edges([], nodes="abc")
    block = Predictions(["0", "1", "2"], flat, torch.from_numpy(p), torch.zeros(3, 3, dtype=torch.bool))
    _, *rows = written(file, block)
    assert np.array_equal(np.array([row[2:] for row in rows], dtype=np.float32), p)
    found = [[*record["probabilities"].values()] for record in to_records(block)]
    assert np.array_equal(np.array(found, dtype=np.float32), p)
