"""A comparison as one HTML file that needs nothing else: no network, no script, pictures inside."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from hmc_shared.compare import calibration as calibration_report
from hmc_shared.compare import grid_plots, plots
from hmc_shared.compare.comparison import COSTS, Comparison, ComparisonTable
from hmc_shared.compare.html.pictures import Pictures, data_uri, shade, take_pictures
from hmc_shared.compare.html.tree import colour_floor, draw_tree, number
from hmc_shared.compare.inspection import LARGEST_FAMILY, Inspection, inspect
from hmc_shared.compare.text import cells, header, legend, mean_sd
from hmc_shared.metrics.calibration import BINS

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
            table = f"<details><summary>{len(rows)} lines</summary>\n{table}\n</details>"
        parts.append(f"<h2>{escape(appendix.title)}</h2>\n<p>{escape(appendix.text)}</p>\n{table}")
    if comparison.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes[:LINES])
        parts.append(f'<h2 id="notes">Notes</h2>\n<ul>{notes}</ul>')
        parts.append(_more(len(comparison.notes) - LINES, "notes are in compare.md"))
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
    )


def scores(table: ComparisonTable, inspection: Inspection, pictures: Pictures) -> str:
    """The comparison table, and all metrics of the best rows behind a fold."""
    width = len(header(table))
    body = []
    for row in table.rows[:LINES]:
        label, *values = cells(table, row, best="<b>{}</b>")
        program = _program(row.runs[0].origin["command"])
        body.append([f"{escape(label)}{program}", *values])
    rows = [html_row(cells_) for cells_ in body]
    rows += [
        f'<tr class="missing"><th>{escape(label)}</th><td colspan="{width - 1}">{escape(why)}</td></tr>'
        for label, why in table.missing
    ]
    best = plots.drawn(table).rows
    everything = [
        html_row([name, *(mean_sd(row.metric(name), name) for row in best)]) for name in table.all_metrics
    ]
    everything += [html_row([name, *(mean_sd(row.cost(name), name) for row in best)]) for name in COSTS]
    labels = [escape(row.label) for row in best]
    return "\n".join(
        [
            html_table([name.replace("_", " ") for name in header(table)], rows, "scores"),
            _more(len(table.rows) - LINES, "rows are in compare.csv"),
            _more(len(table.rows) - len(best), f"rows are not shown below: it is of the {len(best)} best"),
            "<details><summary>All metrics</summary>",
            html_table(["metric", *labels], everything, "all-metrics"),
            "</details>",
        ]
    )


def curves(table: ComparisonTable, inspection: Inspection, pictures: Pictures) -> str:
    return _figure(plots.precision_recall, table, "Precision over recall of all entries pooled.")


def levels(table: ComparisonTable, inspection: Inspection, pictures: Pictures) -> str:
    text = "Means over seeds; bars are sample standard deviations." if _over_seeds(table) else "By depth."
    return _figure(plots.metric_by_level, table, text)


def grids(table: ComparisonTable, inspection: Inspection, pictures: Pictures) -> str:
    return "\n".join(
        _figure(
            lambda table, file, grid=grid: grid_plots.metrics_over_values(table, grid, file),
            table,
            f"Test metrics over {' and '.join(grid.options).replace('_', ' ')}, means over seeds.",
        )
        for grid in table.grids
    )


def calibration(table: ComparisonTable, inspection: Inspection, pictures: Pictures) -> str:
    """Expected calibration error of each row, reliability diagram, accuracy over coverage."""
    calibrations = calibration_report.measure(table)
    by_level = bool(calibrations[0].by_level)
    what = (
        "the best class of each level, level by level; the mean over levels"
        if by_level
        else "the presence of each class; the mean over classes"
    )
    text = (
        f"Expected calibration error of test probabilities: {what}{_over_seeds(table)}. {BINS} bins of equal "
        "width; 0 is perfect. They are calibrated on validation; before that they are the sigmoid of the "
        "scores. A method whose scores are calibrated has the same number twice."
    )
    levels = [f"level {depth}" for depth in range(len(calibrations[0].by_level))]
    head = ["method", "calibrated", "before", *levels]
    rows = []
    for of_row in calibrations:
        values = (of_row.error, of_row.uncalibrated, *of_row.by_level)
        rows.append(html_row([escape(of_row.row.label), *(f"{value:.4f}" for value in values)]))
    reliable = _figure(
        lambda table, file: calibration_report.plot_reliability(table, calibrations, file),
        table,
        "Share of right answers over their probability: below the diagonal a method is too sure of itself.",
    )
    covered = _figure(
        lambda table, file: calibration_report.plot_coverage(table, calibrations, file),
        table,
        "Accuracy of the deepest class, where answers below a confidence are withheld."
        if by_level
        else "Accuracy of the yes or no to each class, where answers below a confidence are withheld.",
    )
    cut = ""
    if by_level:
        cut = _figure(
            lambda table, file: calibration_report.plot_roll_up(table, calibrations, file),
            table,
            "Error of the answers given over the levels answered, where a threshold cuts paths from the top.",
        )
    return f"<p>{text}</p>\n{html_table(head, rows, 'calibration')}\n{reliable}\n{covered}\n{cut}"


def tree(table: ComparisonTable, inspection: Inspection, pictures: Pictures) -> str:
    """The hierarchy with the AP of each class; of a large one the worst classes and the top levels."""
    svg, shown = draw_tree(inspection, [row.label for row in table.rows])
    total = len(inspection.hierarchy)
    dot = "; the dot shows the mean over methods" if len(table.rows) > 1 else ""
    text = (
        f"Average precision of each class{_over_seeds(table)}{dot}; a cell's tooltip has its AUROC. "
        f"Colours run from {colour_floor(inspection.ap):.2f} (dark) to 1 (light)."
    )
    if shown < total:
        text += (
            f" {shown:,} of {total:,} classes are drawn: those with the lowest AP, their ancestors, and "
            "the top levels; +n counts the children that are not."
        )
    if not inspection.hierarchy.is_tree:
        text += " A class with several parents (*) stands below the first one; its tooltip names all."
    return f'<p>{text}</p>\n<div class="wide">{svg}</div>'


def confusions(table: ComparisonTable, inspection: Inspection, pictures: Pictures) -> str:
    """The pairs of siblings that are confused most often, with a picture of each where there is one."""
    text = (
        "Samples of a class, without the sibling, that score the sibling higher: "
        f"number{_over_seeds(table)}, and the share of such samples as colour."
    )
    if inspection.largest_family > LARGEST_FAMILY:
        text += f" Families of more than {LARGEST_FAMILY:,} siblings are not counted."
    if not inspection.confusions:
        return f"<p>{text}</p>\n<p>No sibling scores above a true class.</p>"
    names, labels = inspection.hierarchy.names, [row.label for row in table.rows]
    shares = [count / pair.samples for pair in inspection.confusions for count in pair.counts]
    rows = []
    for pair in inspection.confusions:
        colours = [shade(count / pair.samples, 0, max(shares), "Oranges") for count in pair.counts]
        counted = "".join(
            f'<td style="background:{fill};color:{ink}">{count:.3g}</td>'
            for count, (fill, ink) in zip(pair.counts, colours, strict=True)
        )
        true, other = (
            _with_picture(names[node], pictures.classes.get(node)) for node in (pair.true, pair.other)
        )
        rows.append(f"<tr><th>{true}</th><th>{other}</th><td>{pair.samples}</td>{counted}</tr>")
    head = ["class", "taken for", "samples", *map(escape, labels)]
    return f"<p>{text}</p>\n{html_table(head, rows, 'confusions')}"


def worst(table: ComparisonTable, inspection: Inspection, pictures: Pictures) -> str:
    """The samples whose classes the runs rank worst, with pictures where the data set has them."""
    text = (
        "The test samples with the highest ranking loss (share of pairs of a true and a false class in the "
        "wrong order"
    ) + (
        f", mean over these rows), and what their runs predict, of {plots.SEEDS} seeds at most."
        if len(table.rows) > 1
        else "), and what is predicted."
    )
    if not inspection.samples:
        return f"<p>{text}</p>\n<p>No run puts a false class above a true one.</p>"
    if pictures.missing:
        text += f" No pictures: {pictures.missing}"
    cards = []
    for sample in inspection.samples:
        image = ""
        if sample.id in pictures.samples:
            image = f'<img src="{pictures.samples[sample.id]}" alt="{escape(sample.id)}">'
        answers = "".join(
            f"<tr><th>{escape(answer.label)}</th><td>{_answer(answer.predicted, answer.right)}</td></tr>"
            for answer in sample.answers
        )
        cards.append(
            f"<figure>{image}<figcaption><b>{escape(sample.truth)}</b> "
            f'<span class="dim">{escape(sample.id)}, loss {number(sample.loss)}</span>'
            f"<table>{answers}</table></figcaption></figure>"
        )
    return f'<p>{escape(text)}</p>\n<div class="cards">{"".join(cards)}</div>'


def commands(table: ComparisonTable, inspection: Inspection, pictures: Pictures) -> str:
    """The command that repeats each run."""
    runs = [(row.label, run) for row in table.rows for run in row.runs]
    rows = []
    for label, run in runs[:LINES]:
        command = run.origin["command"]
        shown = f"<code>{escape(str(command))}</code>" if command else "config.yaml has all options"
        folder, commit = escape(str(run.path)), escape(str(run.origin["git_commit"] or "-")[:10])
        rows.append(
            f"<tr><th>{escape(label)}</th><td>{run.seed}</td><td>{shown}</td>"
            f"<td><code>{folder}</code></td><td>{escape(str(run.origin['device']))}</td><td>{commit}</td></tr>"
        )
    head = ["method", "seed", "command", "folder", "device", "commit"]
    return html_table(head, rows, "commands") + _more(len(runs) - LINES, "runs are in compare.md")


SECTIONS: tuple[tuple[str, str, Callable[[ComparisonTable, Inspection, Pictures], str]], ...] = (
    ("scores", "Scores", scores),
    ("grids", "Over the values of options", grids),
    ("curves", "Precision and recall", curves),
    ("levels", "By level", levels),
    ("calibration", "Calibration", calibration),
    ("tree", "Classes", tree),
    ("confusions", "Confusions between siblings", confusions),
    ("worst", "Worst samples", worst),
    ("commands", "Commands", commands),
)
"""Name, title and content of the parts of each table, in order; a part without content is left out."""
OF_ROWS = tuple(section for section in SECTIONS if section[0] not in ("scores", "grids", "commands"))
"""The parts that say something of a single run, too."""
LISTS = (scores, commands)
"""The parts of the whole table; the others are of its best rows."""


def _over_seeds(table: ComparisonTable) -> str:
    return ", mean over seeds" if any(len(row.runs) > 1 for row in table.rows) else ""


def _figure(plot: Callable[[ComparisonTable, io.BytesIO], None], table: ComparisonTable, text: str) -> str:
    return figure(partial(plot, table), text)


def figure(plot: Callable[[io.BytesIO], None], text: str) -> str:
    """A plot below its text."""
    buffer = io.BytesIO()
    plot(buffer)
    # As an image: inline SVGs would share their ids and styles.
    source = data_uri(buffer.getvalue(), "image/svg+xml")
    return f'<p>{text}</p>\n<img class="plot" src="{source}" alt="{text}">'


def html_table(head: Sequence[str], rows: Sequence[str], name: str) -> str:
    columns = "".join(f"<th>{column}</th>" for column in head)
    body = "\n".join(rows)
    return (
        f'<div class="wide"><table class="{name}"><thead><tr>{columns}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def html_row(words: Sequence[str]) -> str:
    """A line of a table from HTML: the first word is its heading."""
    first, *others = words
    return f"<tr><th>{first}</th>{''.join(f'<td>{word}</td>' for word in others)}</tr>"


def _program(command: str | None) -> str:
    """The command that a method belongs to, below its label."""
    if not command:
        return ""
    module = re.search(r"-m (\w+)(?:\.train| train)\b", command)  # of a launcher, which comes first
    words = [module[1].replace("_", "-"), "train"] if module else command.split()[:2]
    return f'<br><span class="dim">{escape(" ".join(words))}</span>'


def _with_picture(name: str, picture: str | None) -> str:
    image = f'<img src="{picture}" alt="">' if picture else ""
    return image + escape(name)


def _answer(predicted: Sequence[str], right: Sequence[bool]) -> str:
    return ", ".join(
        f'<span class="{"right" if ok else "wrong"}">{escape(name)}</span>'
        for name, ok in zip(predicted, right, strict=True)
    )


def _more(number: int, text: str) -> str:
    return f"<p>{number} more {text}.</p>" if number > 0 else ""


def _anchor(title: str) -> str:
    return re.sub(r"[^\w-]+", "-", title)
