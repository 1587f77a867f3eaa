"""Where a comparison goes: the terminal, and a folder of reports."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hmc_shared.compare.comparison import Comparison


def write_reports(comparison: Comparison, folder: Path, pictures: Path | None = None) -> None:
    """Write report.html, compare.md, compare.csv, compare.json and the plots."""
    from hmc_shared.compare import grid_plots, plots  # matplotlib: not before there is something to draw
    from hmc_shared.compare import text as report
    from hmc_shared.compare.html.report import to_html

    folder.mkdir(parents=True, exist_ok=True)
    figures = {}
    for table in comparison.tables:
        stem = re.sub(r"[^\w.-]+", "-", f"{table.dataset}-{table.protocol}")
        names = [f"{stem}-precision-recall.svg", f"{stem}-levels.svg"]
        plots.precision_recall(table, folder / names[0])
        plots.metric_by_level(table, folder / names[1])
        for grid in table.grids:
            names.append(f"{stem}-grid-{'-'.join(grid.options).replace('_', '-')}.svg")
            grid_plots.metrics_over_values(table, grid, folder / names[-1])
        figures[table.title] = names
    texts = {
        "report.html": to_html(comparison, pictures),
        "compare.md": report.to_markdown(comparison, figures),
        "compare.csv": report.to_csv(comparison),
        "compare.json": report.to_json(comparison),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    wrote(folder / name for name in [*texts, *(name for names in figures.values() for name in names)])


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None for a file or pipe, which has no limit."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def warn(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"hmc: warning: {note}", file=sys.stderr)


def wrote(paths: Iterable[Path]) -> None:
    for path in paths:
        print(f"wrote {path}", file=sys.stderr)
