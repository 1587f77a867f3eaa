"""``hcal sweep``: accuracy and HVR over values of gamma or epsilon, Figure 5 of the paper."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hcal.drawing import draw_sweep
from hcal.sweep_config import VALUES, SweepConfig
from hcal.train import train
from hmc_shared.compare.comparison import Statistic
from hmc_shared.compare.plots import save
from hmc_shared.compare.text import align
from hmc_shared.data import HierarchicalDataset
from hmc_shared.messages import shown
from hmc_shared.predict.write import write_table
from hmc_shared.runs.folder import RunFolder
from hmc_shared.runs.read import as_numbers, read_log, read_results

Row = dict[str, Statistic]


def sweep(config: SweepConfig, dataset: HierarchicalDataset | None = None) -> dict[float, Row]:
    """Train what is not finished; returns the metrics of each value over the seeds, as ``<split>/<name>``.

    They are ``accuracy_leaf``, ``accuracy_level_<depth>`` and ``hvr`` of the test split and, but for the
    paper's protocol, of the validation split in the epoch that was kept. Table and plot are written, too.

    Args:
        config: all options.
        dataset: used instead of loading ``config.dataset``.

    Raises ValueError for wrong options, a finished run with other options, and several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("A sweep should run in one process: train single runs with `hcal train` in several.")
    values = config.values or VALUES[config.parameter]
    seeds = config.seeds or range(config.seed, config.seed + 3)
    runs = {value: [config.run(value, seed) for seed in seeds] for value in values}
    for run in (run for group in runs.values() for run in group):
        if run.resume and (run.run_folder / "results.json").is_file():
            RunFolder(run.run_folder, resume=True).check_same_options(
                asdict(run), free=run.free_on_resume() - {"epochs"}
            )
        else:
            print(run.run_folder, file=sys.stderr)
            train(run, dataset)

    rows: dict[float, Row] = {}
    for value, group in runs.items():
        of_seeds = [run_metrics(run.run_folder) for run in group]
        rows[value] = {name: Statistic(tuple(seed[name] for seed in of_seeds)) for name in of_seeds[0]}
    splits = [name for name in ("validation", "test") if f"{name}/hvr" in rows[values[0]]]
    write_csv(config.folder / f"{config.parameter}.csv", config.parameter, rows)
    figure = draw_sweep(config.parameter, rows, splits)
    for suffix in (".svg", ".png"):
        save(figure, config.folder / f"{config.parameter}{suffix}")
    return rows


def run_metrics(folder: Path) -> dict[str, float]:
    """Accuracies and HVR of a finished run: of the kept epoch on validation, if any, and on test."""
    results = read_results(folder)
    kept: dict[str, Any] = {}
    if best := results.get("best_epoch"):  # counted from 1
        kept = next((record for record in read_log(folder) if record["epoch"] + 1 == best), {})
        if not kept:
            raise ValueError(f"{folder / 'metrics.jsonl'} has no line of the best epoch, {shown(best)}.")
    metrics = {**kept, **results["metrics"]}
    names = [
        name for name in metrics if name.partition("/")[2].startswith("accuracy_") or name.endswith("/hvr")
    ]
    return as_numbers({name: metrics[name] for name in names}, folder / "results.json")


def write_csv(path: Path, parameter: str, rows: dict[float, Row]) -> None:
    """One line a value, in full precision: the number of seeds, then each metric's mean and its ``_sd``."""

    names = list(next(iter(rows.values())))
    header = [parameter, "seeds", *(column for name in names for column in (name, f"{name}_sd"))]
    table = []
    for value, row in rows.items():
        numbers = [number for name in names for number in (row[name].mean, row[name].sd)]
        shown = ["" if math.isnan(number) else number for number in numbers]
        table.append([value, len(row[names[0]].values), *shown])
    write_table(path, header, table)


def to_text(parameter: str, rows: dict[float, Row]) -> str:
    """A table for each split, mean ± sample standard deviation; and the best value on validation, if any."""

    names = list(next(iter(rows.values())))
    parts = []
    for split in dict.fromkeys(name.partition("/")[0] for name in names):
        columns = [name for name in names if name.startswith(f"{split}/")]
        table = [[parameter, *(name.partition("/")[2] for name in columns)]]
        for value, row in rows.items():
            cells = [f"{row[name].mean:.4f}" for name in columns]
            spread = ["" if math.isnan(row[name].sd) else f" ± {row[name].sd:.4f}" for name in columns]
            table.append([f"{value:g}", *map(str.__add__, cells, spread)])
        parts.append(f"{split}\n{align(table)}")
    if "validation/accuracy_leaf" in names:
        best = max(rows, key=lambda value: rows[value]["validation/accuracy_leaf"].mean)
        parts.append(f"best leaf accuracy on validation: {parameter} {best:g}")
    return "\n\n".join(parts)


def command(config: SweepConfig) -> None:
    print(to_text(config.parameter, sweep(config)))
    print(f"\n{config.folder / config.parameter}.csv, .svg, .png")
