"""Plots of a comparison: precision-recall curves, and a metric by level of the hierarchy.

Drawn through matplotlib's object-oriented interface: no global figure, no display, nothing left behind.
The file name decides the format: SVG, PNG or PDF.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import fill
from typing import Any, BinaryIO, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from hmc_shared.compare.comparison import ComparisonTable, Row
from hmc_shared.compare.scoring import RECALL

# Okabe and Ito: distinct under colour blindness; without yellow, which is too light for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

ROWS = 12
"""Rows of a table, best first, that are drawn: more cannot be told apart."""
WIDTH, SMALLEST = 4.8, 10
"""Inches of a plot and points of its smallest letters, which are some 10 pixels on a screen of 390."""
SEEDS = 5
"""Runs of a row that are drawn one by one, beside their mean."""


def drawn(table: ComparisonTable) -> ComparisonTable:
    """The table with its best rows only."""
    return replace(table, rows=table.rows[:ROWS])


def precision_recall(table: ComparisonTable, path: str | Path | BinaryIO) -> None:
    """Pooled precision over recall: the mean over seeds in bold, a few seeds thin behind it."""
    figure, axes = new_figure(f"Precision and recall: {table.title}")
    title, table = _legend_title("method, AU(PRC)", table), drawn(table)
    for row, style in styled(table):
        curves = [run.curve for run in row.runs]
        for curve in curves[:SEEDS] if len(curves) > 1 else []:
            axes.plot(RECALL, curve, **style, linewidth=0.7, alpha=0.4)
        axes.plot(RECALL, np.mean(curves, axis=0), **style, linewidth=2, label=_label(row, "au_prc"))
    means = [np.mean([run.curve for run in row.runs], axis=0) for row in table.rows]
    low = corner(means)
    bottom = max(low, math.floor(20 * np.nan_to_num(means).min()) / 20)
    axes.set(xlabel="recall", ylabel="precision", xlim=(low, 1), ylim=(bottom, 1 + (1 - bottom) / 50))
    legend_below(figure, axes, title)
    save(figure, path)


def corner(curves: Sequence[np.ndarray]) -> float:
    """Where both axes begin so that precision (r,) over :data:`RECALL` fills them: curves bend near (p, p).

    The square above it leaves two thirds of its sides to the curve whose precision equals recall first.
    """
    meets = [float(RECALL[curve >= RECALL].max(initial=0.0)) for curve in curves]
    return max(math.floor((1 - 3 * (1 - min(meets))) * 20) / 20, 0.0)


def metric_by_level(table: ComparisonTable, path: str | Path | BinaryIO) -> None:
    """Accuracy at each depth, or AU(PRC) where samples have several classes in a level.

    Points are means over seeds, bars the sample standard deviation.
    """
    title, table = _legend_title("method", table), drawn(table)
    runs = [run for row in table.rows for run in row.runs]
    single_path = all(not math.isnan(level.accuracy) for run in runs for level in run.evaluation.levels)
    name = "accuracy" if single_path else "au_prc"
    depths = [level.depth for level in runs[0].evaluation.levels]
    figure, axes = new_figure(f"{'Accuracy' if single_path else 'AU(PRC)'} by level: {table.title}")
    for number, (row, style) in enumerate(styled(table)):
        values = np.array(
            [[getattr(level, name) for level in run.evaluation.levels] for run in row.runs]
        )  # (seeds, levels)
        spread = values.std(axis=0, ddof=1) if len(values) > 1 else None
        shift = 0.06 * (number - (len(table.rows) - 1) / 2) / max(len(table.rows) / 6, 1)  # bars side by side
        axes.errorbar(
            np.array(depths) + shift,
            values.mean(axis=0),
            spread,
            **style,
            marker=_MARKERS[COLOURS.index(style["color"])],
            markersize=5,
            linewidth=1.5,
            capsize=2,
            label=row.label,
        )
    classes = [level.classes for level in runs[0].evaluation.levels]
    labels = [f"{depth}\n({count})" for depth, count in zip(depths, classes, strict=True)]
    axes.set_xticks(depths, labels)
    axes.set(xlabel="depth, 0 for roots (evaluated classes)", ylabel="accuracy" if single_path else "AU(PRC)")
    if axes.get_ylim()[0] < 0.5:  # high values may use the whole height: there is a point to read, not a bar
        axes.set_ylim(bottom=0)
    legend_below(figure, axes, title)
    save(figure, path)


def new_figure(title: str) -> tuple[Figure, Axes]:
    """An empty plot, small enough that its words are legible on a telephone."""
    figure, (axes,) = new_panels(title, (1,))
    return figure, axes


def new_panels(title: str, heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """Empty plots of these relative heights, one below the other, over one x axis."""
    figure = Figure(figsize=(WIDTH, 3 + 0.5 * len(heights)), layout="constrained")
    panels = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0].tolist()
    for axes in panels:
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_title(fill(title, 52), loc="left", fontsize=11)
    return figure, panels


def styled(table: ComparisonTable) -> list[tuple[Row, dict[str, Any]]]:
    """Rows with their colour, and another dash once the colours are used up.

    Assigned in alphabetical order, not by rank: a method keeps its colour from table to table.
    """
    number = {label: i for i, label in enumerate(sorted(row.label for row in table.rows))}
    return [
        (
            row,
            {
                "color": COLOURS[number[row.label] % len(COLOURS)],
                "linestyle": _DASHES[number[row.label] // len(COLOURS) % len(_DASHES)],
            },
        )
        for row in table.rows
    ]


def _label(row: Row, metric: str) -> str:
    value = row.metric(metric)
    return f"{row.label}  {value.mean:.3f}" + ("" if math.isnan(value.sd) else f" ± {value.sd:.3f}")


def _legend_title(title: str, table: ComparisonTable) -> str:
    return title if len(table.rows) <= ROWS else f"{title} ({ROWS} best of {len(table.rows)})"


def legend(axes: Axes, title: str, where: Literal["best", "lower left", "upper right"]) -> None:
    axes.legend(title=title, loc=where, frameon=False, fontsize=9, title_fontsize=9, alignment="left")


def legend_below(figure: Figure, axes: Axes, title: str) -> None:
    """A line of its own for each label, below the axes: it hides no curve, and the figure grows by it."""
    handles, labels = axes.get_legend_handles_labels()
    labels = [fill(label, 52) for label in labels]
    lines = bool(title) + sum(label.count("\n") + 1 for label in labels)
    figure.set_size_inches(WIDTH, figure.get_size_inches()[1] + 0.19 * lines)
    figure.legend(
        handles,
        labels,
        title=title,
        loc="outside lower left",
        frameon=False,
        fontsize=SMALLEST,
        title_fontsize=SMALLEST,
        alignment="left",
    )


def save(figure: Figure, path: str | Path | BinaryIO) -> None:
    """Write a figure so that equal data give equal bytes: no date, and element ids from a fixed salt.

    An open file gets SVG. Names are drawn as they are, dollar signs too.
    """
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if "$" in text.get_text() and r"\mathdefault" not in text.get_text():  # as logarithmic ticks have
            text.set_parse_math(False)
    kind = Path(path).suffix[1:] if isinstance(path, str | Path) else "svg"
    with matplotlib.rc_context({"svg.hashsalt": "hmc"}):
        metadata = {"Date": None} if kind == "svg" else {}
        figure.savefig(path, format=kind, dpi=150, metadata=metadata)
