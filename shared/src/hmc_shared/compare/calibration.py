"""Calibration of the runs of a table: its error, reliability, accuracy over coverage, error over depth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from hmc_shared.compare import plots
from hmc_shared.compare.comparison import ComparisonTable, Row
from hmc_shared.compare.scoring import ScoredRun, in_threads
from hmc_shared.metrics import level_targets
from hmc_shared.metrics.calibration import (
    Reliability,
    accuracy_coverage,
    adaptive_edges,
    expected_calibration_error,
    reliability,
    top_labels,
)
from hmc_shared.predict.guarantee import curve
from hmc_shared.predict.rollup import outcomes_of
from hmc_shared.runs.read import Run, load_run

COVERAGE = np.linspace(0, 1, 501)
"""Where the curves of several seeds are averaged."""


@dataclass(frozen=True)
class RowCalibration:
    """Calibration of the runs of one row on the test split."""

    row: Row
    error: float
    """:func:`hmc_shared.metrics.calibration.expected_calibration_error`, mean over seeds."""
    uncalibrated: float
    """The same of the sigmoid of the scores."""
    by_level: tuple[float, ...]
    """At each depth where samples have one path, otherwise empty; mean over seeds."""
    reliability: Reliability
    """Of the best classes of all levels where samples have one path, otherwise of all classes; all seeds,
    in bins of equal width."""
    adaptive: Reliability
    """The same in bins of equal count, each merged with that of the same rank in the other seeds."""
    accuracy: np.ndarray
    """Accuracy at each share of :data:`COVERAGE`, mean over seeds; see :func:`decisions`. NaN without any."""
    rolled_up: np.ndarray
    """(2, t): levels answered and share of wrong answers, as :func:`hmc_shared.predict.guarantee.curve` has
    them, mean over seeds, where samples have one path; otherwise (2, 0)."""


def measure(table: ComparisonTable) -> list[RowCalibration]:
    """Read the runs of a table again, a few in memory at a time.

    Raises ValueError for a run that is no longer readable.
    """
    return [_measure(row) for row in table.rows]


def _measure(row: Row) -> RowCalibration:
    errors, by_level, bins, adaptive, curves, rolled_up = zip(
        *in_threads(_measure_run, row.runs), strict=True
    )
    means = np.mean(errors, axis=0)
    return RowCalibration(
        row=row,
        error=float(means[0]),
        uncalibrated=float(means[1]),
        by_level=tuple(np.mean(by_level, axis=0).tolist()),
        reliability=_pool(list(bins)),
        adaptive=_pool(list(adaptive)),
        accuracy=np.mean(curves, axis=0),
        rolled_up=np.mean(rolled_up, axis=0),
    )


def _measure_run(
    scored: ScoredRun,
) -> tuple[tuple[float, float], list[float], Reliability, Reliability, np.ndarray, np.ndarray]:
    """Calibration errors of probabilities and of the sigmoid, errors by level, bins of both
    kinds, accuracies, roll-ups."""
    run = load_run(scored.path)
    p, targets = run.probabilities, run.targets.astype(bool)
    data = (targets, run.hierarchy, run.evaluated)
    errors = (
        expected_calibration_error(p, *data, unknown=run.unknown),
        expected_calibration_error(run.uncalibrated, *data, unknown=run.unknown),
    )
    by_level: list[float] = []
    rolled_up = np.zeros((2, 0))
    if run.is_single_path:
        levels = list(top_labels(p, *data).values())
        by_level = [reliability(*level).error for level in levels]
        points = curve(outcomes_of(torch.from_numpy(p), torch.from_numpy(targets), run.hierarchy))
        rolled_up = np.stack([points["levels"], points["error"]])
        confidence = np.concatenate([np.zeros(0), *(of_level for of_level, _ in levels)])
        right = np.concatenate([np.zeros(0, dtype=bool), *(of_level for _, of_level in levels)])
    else:
        confidence, right = run.counted(p), run.counted(targets)
    coverage, accuracy = accuracy_coverage(*decisions(run, p))
    nothing = np.full(len(COVERAGE), np.nan)
    accuracies = np.interp(COVERAGE, coverage, accuracy) if len(coverage) else nothing
    bins = reliability(confidence, right), reliability(confidence, right, edges=adaptive_edges(confidence))
    return errors, by_level, *bins, accuracies, rolled_up


def decisions(run: Run, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Confidence (m,) of each decision, and whether it is right, (m,) bool.

    Where samples have one path, a decision is the best class at the depth of the sample's deepest true one,
    and confidence its probability. Otherwise it is the yes or no to an evaluated class, and confidence the
    larger one of p and 1 - p.
    """
    targets = run.targets.astype(bool)
    if not run.is_single_path:
        p, true = run.counted(probabilities), run.counted(targets)
        return np.maximum(p, 1 - p), (p >= 0.5) == true
    paths = level_targets(targets, run.hierarchy)
    deepest = (paths >= 0).sum(1) - 1
    confidence, right = np.zeros(len(paths)), np.zeros(len(paths), dtype=bool)
    for depth, level in enumerate(run.hierarchy.levels):
        rows = np.flatnonzero(deepest == depth)
        best = probabilities[rows, level.start : level.stop].argmax(1) + level.start
        confidence[rows], right[rows] = probabilities[rows, best], best == paths[rows, depth]
    return confidence[deepest >= 0], right[deepest >= 0]


