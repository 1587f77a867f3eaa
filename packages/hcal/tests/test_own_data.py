"""The part of the tutorial on images, as it stands."""

import json


def test_the_tutorial_on_images(run_page):
    folder = run_page("tutorials/own-data.md", "From folders of images")
    results = json.loads((folder / "runs/pictures/hcal/results.json").read_text())
    assert results["metrics"]["test/accuracy_level_0"] > 0.55  # half of the images have each root
    assert results["calibration_error"] < 0.3
    table = (folder / "comparison/compare.md").read_text()
    assert "hcal" in table
    assert "flat" in table
    records = json.loads((folder / "sure.json").read_text())
    assert sorted(record["id"] for record in records) == [f"new/{row}.png" for row in range(400, 410)]
    for record in records:
        for answer in record["answer"]:
            on_path = [record["probabilities"][name] for name in answer["path"]]
            assert on_path[-1] == answer["probability"]
            assert 0.9 <= on_path[-1] == min(on_path)
