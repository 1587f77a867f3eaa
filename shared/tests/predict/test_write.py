"""Predictions and other tables, as CSV and as JSON."""

import csv
import json

import torch

from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_descendants
from hmc_shared.predict.decision import confident_labels
from hmc_shared.predict.write import to_records, write_json, write_predictions, write_table

DAG = Hierarchy.from_edges([("a", "c"), ("b", "c"), ("c", "d"), ("b", "e")])


def test_predictions_as_csv_and_as_json(tmp_path, capsys):
    values = torch.tensor([[0.1, 0.2, 0.8, 0.6, 0.1], [0.0, 0.25, 0.0, 0.0, 0.125]])
    p = max_over_descendants(values, DAG)
    labels = confident_labels(p, DAG, 0.5, single_path=False)
    write_predictions(str(tmp_path / "p.csv"), ["one", "two"], DAG, p, labels)
    rows = list(csv.reader((tmp_path / "p.csv").read_text().splitlines()))
    assert rows[0] == ["id", "labels", "a", "b", "c", "e", "d"]
    assert rows[1] == ["one", "a;b;c;e", "0.8", "0.8", "0.8", "0.6", "0.1"]
    assert rows[2] == ["two", "", "0.125", "0.25", "0.125", "0", "0.125"]
    write_predictions(None, ["one", "two"], DAG, p, labels, as_json=True)
    one, two = json.loads(capsys.readouterr().out)
    assert one["id"] == "one"
    assert one["answer"] == [
        {"class": "c", "probability": 0.8, "path": ["a", "b", "c"]},
        {"class": "e", "probability": 0.6, "path": ["b", "e"]},
    ]
    assert two["answer"] == []
    assert two["probabilities"] == {"a": 0.125, "b": 0.25, "c": 0.125, "e": 0.0, "d": 0.125}
    assert to_records(["one", "two"], DAG, p, labels) == [one, two]


def test_no_file_is_standard_output(capsys):
    write_table(None, ["id", "a,b"], [["x", 1], ["y", 2]])
    assert list(csv.reader(capsys.readouterr().out.splitlines())) == [["id", "a,b"], ["x", "1"], ["y", "2"]]
    write_json(None, {"é": 1})
    assert capsys.readouterr().out == '{\n  "é": 1\n}\n'


def test_files_are_utf_8_with_lines_of_their_own(tmp_path):
    write_table(tmp_path / "t.csv", ["id", "é"], [["x", 'a "b"'], ["y\nz", 2]])
    assert (tmp_path / "t.csv").read_bytes() == 'id,é\nx,"a ""b"""\n"y\nz",2\n'.encode()
    write_json(str(tmp_path / "t.json"), ["é"])
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8")) == ["é"]
