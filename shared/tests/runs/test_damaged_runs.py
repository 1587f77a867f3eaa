"""A damaged run folder: every damage is one ValueError in one line that names the file."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from hmc_shared.compare.comparison import compare
from hmc_shared.compare.scoring import score_run
from hmc_shared.runs.read import load_run


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scores": None}, "no array 'scores'"),
        ({"scores": np.zeros((60, 5), np.float32)}, r"`scores` should have shape \(60, 6\)"),
        ({"scores": np.float32(1)}, "`scores` should have shape"),
        (
            {"scores": np.full((60, 6), np.nan, np.float32)},
            "row 1: `scores` should not hold NaN. Found it for 'animal'",
        ),
        ({"scores": np.zeros((60, 6), np.float16)}, "float16"),
        ({"scores": np.zeros((60, 6), int)}, "`scores` should not be of type int64"),
        ({"targets": np.full((60, 6), "x")}, "`targets` should not be of type"),
        ({"targets": np.full((60, 6), 2)}, "`targets` should"),
        ({"targets": np.eye(60, 6, 3) > 0}, "should hold the parents"),
        ({"ids": np.array([{"a": 1}] * 60, dtype=object)}, "allow_pickle=False"),
        ({"scores": np.zeros((60, 6), ">f4")[:, :5]}, r"`scores` should have shape \(60, 6\)"),
        ({"probabilities": np.zeros((60, 5), np.float32)}, r"`probabilities` should have shape \(60, 6\)"),
        ({"probabilities": np.float32(1)}, "`probabilities` should have shape"),
        ({"probabilities": np.ones((60, 6), int)}, "`probabilities` should not be of type int64"),
        ({"probabilities": np.full((60, 6), 1.01)}, r"`probabilities` should lie in \[0, 1\]. Found 1.01"),
        ({"probabilities": np.full((60, 6), -1e-9)}, r"`probabilities` should lie in \[0, 1\]. Found -1e-09"),
        ({"probabilities": np.full((60, 6), np.nan)}, r"`probabilities` should lie in \[0, 1\]. Found nan"),
        ({"train_counts": np.full(6, -1)}, "`train_counts` should"),
    ],
)
def test_predictions(make_run, arrays, message):
    folder = make_run(arrays=arrays)
    with pytest.raises(ValueError, match=f"predictions.npz.*{message}") as caught:
        compare([folder])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 1}, "`schema` should be 2. Found 1"),
        ({"schema": None}, "`schema` should be 2. Found None"),
        ({"seed": "0"}, "`seed` should be an integer. Found '0'"),
        ({"method": None}, "`method` should be text"),
        ({"dataset": "toy"}, "`dataset` should be a mapping"),
        ({"dataset": {"name": "toy"}}, "`dataset.checksum` should be text. Found None"),
        ({"metrics": [1]}, "`metrics` should be a mapping"),
        ({"parameters": "9"}, "`parameters` should be a number or null. Found '9'"),
        ({"seconds": {"train": "x"}}, "`seconds.train` should be a number or null. Found 'x'"),
        ({"seconds": {"train": [1]}}, "`seconds.train` should be a number or null"),
        ({"metrics": {"test/map": "x"}}, "`metrics.test/map` should be a number or null. Found 'x'"),
    ],
)
def test_results(make_run, changes, message):
    with pytest.raises(ValueError, match=f"results.json: {message}"):
        compare([make_run(results=changes)])


def test_without_its_decision_a_run_has_no_threshold(make_run):
    folder = make_run(threshold=0.25)
    assert load_run(folder).threshold == 0.25
    (folder / "model" / "decision.json").unlink()
    message = r"decision\.json is missing: it holds the threshold of this run\. Copy it along\.$"
    with pytest.raises(ValueError, match=message):
        compare([folder])
    shutil.rmtree(folder / "model")
    with pytest.raises(ValueError, match=message):
        load_run(folder)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", '{"threshold": "high", "single_path": true, "features": []}'),
        *(f'{{"threshold": {x}, "single_path": true, "features": []}}' for x in ("NaN", "Infinity", "[1]")),
    ],
)
def test_a_damaged_decision(make_run, text):
    folder = make_run(threshold=0.25)
    (folder / "model" / "decision.json").write_text(text)
    with pytest.raises(
        ValueError,
        match=r"decision\.json(:1: damaged| does not say how|: \w+ is no number| should hold a mapping)",
    ) as caught:
        compare([folder])
    assert "\n" not in str(caught.value)


def test_what_is_left_out_has_a_default(make_run):
    folder = make_run(arrays={"ids": None, "evaluated": None, "train_counts": None})
    run = load_run(folder)
    assert run.threshold == 0
    assert run.ids.tolist() == [str(row) for row in range(60)]
    assert run.evaluated.all()
    assert not run.train_counts.any()
    np.testing.assert_array_equal(run.probabilities, run.uncalibrated)
    np.testing.assert_allclose(run.uncalibrated, 1 / (1 + np.exp(-run.scores)), rtol=1e-5)


def test_scores_of_any_float_type_have_probabilities(make_run):
    scores = np.random.default_rng(0).normal(size=(60, 6))
    for number, kind in enumerate((">f4", "<f8", ">f8")):
        run = load_run(make_run(seed=number, arrays={"scores": scores.astype(kind)}))
        assert run.probabilities.dtype == np.float32
        np.testing.assert_allclose(run.probabilities, 1 / (1 + np.exp(-scores)), rtol=1e-5)


@pytest.mark.parametrize("name", ["predictions.npz", "results.json", "hierarchy.json"])
def test_cut_files(make_run, name):
    folder = make_run()
    content = (folder / name).read_bytes()
    for size in (0, 1, len(content) // 2, len(content) - 1):
        (folder / name).write_bytes(content[:size])
        with pytest.raises(ValueError, match=name) as caught:
            compare([folder])
        assert "\n" not in str(caught.value)


def test_flipped_bytes_are_refused_or_harmless(make_run):
    folder = make_run()
    expected = score_run(folder).evaluation
    content = (folder / "predictions.npz").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for at in rng.integers(0, len(content), 200):
        damaged = bytearray(content)
        damaged[at] ^= 1 << rng.integers(8)
        (folder / "predictions.npz").write_bytes(damaged)
        try:
            evaluation = score_run(folder).evaluation
        except ValueError as error:
            refused += "predictions.npz" in str(error) and "\n" not in str(error)
        else:
            # Only a field of the zip directory that no reader needs, or an array's name that is optional.
            assert evaluation.metrics["au_prc"] == expected.metrics["au_prc"]
    assert refused > 100


def test_a_folder_of_runs_is_no_run(make_run, tmp_path):
    run = make_run("linear")
    with pytest.raises(ValueError, match=rf"has no results\.json\. Name one run, such as .*{run.name}\."):
        load_run(run.parent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="A run has one once it is finished"):
        load_run(tmp_path / "empty")
