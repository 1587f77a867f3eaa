"""One run as an HTML file that needs nothing else: what it is, metrics in words, curves, classes."""

from __future__ import annotations

import math
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from hmc_shared.compare.comparison import ComparisonTable, Statistic, compare
from hmc_shared.compare.html.elements import figure, html_row, html_table, side_by_side
from hmc_shared.compare.html.pictures import take_pictures
from hmc_shared.compare.html.report import OF_ROWS, fill_page
from hmc_shared.compare.inspection import inspect
from hmc_shared.compare.learning_curves import losses, plot_epochs, read_epochs, validation_metrics
from hmc_shared.compare.text import mean_sd
from hmc_shared.metrics.glossary import meaning
from hmc_shared.runs.read import SELECTION, load_run


def run_to_html(folder: Path, pictures: Path | None = None) -> str:
    """The page of a finished run. Images come from the folder ``pictures``, as in the report of a comparison.

    Raises ValueError, naming the file, for a folder that is no finished run.
    """
    results = load_run(folder).results
    comparison = compare([folder])
    (table,) = comparison.tables
    inspection = inspect(table)
    shown = take_pictures(table, inspection, pictures)
    sections = [
        ("about", "About this run", about(folder, results, table)),
        ("metrics", "Metrics", metrics(table)),
        ("learning", "Learning curves", learning(folder, results)),
        *((name, title, write(table, inspection, shown)) for name, title, write in OF_ROWS),
    ]
    sections = [section for section in sections if section[2]]
    notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    title = f"{table.rows[0].label} on {table.dataset}, seed {results['seed']}"
    return fill_page(
        heading=title,
        title=title,
        about=f"{table.caption}. Metrics are recomputed from the predictions.",
        contents=[f'<li><a href="#{name}">{title}</a></li>' for name, title, _ in sections],
        parts=[
            *(f'<h2 id="{name}">{title}</h2>\n{text}' for name, title, text in sections),
            *([f"<h2>Notes</h2>\n<ul>{notes}</ul>"] if notes else []),
        ],
    )


def about(folder: Path, results: dict[str, Any], table: ComparisonTable) -> str:
    """What was trained on what, when, where, by which versions; and the command to repeat it."""
    (run,) = table.rows[0].runs
    sizes, seconds = results["dataset"].get("sizes") or {}, run.costs["train_seconds"]
    memory, versions = run.costs["peak_memory_mib"], run.origin["versions"] or {}
    blend = results.get("blend") or {}
    processes = results.get("processes") or 1
    lines = {
        "method": results["method"],
        "mix of": ", ".join(f"{name} ({part['weight']:.3g})" for name, part in blend.items()),
        "data set": results["dataset"]["name"],
        "samples": ", ".join(f"{count:,} {part}" for part, count in sizes.items()),
        "protocol": results["protocol"],
        "seed": results["seed"],
        "trained": results.get("finished"),
        "processor": run.origin["device"],
        "processes": processes if processes > 1 else None,
        "training time": None if math.isnan(seconds) else f"{seconds:.1f} s",
        "peak memory": None if math.isnan(memory) else f"{memory:,.0f} MiB",
        "parameters": f"{results['parameters']:,.0f}" if results["parameters"] is not None else None,
        "epochs": results.get("epochs"),
        "epoch that was kept": results.get("best_epoch"),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "commit": run.origin["git_commit"],
        "folder": folder,
    }
    rows = [html_row([name, escape(str(value))]) for name, value in lines.items() if value not in (None, "")]
    command = run.origin["command"]
    again = (
        f"<p>To repeat it: <code>{escape(str(command))}</code></p>"
        if command
        else "<p>It was started from Python; config.yaml has all options.</p>"
    )
    return f"{html_table(['', ''], rows, 'appendix')}\n{again}"


def metrics(table: ComparisonTable) -> str:
    """Every metric of the run, and what it means."""
    (run,) = table.rows[0].runs
    rows = [
        html_row([escape(name), mean_sd(Statistic((value,)), name), escape(meaning(name))])
        for name, value in run.evaluation.metrics.items()
    ]
    return html_table(["metric", "value", "meaning"], rows, "glossary")


def learning(folder: Path, results: dict[str, Any]) -> str:
    """Losses and validation metrics over epochs; empty for a run without epochs."""
    epochs, kept = read_epochs(folder), results.get("best_epoch")
    chosen_by = read_epochs(folder / SELECTION)  # of the protocol refit
    figures: list[str] = []
    for log, names, title in (
        (epochs, losses(epochs), "Training loss"),
        (epochs, validation_metrics(epochs), "Validation"),
        (chosen_by, validation_metrics(chosen_by), "Validation of the run that chose the epoch"),
    ):
        if names:
            draw = partial(plot_epochs, log, names, title, kept=kept)
            figures.append(figure(draw, f"{title} of each epoch."))
    return side_by_side(figures) if figures else ""
