"""``hmc evaluate RUN --target-error`` and the curve of a report."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

from hmc_shared.compare.calibration import measure, plot_roll_up
from hmc_shared.compare.comparison import compare
from hmc_shared.predict.guarantee import certain_threshold, curve
from hmc_shared.predict.rollup import outcomes_of
from hmc_shared.runs.read import load_run


def outcomes(run, probabilities, targets):
    return outcomes_of(torch.from_numpy(probabilities), torch.from_numpy(targets), run.hierarchy)


@pytest.fixture
def run(make_run):
    """A run with 200 rows set aside, and their outcomes."""
    folder = make_run(n=80, noise=1.5)
    rows = make_run("more", n=200, noise=1.5)
    with np.load(rows / "predictions.npz") as archive:
        np.savez(folder / "reserved.npz", **{name: archive[name] for name in ("scores", "targets")})
    more = load_run(rows)
    return folder, outcomes(more, more.probabilities, more.targets)


def test_the_test_split_is_measured_at_the_threshold_of_the_rows_set_aside(run, hmc, capsys, tmp_path):
    folder, aside = run
    words = [
        "evaluate",
        folder,
        "--target-error",
        "0.4",
        "--confidence",
        "0.6",
        "--curve",
        tmp_path / "c.csv",
    ]
    assert hmc(*words, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    threshold = certain_threshold(aside, 0.4, 0.6)
    whole = load_run(folder)
    points = curve(outcomes(whole, whole.probabilities, whole.targets), np.array([threshold, 0.65, 0.0]))
    assert list(result["rows"]) == ["target 0.4", "fixed 0.65", "leaves"]
    for i, row in enumerate(result["rows"].values()):
        assert row == pytest.approx({name: values[i] for name, values in points.items()})
    assert "with confidence 0.6 at most 40 % of the answers given are wrong" in result["promise"]
    assert hmc(*words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == result["promise"]
    assert [line.split()[0] for line in lines[2:]] == ["test", "target", "fixed", "leaves"]
    with (tmp_path / "c.csv").open() as file:
        assert float(list(csv.DictReader(file))[-1]["error"]) == pytest.approx(points["error"][-1])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--target-error", "0"], "`--target-error` should lie in (0, 1). Found 0.0"),
        (["--curve", "c.csv"], "`--curve` should come with `--target-error`"),
        (
            ["--target-error", "0.1", "--threshold", "0"],
            "`--threshold` should not come with `--target-error`",
        ),
        (["--target-error", "0.1"], "has no reserved.npz"),
    ],
)
def test_what_is_missing_is_said(make_run, hmc, capsys, more, message):
    assert hmc("evaluate", make_run(), *more) == 2
    assert message in capsys.readouterr().err


def test_several_paths_are_refused(make_run, hmc, capsys):
    assert hmc("evaluate", make_run(several=True), "--target-error", "0.1") == 2
    assert "is for samples of one path each. Found several" in capsys.readouterr().err


def test_the_report_draws_the_mean_over_seeds(make_run, tmp_path):
    folders = [make_run(seed=seed) for seed in range(2)]
    (table,) = compare([folders[0].parent]).tables
    (row,) = measure(table)
    points = []
    for folder in folders:
        run = load_run(folder)
        of = curve(outcomes(run, run.probabilities, run.targets))
        points.append([of["levels"], of["error"]])
    np.testing.assert_allclose(row.rolled_up, np.mean(points, axis=0))
    plot_roll_up(table, [row], tmp_path / "plot.svg")
    assert "Error over depth" in (tmp_path / "plot.svg").read_text(encoding="utf-8")
    (table,) = compare([make_run("several", several=True, dataset="other")]).tables
    assert measure(table)[0].rolled_up.shape == (2, 0)
