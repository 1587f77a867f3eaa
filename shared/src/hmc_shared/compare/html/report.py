"""A comparison as one HTML file that needs nothing else: no network, no script, pictures inside."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from hmc_shared.cli.version import distribution_version
from hmc_shared.compare import grid_plots, plots
from hmc_shared.compare.comparison import COSTS, Comparison, ComparisonTable, Row
from hmc_shared.compare.html.elements import (
    figure,
    fold,
    html_row,
    html_table,
    more,
    over_seeds,
    side_by_side,
)
from hmc_shared.compare.html.failures import calibration, confusions, tree, worst
from hmc_shared.compare.html.pictures import Pictures, take_pictures
from hmc_shared.compare.inspection import Inspection, inspect
from hmc_shared.compare.text import cells, header, legend, mean_sd
from hmc_shared.metrics.glossary import meaning

MOST_METRICS = 9
"""Columns of metrics beside which 1280 pixels have room for the costs; those are in all metrics, too."""
LINES = 100
"""Rows, runs and notes that are listed. All else is of the :data:`~hmc_shared.compare.plots.ROWS` best."""


def to_html(comparison: Comparison, pictures: Path | None = None) -> str:
    """The whole report, of a size that does not grow with the number of runs beyond :data:`LINES`.

    Reads the predictions of the best rows again, and images from the folder ``pictures``.

    Raises ValueError for a run that is no longer readable.
    """
    contents, parts = [], []
    for table in comparison.tables:
        best = plots.drawn(table)
        name, inspection = _anchor(table.title), inspect(best)
        shown = take_pictures(best, inspection, pictures)
        links = []
        parts.append(f'<h2 id="{name}">{escape(table.title)}</h2>\n<p>{escape(table.caption)}</p>')
        for section, title, write in SECTIONS:
            if text := write(table if write in LISTS else best, inspection, shown):
                links.append(f'<a href="#{name}-{section}">{title}</a>')
                parts.append(f'<section id="{name}-{section}">\n<h3>{title}</h3>\n{text}\n</section>')
        contents.append(f'<li><a href="#{name}">{escape(table.title)}</a>: {" · ".join(links)}</li>')
    for appendix in comparison.appendices:
        rows = [html_row([escape(word) for word in words]) for words in appendix.rows]
        table = html_table([escape(word) for word in appendix.header], rows, "appendix")
        if appendix.is_long:
            table = fold(f"{len(rows)} lines", table)
        parts.append(f"<h2>{escape(appendix.title)}</h2>\n<p>{escape(appendix.text)}</p>\n{table}")
    if comparison.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes[:LINES])
        parts.append(f'<h2 id="notes">Notes</h2>\n<ul>{notes}</ul>')
        parts.append(more(len(comparison.notes) - LINES, "notes are in compare.md"))
    title = f"Comparison: {', '.join(table.title for table in comparison.tables)}"
    return fill_page("Comparison", title, legend(comparison, "Bold"), contents, parts)


def fill_page(heading: str, title: str, about: str, contents: Sequence[str], parts: Sequence[str]) -> str:
    """The whole file, of texts, and of lines and parts in HTML."""
    template = Template(files("hmc_shared.compare.html").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        heading=escape(heading),
        title=escape(title),
        about=escape(about),
        contents="\n".join(contents),
        body="\n".join(parts),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, hmc-shared {distribution_version('hmc-shared')}",
    )


def scores(table: ComparisonTable, inspection: Inspection, pictures: Pictures) -> str:
    """The comparison table, and all metrics of the best rows behind a fold."""
    is_full = len(table.metrics) > MOST_METRICS
    costs, kind = (-len(COSTS), "scores full") if is_full else (None, "scores")
    columns = header(table)[:costs]
    rest = len(columns) - 1
    body = []
    for row in table.rows[:LINES]:
        label, *values = cells(table, row, best="<b>{}</b>")[:costs]
        program = _program(row.runs[0].origin["command"])
        body.append([f"{escape(label)}{program}", *map(_together, values)])
    rows = [html_row(cells_) for cells_ in body]
    rows += [
        f'<tr class="missing"><th>{escape(label)}</th><td colspan="{rest}">{escape(why)}</td></tr>'
        for label, why in table.missing
    ]
    best = plots.drawn(table).rows
    everything = [
        html_row([name, *(_together(mean_sd(row.metric(name), name)) for row in best)])
        for name in table.all_metrics
    ]
    everything += [
        html_row([name, *(_together(mean_sd(row.cost(name), name)) for row in best)]) for name in COSTS
    ]
    meanings = [html_row([escape(name), escape(meaning(name))]) for name in table.all_metrics]
    labels = [escape(row.label) for row in best]
    return "\n".join(
        [
            html_table([name.replace("_", " ") for name in columns], rows, kind),
            more(len(table.rows) - LINES, "rows are in compare.csv"),
            more(len(table.rows) - len(best), f"rows are not shown below: it is of the {len(best)} best"),
            fold("All metrics", html_table(["metric", *labels], everything, "all-metrics")),
            fold("What the metrics mean", html_table(["metric", "meaning"], meanings, "glossary")),
        ]
    )


def curves(table: ComparisonTable, inspection: Inspection, pictures: Pictures) -> str:
    """Precision over recall, and beside it a metric by level."""
    by_level = "Means over seeds; bars are sample standard deviations." if over_seeds(table) else "By depth."
    return side_by_side(
        [
            figure(partial(plots.precision_recall, table), "Precision over recall of all entries pooled."),
            figure(partial(plots.metric_by_level, table), by_level),
        ]
    )


def grids(table: ComparisonTable, inspection: Inspection, pictures: Pictures) -> str:
    return "\n".join(
        figure(
            partial(grid_plots.metrics_over_values, table, grid),
            f"Test metrics over {' and '.join(grid.options).replace('_', ' ')}, means over seeds.",
            is_wide=True,
        )
        for grid in table.grids
    )


def commands(table: ComparisonTable, inspection: Inspection, pictures: Pictures) -> str:
    """The command that repeats each method, where and when it ran; every run behind a fold."""
    rows = [
        html_row([escape(row.label), ", ".join(map(str, row.seeds)), _command(row.runs[0].origin)])
        for row in table.rows[:LINES]
    ]
    runs = [(row.label, run) for row in table.rows for run in row.runs]
    every = [
        html_row(
            [escape(label), str(run.seed), _command(run.origin), f"<code>{escape(str(run.path))}</code>"]
        )
        for label, run in runs[:LINES]
    ]
    text = "<p>The command of the first seed of each method; the others differ in seed and folder.</p>"
    columns = ["trained by", "on", "processor", "versions", "commit"]
    return "\n".join(
        [
            text if over_seeds(table) else "",
            html_table(["method", "seeds", "command"], rows, "commands"),
            more(len(table.rows) - LINES, "methods are in compare.md"),
            html_table(columns, origins(table.rows), "origins"),
            fold("Every run", html_table(["method", "seed", "command", "folder"], every, "runs")),
            more(len(runs) - LINES, "runs are in compare.md"),
        ]
    )


def origins(rows: Sequence[Row]) -> list[str]:
    """A line for each processor, versions and commit that runs tell of, with their methods and days."""
    groups: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for row in rows:
        for run in row.runs:
            origin = run.origin
            versions = ", ".join(f"{name} {version}" for name, version in (origin["versions"] or {}).items())
            key = (str(origin["device"] or "-"), versions or "-", str(origin["git_commit"] or "-")[:10])
            groups.setdefault(key, []).append((row.label, str(origin["finished"] or "")[:10]))
    lines = []
    for key, members in list(groups.items())[:LINES]:
        labels, days = {label for label, _ in members}, sorted({day for _, day in members if day})
        named = [row.label for row in rows if row.label in labels]
        who = "all" if len(named) == len(rows) and len(groups) == 1 else ", ".join(named[: plots.ROWS])
        if len(named) > plots.ROWS and who != "all":
            who += f" and {len(named) - plots.ROWS} more"
        when = " to ".join(dict.fromkeys([days[0], days[-1]])) if days else "-"
        lines.append(html_row([escape(who), *map(escape, (when, *key))]))
    return lines


def _command(origin: Mapping[str, Any]) -> str:
    command = origin["command"]
    return f"<code>{escape(str(command))}</code>" if command else "config.yaml has all options"


def _together(value: str) -> str:
    """A deviation that stays with its sign where a value is wrapped."""
    return value.replace("± ", "±\u00a0")


SECTIONS: tuple[tuple[str, str, Callable[[ComparisonTable, Inspection, Pictures], str]], ...] = (
    ("scores", "Scores", scores),
    ("grids", "Over the values of options", grids),
    ("curves", "Precision, recall and levels", curves),
    ("calibration", "Calibration", calibration),
    ("tree", "Classes", tree),
    ("confusions", "Confusions", confusions),
    ("worst", "Worst samples", worst),
    ("commands", "Commands", commands),
)
"""Name, title and content of the parts of each table, in order; a part without content is left out."""
OF_ROWS = tuple(section for section in SECTIONS if section[0] not in ("scores", "grids", "commands"))
"""The parts that say something of a single run, too."""
LISTS = (scores, commands)
"""The parts of the whole table; the others are of its best rows."""


def _program(command: str | None) -> str:
    """The command that a method belongs to, below its label."""
    if not command:
        return ""
    module = re.search(r"-m (\w+)(?:\.train| train)\b", command)  # of a launcher, which comes first
    words = [module[1].replace("_", "-"), "train"] if module else command.split()[:2]
    return f'<br><span class="dim">{escape(" ".join(words))}</span>'


def _anchor(title: str) -> str:
    return re.sub(r"[^\w-]+", "-", title)
