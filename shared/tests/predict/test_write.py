"""Predictions and other tables, as CSV and as JSON."""

import csv
import json

import pytest
import torch
from pyarrow import parquet

from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_descendants
from hmc_shared.data.formats.label_cells import label_names
from hmc_shared.data.formats.table_file import open_table
from hmc_shared.predict.decision import confident_labels
from hmc_shared.predict.write import Predictions, to_records, write_json, write_predictions, write_table

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
    write_predictions(None, [Predictions(["one", "two"], DAG, p, labels)], as_json=True)
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
    write_predictions(str(tmp_path / "p.json"), [Predictions(["one"], two, p, labels)])
    assert json.loads((tmp_path / "p.json").read_text()) == list(
        to_records(Predictions(["one"], two, p, labels))
    )
    with pytest.raises(ValueError, match=r"`--output` should end in \.json with `--json`"):
        write_predictions(str(tmp_path / "p.parquet"), [Predictions(["one"], two, p, labels)], as_json=True)
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
