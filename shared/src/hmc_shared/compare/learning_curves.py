"""Learning curves of one run: what ``metrics.jsonl`` says of each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from matplotlib.ticker import MaxNLocator

from hmc_shared.compare.plots import COLOURS, legend_below, new_figure, save
from hmc_shared.runs.log import read_log

VALIDATION = "validation/"


def read_epochs(run: Path) -> list[dict[str, Any]]:
    """The lines of the log of a run; none for one without epochs, such as a blend."""
    return read_log(run) if (run / "metrics.jsonl").is_file() else []


def losses(epochs: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the losses in a log."""
    return [name for name in _numbers(epochs) if "loss" in name and not name.startswith(VALIDATION)]


def validation_metrics(epochs: Sequence[dict[str, Any]]) -> list[str]:
    """Names of what was measured on the validation split, as in the log."""
    return [name for name in _numbers(epochs) if name.startswith(VALIDATION)]


def plot_epochs(
    epochs: Sequence[dict[str, Any]],
    names: Sequence[str],
    title: str,
    path: str | Path | BinaryIO,
    kept: int | None = None,
) -> None:
    """Each of ``names`` over epochs, counted from 1; ``kept`` marks the epoch whose weights were kept."""
    figure, axes = new_figure(title)
    for number, name in enumerate(names):
        points = [(epoch["epoch"] + 1, epoch[name]) for epoch in epochs if epoch.get(name) is not None]
        axes.plot(
            *zip(*points, strict=True),
            color=COLOURS[number % len(COLOURS)],
            linestyle="-" if number < len(COLOURS) else "--",
            marker="o" if len(points) == 1 else None,
            linewidth=1.6,
            label=name.removeprefix(VALIDATION).replace("_", " "),
        )
    if kept is not None:
        axes.axvline(kept, color="#888888", linewidth=1, linestyle=":", label="epoch that was kept")
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, axes, "")
    save(figure, path)


def _numbers(epochs: Sequence[dict[str, Any]]) -> list[str]:
    found = [name for epoch in epochs for name, value in epoch.items() if isinstance(value, int | float)]
    return list(dict.fromkeys(found))
