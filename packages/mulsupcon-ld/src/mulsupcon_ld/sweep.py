"""``mulsupcon-ld sweep``: the ablation of Section 4.2 and the grid over alpha and beta."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hmc_shared.compare.comparison import Statistic
from hmc_shared.compare.plots import save
from hmc_shared.data import HierarchicalDataset
from hmc_shared.messages import reason
from hmc_shared.runs.folder import RunFolder
from hmc_shared.runs.read import as_numbers, read_results
from mulsupcon_ld.config import SweepConfig
from mulsupcon_ld.drawing import draw_ablation, draw_grid
from mulsupcon_ld.train import train

METRICS = {  # the paper's abbreviations, in its order
    "HA": "hamming_accuracy",
    "ebF1": "f1_example",
    "miF1": "f1_micro",
    "maF1": "f1_macro",
    "p@1": "precision_at_1",
    "mAP": "map",
}

Row = dict[str, Statistic]
"""Metric to its values over the seeds."""


def sweep(config: SweepConfig, dataset: HierarchicalDataset | None = None) -> dict[str, Row]:
    """Train what is not finished; returns the metrics of each setting over the seeds.

    They are the paper's six on the test split, at the threshold of the run; under ``--protocol paper`` those
    of the public code; and ``validation``, the mAP there, but for that protocol. Table and heat map are
    written, too.

    Args:
        config: all options.
        dataset: used instead of loading ``config.dataset``.

    Raises ValueError for wrong options, a finished run with other options, and several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        rule = "train single runs with `mulsupcon-ld train` in several"
        raise ValueError(f"A sweep should run in one process: {rule}.")
    seeds = config.seeds or range(config.seed, config.seed + 3)
    runs = {name: [config.run(*pair, seed) for seed in seeds] for name, pair in config.settings.items()}
    for run in (run for group in runs.values() for run in group):
        if run.resume and (run.run_folder / "results.json").is_file():
            folder = RunFolder(run.run_folder, resume=True)
            folder.check_same_options(asdict(run), free=run.free_on_resume() - {"epochs"})
        else:
            print(run.run_folder, file=sys.stderr)
            train(run, dataset)

    rows: dict[str, Row] = {}
    for name, group in runs.items():
        metrics = [run_metrics(run.run_folder) for run in group]
        rows[name] = {metric: Statistic(tuple(one[metric] for one in metrics)) for metric in metrics[0]}
    text = f"# {config.kind} of {config.loss} on {config.dataset}, protocol {config.protocol}\n\n"
    text += to_markdown(config, rows)
    (config.folder / f"{config.kind}.md").write_text(text + "\n", encoding="utf-8")
    save(draw(config, rows), config.folder / f"{config.kind}.png")
    return rows


def run_metrics(folder: Path) -> dict[str, float]:
    """The six metrics of a finished run, NaN if undefined, and its best mAP on validation, if any."""
    path = folder / "results.json"
    results = read_results(folder)
    of_test = {name.removeprefix("test/"): value for name, value in results["metrics"].items()}
    try:
        of_test |= results["published_metrics"]
        metrics = {short: of_test[name] for short, name in METRICS.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} lacks a metric of a sweep: {reason(error)}.") from error
    if results.get("validation") is not None:
        metrics["validation"] = results["validation"]
    return as_numbers(metrics, path)


def to_markdown(config: SweepConfig, rows: dict[str, Row]) -> str:
    """A table, mean ± sample standard deviation over seeds; and the best setting on validation, if any."""
    first = next(iter(rows.values()))
    columns = list(first)
    choice = "thresholds chosen there" if config.protocol == "paper" else "threshold from validation"
    seeds = len(first["mAP"].values)
    lines = [f"Test split, {choice}; mean over seeds ({seeds}); validation is mAP.", ""]
    lines += [
        f"| setting | alpha | beta | {' | '.join(columns)} |",
        "|---" * 3 + "|---:" * len(columns) + "|",
    ]
    for name, row in rows.items():
        cells = [name, *(f"{value:g}" for value in config.settings[name])]
        for statistic in (row[column] for column in columns):
            spread = "" if math.isnan(statistic.sd) else f" ± {statistic.sd:.4f}"
            cells.append(f"{statistic.mean:.4f}{spread}")
        lines.append(f"| {' | '.join(cells)} |")
    if "validation" in columns:
        best = max(rows, key=lambda name: rows[name]["validation"].mean)
        lines += ["", f"Best on validation: {best}."]
    return "\n".join(lines)


def draw(config: SweepConfig, rows: dict[str, Row]) -> Figure:
    """The heat map: of the grid, alpha by beta for each metric; of the ablation, settings by metrics."""
    means = np.array([[row[metric].mean for metric in METRICS] for row in rows.values()])  # (settings, 6)
    if config.kind == "ablation":
        return draw_ablation(means, list(rows), list(METRICS))
    maps = means.T.reshape(len(METRICS), len(config.alphas), len(config.betas))
    return draw_grid(dict(zip(METRICS, maps, strict=True)), config.alphas, config.betas)


def command(config: SweepConfig) -> None:
    print(to_markdown(config, sweep(config)))
    print(f"\n{config.folder / config.kind}.md, .png")
