"""The part of the tutorial on tables, and the lines of README, as they stand."""

import csv
import json


def test_the_tutorial_on_tables(run_page):
    folder = run_page("tutorials/own-data.md", "From a table")
    results = json.loads((folder / "runs/table/hlstm/results.json").read_text())
    assert results["metrics"]["test/accuracy_leaf"] > 0.8
    assert results["calibration_error"] < 0.1
    table = (folder / "comparison/compare.md").read_text()
    assert "hlstm" in table
    assert "chmcnn" in table
    parents = dict(
        reversed(edge) for edge in csv.reader((folder / "digits/edges.csv").read_text().splitlines())
    )
    rows = list(csv.DictReader((folder / "predicted.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == [f"scan-{i}" for i in range(1000, 1020)]
    for row in rows:
        top, middle, leaf = row["labels"].split(";")
        assert parents[leaf] == middle
        assert parents[middle] == top
        assert all(
            float(row[child]) <= float(row[parent]) for child, parent in parents.items() if parent in row
        )
    for row, record in zip(rows, json.loads((folder / "sure.json").read_text()), strict=True):
        assert record["id"] == row["id"]
        for answer in record["answer"]:
            assert answer["probability"] >= 0.9
            assert answer["path"] == row["labels"].split(";")[: len(answer["path"])]


def test_the_ten_lines_of_the_readme(run_page):
    run_page("../README.md", "Your own labels, in Python")