def _pool(bins: list[Reliability]) -> Reliability:
    """Merge the bins of several runs."""
    count = np.sum([run.count for run in bins], axis=0)

    def mean(values: list[np.ndarray]) -> np.ndarray:
        total = np.sum([np.nan_to_num(v) * run.count for v, run in zip(values, bins, strict=True)], axis=0)
        return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)

    return Reliability(
        bins[0].edges, count, mean([b.confidence for b in bins]), mean([b.accuracy for b in bins])
    )


def plot_reliability(
    table: ComparisonTable, calibrations: list[RowCalibration], path: str | Path | BinaryIO
) -> None:
    """Reliability diagram: share of right answers over their probability, which agree on the diagonal.

    Points are bins of equal count. Below it the number of answers in bins of equal width.
    """
    figure, (axes, counts) = plots.new_panels(f"Reliability: {table.title}", (3, 1))
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, zorder=0)
    low = 1.0
    for of_row, (row, style) in zip(calibrations, plots.styled(table), strict=True):
        filled = of_row.adaptive.count > 0
        x, y = of_row.adaptive.confidence[filled], of_row.adaptive.accuracy[filled]
        low = min([low, *x, *y])
        label = f"{row.label}  {of_row.error:.3f}"
        axes.plot(x, y, **style, marker="o", markersize=4, linewidth=1.5, label=label)
        counts.stairs(of_row.reliability.count, of_row.reliability.edges, **style, linewidth=1.2)
    low, high = math.floor(low * 10 - 0.1) / 10 if low > 0.1 else -0.02, 1.02
    axes.set(ylabel="share that is right", ylim=(low, high))
    counts.set(xlabel="probability", ylabel="answers", xlim=(low, high), yscale="symlog", ylim=(0, None))
    plots.legend_below(figure, axes, "method, calibration error")
    plots.save(figure, path)


def plot_coverage(
    table: ComparisonTable, calibrations: list[RowCalibration], path: str | Path | BinaryIO
) -> None:
    """Accuracy of the answers over their share, as the least confident ones are withheld."""
    figure, axes = plots.new_figure(f"Accuracy over coverage: {table.title}")
    for of_row, (row, style) in zip(calibrations, plots.styled(table), strict=True):
        label = f"{row.label}  {of_row.accuracy[-1]:.3f}"
        axes.plot(COVERAGE, of_row.accuracy, **style, linewidth=2, label=label)
    axes.set(xlabel="share of answers given, the most confident first", ylabel="share that is right")
    left, low = bend([of_row.accuracy for of_row in calibrations])
    axes.set(xlim=(left, 1), ylim=(low, 1 + (1 - low) / 50))
    plots.legend_below(figure, axes, "method, accuracy of all answers")
    plots.save(figure, path)


def bend(accuracies: list[np.ndarray]) -> tuple[float, float]:
    """Where the axes begin so that accuracies (t,) over :data:`COVERAGE` fill them: before the first mistake,
    and below the worst accuracy, but for the noise of the first few answers."""
    known = np.array([curve for curve in accuracies if not np.isnan(curve).any()] or [np.ones(len(COVERAGE))])
    first = float(COVERAGE[(known < 0.999).any(0).argmax()])
    worst = float(known[:, len(COVERAGE) // 10 :].min())
    return max(math.floor(first * 10 - 0.5), 0) / 10, max(math.floor(worst * 50) / 50 - 0.02, 0.0)


def plot_roll_up(
    table: ComparisonTable, calibrations: list[RowCalibration], path: str | Path | BinaryIO
) -> None:
    """Share of wrong answers over the levels answered, as a threshold cuts paths; samples of one path."""
    figure, axes = plots.new_figure(f"Error over depth: {table.title}")
    for of_row, (row, style) in zip(calibrations, plots.styled(table), strict=True):
        levels, error = of_row.rolled_up
        axes.plot(levels, error, **style, linewidth=2, label=f"{row.label}  {error[-1]:.3f}")
    axes.set(xlabel="mean number of levels answered", ylabel="share that is wrong")
    axes.set(xlim=(0, None), ylim=(0, None))
    plots.legend_below(figure, axes, "method, error of leaves")
    plots.save(figure, path)
