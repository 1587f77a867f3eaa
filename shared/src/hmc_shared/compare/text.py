"""A comparison as text, Markdown, CSV and JSON; the metrics of one run as text and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hmc_shared.compare.align import align
from hmc_shared.compare.comparison import (
    COSTS,
    LOWER_IS_BETTER,
    NOT_RANKED,
    Comparison,
    ComparisonTable,
    Row,
    Statistic,
)
from hmc_shared.compare.scoring import Evaluation, Group, Level

_HEADINGS = {"parameters": "parameters", "train_seconds": "train s", "peak_memory_mib": "peak MiB"}
_LEVEL_COLUMNS = ("au_prc", "map", "accuracy")
_DIGITS = {"parameters": 0, "train_seconds": 1, "peak_memory_mib": 0} | dict.fromkeys(NOT_RANKED, 0)


def to_text(comparison: Comparison, width: int | None = None) -> str:
    """Aligned plain text: a table for each data set and protocol, the best of a column marked ``*``.

    Columns beyond ``width`` characters continue in further blocks, each with the methods in front.
    """
    parts = []
    for table in comparison.tables:
        body = [cells(table, row, best="{}*", other="{} ") for row in table.rows]
        lines = [f"{table.title}: {table.caption}", _blocks([header(table), *body], width)]
        longest = max(len(row.label) for row in table.rows)
        lines += [f"{label:<{longest}}  {why}" for label, why in table.missing]
        parts.append("\n".join(lines))
    for appendix in (one for one in comparison.appendices if not one.is_long):
        parts.append(f"{appendix.title}. {appendix.text}\n{align([appendix.header, *appendix.rows], left=2)}")
    return "\n\n".join([*parts, legend(comparison, "*")])


def to_markdown(comparison: Comparison, figures: Mapping[str, Sequence[str]] | None = None) -> str:
    """Markdown: the tables with the best of a column in bold, the notes, and the runs behind the tables.

    ``figures`` maps a table's title to the file names of its plots.
    """
    lines = ["# Comparison", "", legend(comparison, "Bold"), ""]
    for table in comparison.tables:
        lines += [f"## {literal(table.title)}", "", f"{table.caption.capitalize()}.", ""]
        body = [
            [literal(label), *rest] for label, *rest in (cells(table, row, "**{}**") for row in table.rows)
        ]
        empty = [""] * (len(header(table)) - 2)
        lines += _markdown_table(
            header(table), body + [[literal(label), why, *empty] for label, why in table.missing]
        )
        for name in (figures or {}).get(table.title, ()):
            lines += [f"![{name.rsplit('.', 1)[0]}]({name})", ""]
    for appendix in comparison.appendices:
        lines += [f"## {appendix.title}", "", appendix.text, ""]
        rows = [[literal(cell) for cell in row] for row in appendix.rows]
        lines += _markdown_table(appendix.header, rows, left=len(appendix.header))
    if comparison.notes:
        lines += ["## Notes", "", *(f"* {note}" for note in comparison.notes), ""]
    runs = [
        [
            literal(table.title),
            literal(row.label),
            str(run.seed),
            f"`{run.path}`",
            str(run.origin["device"]),
            _commit(run.origin),
            f"`{command}`" if (command := run.origin["command"]) else "-",
        ]
        for table in comparison.tables
        for row in table.rows
        for run in row.runs
    ]
    columns = ["table", "method", "seed", "folder", "device", "commit", "command"]
    return "\n".join([*lines, "## Runs", "", *_markdown_table(columns, runs, left=len(columns))])


def to_csv(comparison: Comparison) -> str:
    """One line for each row of each table, in full precision: the mean of a column, then its ``_sd``.

    A cell is empty where the value is undefined or the data set has no such metric.
    """
    metrics = list(dict.fromkeys(name for table in comparison.tables for name in table.metrics))
    columns = [*metrics, *COSTS]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    spread = [name for column in columns for name in (column, f"{column}_sd")]
    writer.writerow(["dataset", "protocol", "method", "seeds", *spread])
    for table in comparison.tables:
        for row in table.rows:
            statistics = [row.metric(name) for name in metrics] + [row.cost(name) for name in COSTS]
            numbers = [_finite(value) for statistic in statistics for value in (statistic.mean, statistic.sd)]
            writer.writerow([table.dataset, table.protocol, row.label, len(row.runs), *numbers])
    return buffer.getvalue()


def to_json(comparison: Comparison) -> str:
    """Every metric of every run, whatever columns the tables show; undefined values are null."""
    content = {"schema": 1, "tables": list(map(_table_as_dict, comparison.tables)), "notes": comparison.notes}
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def commands(comparison: Comparison) -> list[str]:
    """Lines with the command that repeats the first run of each row, where the runs know it."""
    rows = [
        [row.label, str(row.runs[0].origin["command"]), f"(seeds {', '.join(map(str, row.seeds))})"]
        for table in comparison.tables
        for row in table.rows
        if row.runs[0].origin["command"]
    ]
    return align(rows, left=3).splitlines() if rows else []


def evaluation_to_text(evaluation: Evaluation) -> str:
    """All metrics, then a table by depth, then one of head, medium and tail."""
    metrics, levels, groups = evaluation.metrics, evaluation.levels, evaluation.groups
    size = f"{evaluation.samples} samples, {evaluation.classes} evaluated classes"
    width = max(map(len, metrics))
    lines = [f"{name:<{width}}  {_fixed(value, name)}" for name, value in metrics.items()]
    shown = [name for name in _LEVEL_COLUMNS if not all(math.isnan(getattr(level, name)) for level in levels)]
    by_level = [
        _counted(level.depth, level) + [_fixed(getattr(level, name)) for name in shown] for level in levels
    ]
    parts = [
        f"{size}, {_threshold(evaluation)}",
        "\n".join(lines),
        align([["depth", "classes", "with positives", *shown], *by_level]),
    ]
    if groups:
        by_group = [[*_counted(group.name, group), _fixed(group.map)] for group in groups]
        parts.append(align([["group", "classes", "with positives", "map"], *by_group]))
    return "\n\n".join(parts)


def _threshold(evaluation: Evaluation) -> str:
    of = evaluation.threshold
    if not isinstance(of, Mapping):
        return f"threshold {of:g}"
    return f"a threshold for each class, {min(of.values()):g} to {max(of.values()):g} (--json has them)"


def evaluation_to_json(evaluation: Evaluation) -> str:
    """The same as JSON; undefined values are null."""
    return json.dumps(_evaluation_as_dict(evaluation), indent=2, allow_nan=False)


def _blocks(rows: Sequence[Sequence[str]], width: int | None) -> str:
    """:func:`align` in blocks of columns that fit into ``width``, each with the first column in front."""
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    blocks = [[0]]
    for column in range(1, len(widths)):
        used = sum(widths[i] for i in blocks[-1])
        if width and used + widths[column] > width and len(blocks[-1]) > 1:
            blocks.append([0])
        blocks[-1].append(column)
    return "\n\n".join(align([[row[column] for column in block] for row in rows]) for block in blocks)


def header(table: ComparisonTable) -> list[str]:
    """Headings of the columns of :func:`cells`."""
    return ["method", "seeds", *table.metrics, *(_HEADINGS[name] for name in COSTS)]


def cells(table: ComparisonTable, row: Row, best: str = "{}", other: str = "{}") -> list[str]:
    """The row as words: label, number of seeds, metrics, costs.

    ``best`` and ``other`` are formats for the metric columns.
    """
    scores = [
        (best if (row.label, name) in table.best else other).format(mean_sd(row.metric(name), name))
        for name in table.metrics
    ]
    return [row.label, str(len(row.runs)), *scores, *(mean_sd(row.cost(name), name) for name in COSTS)]


def mean_sd(statistic: Statistic, name: str) -> str:
    """Mean ± sample standard deviation, with the digits that suit the metric or cost ``name``."""
    mean, sd = _fixed(statistic.mean, name), _fixed(statistic.sd, name)
    constant = len(set(statistic.values)) == 1
    return mean if constant or math.isnan(statistic.sd) else f"{mean} ± {sd}"


def _fixed(value: float, name: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:,.{_DIGITS.get(name, 4)}f}"


def legend(comparison: Comparison, mark: str) -> str:
    """What the tables show, and that ``mark`` marks the best of a column."""
    lower = [
        name
        for name in dict.fromkeys(m for t in comparison.tables for m in t.metrics)
        if name in LOWER_IS_BETTER
    ]
    best = f"{mark}: best of the column" + (f" (lowest of {', '.join(lower)})" if lower else "")
    return (
        "Mean ± sample standard deviation over seeds (none if all seeds give the same). "
        f"{best}. Metrics are recomputed from the predictions; "
        "parameters, time and memory are as the runs report them."
    )


def literal(name: str) -> str:
    r"""Markdown that shows a name as it is.

    >>> print(literal("x$_$y"), literal("au_prc"), literal("<b>*"))
    x\$_\$y au_prc \<b>\*
    """
    return re.sub(r"[\\`*<$[]|(?<!\w)_(?=\w)|(?<=\w)_(?!\w)", r"\\\g<0>", name)


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of a table whose first ``left`` columns are aligned to the left."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(header), line(["---"] * left + ["---:"] * (len(header) - left)), *map(line, rows), ""]


def _table_as_dict(table: ComparisonTable) -> dict[str, Any]:
    return {
        "dataset": table.dataset,
        "protocol": table.protocol,
        "columns": table.metrics,
        "fingerprint": table.rows[0].runs[0].fingerprint,
        "missing": [{"label": label, "reason": why} for label, why in table.missing],
        "rows": [
            {
                "method": row.method,
                "label": row.label,
                "metrics": {name: _as_dict(row.metric(name)) for name in table.all_metrics},
                "costs": {name: _as_dict(row.cost(name)) for name in COSTS},
                "runs": [
                    {
                        "path": str(run.path),
                        "seed": run.seed,
                        **run.origin,
                        "evaluation": _evaluation_as_dict(run.evaluation),
                    }
                    for run in row.runs
                ],
            }
            for row in table.rows
        ],
    }


def _evaluation_as_dict(evaluation: Evaluation) -> dict[str, Any]:
    return _without_nan(asdict(evaluation))


def _as_dict(statistic: Statistic) -> dict[str, Any]:
    values = [_finite(value) for value in statistic.values]
    return {"mean": _finite(statistic.mean), "sd": _finite(statistic.sd), "values": values}


def _commit(origin: Mapping[str, Any]) -> str:
    return str(origin["git_commit"])[:10] if origin["git_commit"] else "-"


def _finite(value: float) -> float | None:
    """JSON and CSV have no NaN."""
    return value if math.isfinite(value) else None


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return _finite(content) if isinstance(content, float) else content


def _counted(name: int | str, part: Level | Group) -> list[str]:
    return [str(name), str(part.classes), str(part.present)]
