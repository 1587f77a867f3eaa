"""The command ``train`` of every method: it trains, or rehearses, and says where the run is."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from tqdm import tqdm

from hmc_shared.cli.commands import format_metrics
from hmc_shared.cli.stopping import is_first_process
from hmc_shared.cli.train_options import TrainOptions
from hmc_shared.runs.folder import Results, peak_memory_mib
from hmc_shared.runs.progress import Rehearsed

Config = TypeVar("Config", bound=TrainOptions)


def run_training(config: Config, train: Callable[[Config], Results | None]) -> None:
    """Train by the options, and print the metrics of the test split; or what ``--dry-run`` tells."""
    if config.dry_run:
        with TemporaryDirectory() as folder:
            try:
                train(replace(config, output_dir=folder, resume=False, overwrite=False, log_with=None))
            except Rehearsed as rehearsed:
                if rehearsed.bar.is_shown:
                    print(to_text(rehearsed))
                    print(f"folder   {config.run_folder}")
                return
        raise ValueError(
            f"{config.label} takes fewer steps than `--dry-run` takes time of: train it at once."
        )
    results = train(config)
    if results:
        print(format_metrics(results["metrics"]))
    if is_first_process():
        print(next_steps(config, has_model=results is not None), file=sys.stderr)


def next_steps(config: TrainOptions, *, has_model: bool) -> str:
    """Where the run is, and the commands that read it."""
    folder = config.run_folder
    lines = [f"run folder: {folder}"]
    if has_model:
        run = shlex.quote(str(folder))
        others = shlex.quote(str(folder.parent if config.output_dir else folder.parents[1]))
        commands = [
            f"{config.package} evaluate {run}",
            f"{config.package} predict {run} FILE",
            f"hmc compare {others}",
        ]
        lines += [f"{'next:' if at == 0 else '':6}{command}" for at, command in enumerate(commands)]
    return "\n".join(lines)


def to_text(rehearsed: Rehearsed) -> str:
    """What a run would be: data, network, steps, time and memory."""
    bar, network = rehearsed.bar, rehearsed.network
    dataset: Any = bar.dataset
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    hierarchy = dataset.hierarchy
    shape = (
        " x ".join(map(str, dataset.train.inputs[:1].shape[1:]))
        if hasattr(dataset.train.inputs, "shape")
        else "images"
    )
    every = sum(weights.numel() for weights in network.parameters())
    trained = sum(weights.numel() for weights in network.parameters() if weights.requires_grad)
    steps = bar.epochs * bar.batches
    device = bar.accelerator.device
    memory = peak_memory_mib(device)
    lines = {
        "data": f"{dataset.name}: {sizes}; {shape}; "
        f"{len(hierarchy):,} classes in {hierarchy.num_levels} levels",
        "network": f"{bar.config.label}, {every:,} parameters, {trained:,} of them trained",
        "steps": f"{bar.batches:,} an epoch of {bar.config.batch_size} rows, "
        f"{steps:,} in {bar.epochs} epochs",
        "time": f"{1000 * rehearsed.seconds:.3g} ms a step on {device}, about "
        f"{tqdm.format_interval(rehearsed.seconds * steps)} in all, validation not counted",
        "memory": "unknown"
        if memory is None
        else f"{memory:,.0f} MiB so far, of {'the device' if device.type == 'cuda' else 'this process'}",
    }
    return "\n".join(f"{name:9}{text}" for name, text in lines.items())
