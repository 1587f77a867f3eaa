"""A plot of metrics over the values of options: lines over one option, heat maps over two.

As in :mod:`hmc_shared.compare.plots`: no global figure, and equal data give equal bytes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hmc_shared.compare.comparison import NOT_RANKED, ComparisonTable, Grid
from hmc_shared.compare.plots import COLOURS, legend, save

_ACROSS = 3  # panels side by side


def metrics_over_values(table: ComparisonTable, grid: Grid, path: str | Path | BinaryIO) -> None:
    """Draw the metrics of a table, but those that no row of the grid has, over one or two options.

    Of one option: a panel for each metric, a line for each method; points are means over seeds, bars sample
    standard deviations. Of two: a heat map for each metric and method, the first option downwards, the mean
    in each cell.
    """
    names = [name for name in table.metrics if name not in NOT_RANKED and _is_known(grid, name)]
    lines = len(grid.options) == 1
    panels = [(name, method) for name in names for method in ([""] if lines else grid.methods)]
    width, height = (3.4, 2.9) if lines else (_side(grid, 1, 0.75), _side(grid, 0, 0.45))
    across, down = min(_ACROSS, max(len(panels), 1)), max(math.ceil(len(panels) / _ACROSS), 1)
    figure = Figure(figsize=(across * width, down * height + 0.4), layout="constrained")
    options = " and ".join(grid.options).replace("_", " ")
    figure.suptitle(f"Over {options}: {table.title}", x=0.01, ha="left", fontsize=11)
    all_axes = figure.subplots(down, across, squeeze=False).ravel()
    for axes, (name, method) in zip(all_axes, panels, strict=False):
        several = method and len(grid.methods) > 1
        axes.set_title(f"{name}, {method}" if several else name, loc="left", fontsize=10)
        if lines:
            _draw_lines(axes, grid, name)
        else:
            _draw_map(axes, grid, name, method)
    for axes in all_axes[len(panels) :]:
        axes.set_axis_off()
    if lines and panels and len(grid.methods) > 1:
        legend(all_axes[0], "method", "best")
    save(figure, path)


def _is_known(grid: Grid, name: str) -> bool:
    return not all(math.isnan(row.metric(name).mean) for row in grid.cells.values())


def _side(grid: Grid, number: int, cell: float) -> float:
    return cell * len(grid.values(number)) + 1.1


def _draw_lines(axes: Axes, grid: Grid, name: str) -> None:
    values = grid.values(0)
    at = np.arange(len(values))  # as far apart as each other: values are often powers, or words
    for number, method in enumerate(grid.methods):
        found = [grid.metric(name, method, (value,)) for value in values]
        axes.errorbar(
            at + 0.04 * (number - (len(grid.methods) - 1) / 2),  # bars side by side
            np.array([statistic.mean for statistic in found]),
            np.nan_to_num([statistic.sd for statistic in found]),
            color=COLOURS[number % len(COLOURS)],
            marker="o",
            markersize=4.5,
            linewidth=1.5,
            capsize=2,
            label=method,
        )
    axes.set_xticks(at, [_text(value) for value in values])
    axes.set_xlabel(grid.options[0].replace("_", " "))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_map(axes: Axes, grid: Grid, name: str, method: str) -> None:
    downwards, across = grid.values(0), grid.values(1)
    means = np.array([[grid.metric(name, method, (a, b)).mean for b in across] for a in downwards])  # (A, B)
    axes.imshow(means, cmap="viridis", aspect="auto")
    axes.set(xlabel=grid.options[1].replace("_", " "), ylabel=grid.options[0].replace("_", " "))
    axes.set_xticks(range(len(across)), [_text(value) for value in across])
    axes.set_yticks(range(len(downwards)), [_text(value) for value in downwards])
    low, high = np.nanmin(means, initial=math.inf), np.nanmax(means, initial=-math.inf)
    for (row, column), mean in np.ndenumerate(means):
        if not math.isnan(mean):
            colour = "white" if mean <= low + 0.6 * (high - low) else "black"
            axes.text(column, row, f"{mean:.3f}", ha="center", va="center", fontsize=8, color=colour)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
