"""The part of the tutorial on data sets of the `datasets` library, as it stands."""

import json


def test_the_tutorial_on_data_sets_with_columns_of_labels(run_page):
    folder = run_page("tutorials/own-data.md", "From a Hugging Face data set")
    results = json.loads((folder / "runs/scans/bce/results.json").read_text())
    assert results["dataset"]["sizes"] == {"train": 120, "validation": 40, "test": 40}
    hierarchy = json.loads((folder / "runs/scans/bce/hierarchy.json").read_text())
    assert set(hierarchy["nodes"][:2]) == {"open", "closed"}
    assert len(hierarchy["nodes"]) == 12
