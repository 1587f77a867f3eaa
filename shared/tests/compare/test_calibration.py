"""The calibration of the runs of a table, and its section in the report."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

from hmc_shared.compare.calibration import (
    COVERAGE,
    bend,
    decisions,
    measure,
    plot_coverage,
    plot_reliability,
)
from hmc_shared.compare.comparison import compare
from hmc_shared.compare.html.failures import harmed
from hmc_shared.compare.html.report import to_html
from hmc_shared.metrics.calibration import accuracy_coverage, expected_calibration_error, reliability
from hmc_shared.runs.read import load_run


@pytest.fixture(params=[False, True], ids=["one-path", "several"])
def comparison(request, make_run):
    """Two runs with calibrated probabilities, of temperature 1/2, and one without."""
    for seed in range(2):
        folder = make_run("hlstm", seed, several=request.param)
        with np.load(folder / "predictions.npz") as archive:
            arrays = dict(archive)
        probabilities = 1 / (1 + np.exp(-2 * arrays["scores"]))
        np.savez_compressed(folder / "predictions.npz", **arrays, probabilities=probabilities)
    root = folder.parents[1]
    make_run("bce", noise=2.0, several=request.param)
    return compare([root])


def test_the_numbers_are_those_of_the_runs(comparison):
    (table,) = comparison.tables
    for calibration, row in zip(measure(table), table.rows, strict=True):
        runs = [load_run(run.path) for run in row.runs]
        errors, plain = [], []
        for run in runs:
            targets = run.targets.astype(bool)
            errors.append(expected_calibration_error(run.probabilities, targets, run.hierarchy))
            sigmoid = 1 / (1 + np.exp(-run.scores.astype(np.float64)))
            np.testing.assert_allclose(run.uncalibrated, sigmoid, rtol=1e-5)
            plain.append(expected_calibration_error(run.uncalibrated, targets, run.hierarchy))
        assert calibration.error == pytest.approx(np.mean(errors))
        assert calibration.uncalibrated == pytest.approx(np.mean(plain))
        assert (calibration.error != calibration.uncalibrated) == (row.label == "hlstm")
        pooled = [decisions(run, run.probabilities) for run in runs]
        assert calibration.accuracy[-1] == pytest.approx(np.mean([right.mean() for _, right in pooled]))
        if calibration.by_level:
            assert calibration.error == pytest.approx(np.mean(calibration.by_level))
        else:
            p = np.concatenate([run.probabilities.ravel() for run in runs])
            all_bins = reliability(p, np.concatenate([run.targets.ravel() for run in runs]).astype(bool))
            assert calibration.reliability.count.tolist() == all_bins.count.tolist()
            np.testing.assert_allclose(calibration.reliability.accuracy, all_bins.accuracy)
            np.testing.assert_allclose(calibration.reliability.confidence, all_bins.confidence)


def test_decisions_by_brute_force(comparison):
    run = load_run(comparison.tables[0].rows[0].runs[0].path)
    p, tree = run.probabilities, run.hierarchy
    confidence, right = decisions(run, p)
    targets = run.targets.astype(bool)
    if all(targets[:, level.start : level.stop].sum(1).max() <= 1 for level in tree.levels):
        for row, (sure, ok) in enumerate(zip(confidence, right, strict=True)):
            deepest = max(targets[row].nonzero()[0], key=lambda node: tree.depth[node].item())
            level = tree.levels[tree.depth[deepest]]
            best = max(level, key=lambda node: p[row, node])
            assert sure == pytest.approx(p[row, best])
            assert ok == (best == deepest)
    else:
        assert right.mean() == pytest.approx(((p >= 0.5) == targets).mean())
        np.testing.assert_allclose(np.sort(confidence), np.sort(np.maximum(p, 1 - p).ravel()))
    coverage, accuracy = accuracy_coverage(confidence, right)
    assert np.interp(COVERAGE, coverage, accuracy)[-1] == pytest.approx(right.mean())


def test_the_report_has_a_section_of_it(comparison):
    text = unescape(to_html(comparison))
    section = re.search(r'<section id="[^"]*-calibration">(.*?)</section>', text, flags=re.S)[1]
    for calibration in measure(comparison.tables[0]):
        assert f"<td>{calibration.error:.4f}</td>" in section
        assert f"<td>{calibration.uncalibrated:.4f}</td>" in section
    is_single_path = bool(measure(comparison.tables[0])[0].by_level)
    assert section.count("data:image/svg+xml") == 2 + is_single_path


def test_the_report_says_where_calibration_made_it_worse(comparison, read_page):
    measured = measure(comparison.tables[0])
    worse = [one.row.label for one in measured if round(one.error, 4) > round(one.uncalibrated, 4)]
    text = read_page(to_html(comparison)).text
    assert ("made the error on the test split larger" in text) == bool(worse)
    (first, *others) = measured
    harmed_one = replace(first, error=0.2, uncalibrated=0.1)
    assert f"{first.row.label} (0.2000, before 0.1000)." in harmed([harmed_one, *others])
    assert harmed([replace(first, error=0.10001, uncalibrated=0.1)]) == ""  # equal as shown


def test_bins_of_equal_count_pool_the_seeds(comparison):
    for one in measure(comparison.tables[0]):
        equal, adaptive = one.reliability, one.adaptive
        assert adaptive.count.sum() == equal.count.sum()
        assert adaptive.count[1:].max() <= 1.2 * adaptive.count[1:].mean() + len(one.row.runs)
        right = [np.nansum(bins.accuracy * bins.count) for bins in (equal, adaptive)]
        assert right[0] == pytest.approx(right[1])


@pytest.mark.parametrize(
    ("curves", "expected"),
    [
        ([np.ones(501)], (0.0, 0.98)),
        ([np.where(COVERAGE < 0.76, 1, 0.97)], (0.7, 0.94)),
        ([np.where(COVERAGE < 0.05, 0.0, 0.9)], (0.0, 0.88)),  # the first few answers are noise
        ([np.full(501, np.nan)], (0.0, 0.98)),
    ],
)
def test_coverage_is_drawn_from_the_first_mistake(curves, expected):
    assert bend(curves) == pytest.approx(expected)


def test_the_plots_name_every_row(comparison, tmp_path):
    (table,) = comparison.tables
    for plot, name in ((plot_reliability, "r.svg"), (plot_coverage, "c.svg")):
        plot(table, measure(table), tmp_path / name)
        ElementTree.parse(tmp_path / name)
        text = (tmp_path / name).read_text()
        assert all(row.label in text for row in table.rows)


@pytest.mark.parametrize("nothing", ["targets", "evaluated"])
def test_runs_without_an_answer_to_count_are_reported(make_run, nothing):
    empty = {"targets": np.zeros((60, 6), dtype=bool), "evaluated": np.zeros(6, dtype=bool)}
    comparison = compare([make_run(arrays={nothing: empty[nothing]})])
    (calibration,) = measure(comparison.tables[0])
    assert np.isnan(calibration.error)
    assert np.isnan(calibration.accuracy).all() == (nothing == "targets")
    assert "Calibration" in to_html(comparison)
