"""A damaged run folder: every damage is one ValueError in one line that names the file."""

from __future__ import annotations

import numpy as np
import pytest

from hmc_shared.compare.comparison import compare
from hmc_shared.compare.scoring import score_run


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scores": None}, "no array 'scores'"),
        ({"scores": np.zeros((60, 5), np.float32)}, r"`scores` should have shape \(60, 6\)"),
        ({"scores": np.float32(1)}, "`scores` should have shape"),
        ({"scores": np.full((60, 6), np.nan, np.float32)}, "NaN"),
        ({"scores": np.zeros((60, 6), np.float16)}, "float16"),
        ({"scores": np.zeros((60, 6), int)}, "`scores` should not be of type int64"),
        ({"targets": np.full((60, 6), "x")}, "`targets` should not be of type"),
        ({"targets": np.full((60, 6), 2)}, "`targets` should"),
        ({"targets": np.eye(60, 6, 3) > 0}, "should hold the parents"),
        ({"ids": np.array([{"a": 1}] * 60, dtype=object)}, "allow_pickle=False"),
        ({"threshold": np.zeros(3)}, "`threshold` should have shape"),
        ({"threshold": np.float64("nan")}, "`threshold` should be"),
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
        ({"schema": 2}, "`schema` should be 1. Found 2"),
        ({"seed": "0"}, "`seed` should be a int. Found '0'"),
        ({"method": None}, "`method` should be a str"),
        ({"dataset": "toy"}, "`dataset` should be a dict"),
        ({"dataset": {"name": "toy"}}, "`dataset.checksum` should be a str. Found None"),
        ({"metrics": [1]}, "`metrics` should be a dict"),
    ],
)
def test_results(make_run, changes, message):
    with pytest.raises(ValueError, match=f"results.json: {message}"):
        compare([make_run(results=changes)])


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
            found = score_run(folder).evaluation
        except ValueError as error:
            refused += "predictions.npz" in str(error) and "\n" not in str(error)
        else:
            # Only a field of the zip directory that no reader needs, or an array's name that is optional.
            assert found.metrics["au_prc"] == expected.metrics["au_prc"]
    assert refused > 100
