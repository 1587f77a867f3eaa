"""Where runs fail, as HTML: calibration, classes, confusions, samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from html import escape

import numpy as np

from hmc_shared.compare import calibration as calibration_report
from hmc_shared.compare import plots
from hmc_shared.compare.calibration import RowCalibration
from hmc_shared.compare.comparison import ComparisonTable
from hmc_shared.compare.confusion import LevelConfusion, confusion_by_level
from hmc_shared.compare.html.elements import (
    breakable,
    figure,
    fold,
    html_row,
    html_table,
    over_seeds,
    side_by_side,
)
from hmc_shared.compare.html.pictures import Pictures, shade
from hmc_shared.compare.html.tree import colour_floor, draw_tree, number
from hmc_shared.compare.inspection import LARGEST_FAMILY, Answer, Inspection
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.metrics.calibration import BINS


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
        f"Expected calibration error of test probabilities: {what}{over_seeds(table)}. {BINS} bins of equal "
        "width; 0 is perfect. They are calibrated on validation; before that they are the sigmoid of the "
        "scores. A method whose scores are calibrated has the same number twice."
    )
    levels = [f"level {depth}" for depth in range(len(calibrations[0].by_level))]
    head = ["method", "calibrated", "before", *levels]
    rows = []
    for of_row in calibrations:
        values = (of_row.error, of_row.uncalibrated, *of_row.by_level)
        rows.append(html_row([escape(of_row.row.label), *(f"{value:.4f}" for value in values)]))
    figures = [
        figure(
            partial(calibration_report.plot_reliability, table, calibrations),
            "Share of right answers over their probability: below the diagonal a method is too sure of "
            f"itself. Each point is one of {BINS} bins with equally many answers; below are the numbers in "
            "bins of equal width.",
        ),
        figure(
            partial(calibration_report.plot_coverage, table, calibrations),
            f"Accuracy of the {'deepest class' if by_level else 'yes or no to each class'}, where answers "
            "below a confidence are withheld.",
        ),
    ]
    if by_level:
        cut = partial(calibration_report.plot_roll_up, table, calibrations)
        text_of_cut = "Error of the answers given over the levels answered, where a threshold cuts paths."
        figures.append(figure(cut, text_of_cut))
    table_ = html_table(head, rows, "calibration")
    return f"<p>{text}</p>\n{table_}\n{harmed(calibrations)}\n{side_by_side(figures)}"


def harmed(calibrations: Sequence[RowCalibration]) -> str:
    """Says which methods have a larger error on test after calibration than before."""
    worse = [
        f"{escape(one.row.label)} ({one.error:.4f}, before {one.uncalibrated:.4f})"
        for one in calibrations
        if round(one.error, 4) > round(one.uncalibrated, 4)
    ]
    if not worse:
        return ""
    return (
        '<p class="warning">Calibration, fitted on validation, made the error on the test split larger: '
        f"{', '.join(worse)}.</p>"
    )


def tree(table: ComparisonTable, inspection: Inspection, pictures: Pictures) -> str:
    """The hierarchy with the AP of each class; of a large one the worst classes and the top levels."""
    svg, shown = draw_tree(inspection, [row.label for row in table.rows])
    total = len(inspection.hierarchy)
    dot = "; the dot shows the mean over methods" if len(table.rows) > 1 else ""
    has_thresholds = not np.isnan(inspection.threshold).all()
    tooltip = "its AUROC and its own threshold" if has_thresholds else "its AUROC"
    text = (
        f"Average precision of each class{over_seeds(table)}{dot}; a cell's tooltip has {tooltip}. "
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
    """Confusions between siblings, and beside them a confusion matrix for each level."""
    siblings = sibling_pairs(table, inspection, pictures)
    levels = confusion_by_level(table.rows[0])
    if not levels:
        return siblings
    kind = "uneven" if len(table.rows) > 4 else "pair"  # a column for each row
    return side_by_side([siblings, matrices(table, levels, inspection.hierarchy)], kind)


def matrices(table: ComparisonTable, levels: Sequence[LevelConfusion], hierarchy: Hierarchy) -> str:
    """A confusion matrix for each level, of the best row."""
    best = f" of {table.rows[0].label}, first in the table" if len(table.rows) > 1 else ""
    parts = [
        f"<p>Best class of each level{escape(best)}: samples by true class (lines) and predicted class "
        f"(columns){over_seeds(table)}, their share of the line as colour.</p>"
    ]
    for level in levels:
        names = [breakable(hierarchy.names[node]) for node in level.classes]
        totals = level.counts.sum(1)
        rows = []
        for a, name in enumerate(names):
            cells = [
                _counted(count, totals[a], "right" if a == b else "")
                for b, count in enumerate(level.counts[a])
            ]
            rows.append(f"<tr><th>{name}</th>{''.join(cells)}</tr>")
        head = ["", *(f"<span>{name}</span>" for name in names)]
        chosen = f"the {len(names)} of {level.total:,} classes with most mistakes"
        which = f"{level.total} classes" if len(names) == level.total else chosen
        title = f"Level {level.depth}: {which}"
        parts.append(fold(title, html_table(head, rows, "matrix"), is_open=len(levels) <= 3))
    return "\n".join(parts)


def _counted(count: float, total: float, kind: str) -> str:
    if not count:
        return f'<td class="{kind}"></td>'
    fill, ink = shade(count / total, 0, 1, "Blues" if kind else "Oranges")
    return f'<td class="{kind}" style="background:{fill};color:{ink}">{count:.3g}</td>'


def sibling_pairs(table: ComparisonTable, inspection: Inspection, pictures: Pictures) -> str:
    """The pairs of siblings that are confused most often, with a picture of each where there is one."""
    text = (
        "Samples of a class, without the sibling, that score the sibling higher: "
        f"number{over_seeds(table)}, and the share of such samples as colour."
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
    text += (
        " Beside each answer its probability, of several classes that of the lowest; under truth that of the "
        f"true class{over_seeds(table)}."
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
            f"<tr><th>{escape(answer.label)}</th><td>{_answer(answer)}</td>"
            f"<td>{_mean(answer.of_truth)}</td></tr>"
            for answer in sample.answers
        )
        head = "<thead><tr><th></th><th>answer</th><th>truth</th></tr></thead>"
        cards.append(
            f"<figure>{image}<figcaption><b>{breakable(sample.truth)}</b> "
            f'<span class="dim">{breakable(sample.id)}, loss {number(sample.loss)}</span>'
            f"<table>{head}<tbody>{answers}</tbody></table></figcaption></figure>"
        )
    return f'<p>{escape(text)}</p>\n<div class="cards">{"".join(cards)}</div>'


def _with_picture(name: str, picture: str | None) -> str:
    image = f'<img src="{picture}" alt="">' if picture else ""
    return image + breakable(name)


def _answer(answer: Answer) -> str:
    """One line for each different answer, with the probabilities that runs give it."""
    found: dict[tuple[str, bool], list[str]] = {}
    for name, ok, probability in zip(answer.predicted, answer.right, answer.probability, strict=True):
        found.setdefault((name, ok), []).append("" if math.isnan(probability) else f"{probability:.2f}")
    return "<br>".join(
        f'<span class="{"right" if ok else "wrong"}">{"✓" if ok else "✗"} {breakable(name)}</span> '
        + ", ".join(filter(None, probabilities))
        for (name, ok), probabilities in found.items()
    )


def _mean(probabilities: Sequence[float]) -> str:
    mean = sum(probabilities) / len(probabilities)
    return "-" if math.isnan(mean) else f"{mean:.2f}"
