"""Time and peak memory of ``hmc compare`` over the number of runs, without and with its reports.

    python benchmarks/compare.py [--runs 50 500] [--classes 500] [--samples 1000]

The runs are of methods with 5 seeds each; every one has files of its own, but there are only 10 different
predictions. Each command runs in a process of its own, from its start to its end, and then once more with
``--output``. The exponent is the slope of log processor time over log runs: 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from hmc_shared import Hierarchy
from hmc_shared.runs.read import SCHEMA

SEEDS = 5
TEMPLATES = 10


def tree(classes: int) -> Hierarchy:
    """Three levels: 1 root for 50 classes, each with 6 or 7 children, the rest below those."""
    roots, inner = max(classes // 50, 1), max(classes // 50, 1) * 7
    parents = {str(node): None for node in range(roots)}
    parents |= {str(node): str((node - roots) % roots) for node in range(roots, roots + inner)}
    parents |= {
        str(node): str(roots + (node - roots) % inner) for node in range(min(roots + inner, classes), classes)
    }
    return Hierarchy.from_parents(dict(list(parents.items())[:classes]))


def write_run(
    folder: Path, hierarchy: Hierarchy, targets: np.ndarray, method: str, seed: int, template: int
) -> None:
    """A run folder whose scores are noisy targets: noise by ``template``."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(template)
    noise = rng.normal(scale=0.5 + template / TEMPLATES, size=targets.shape)
    scores = (targets * 2.0 - 1 + noise).astype(np.float32)
    arrays = {
        "scores": scores,
        "probabilities": torch.from_numpy(scores).sigmoid().numpy(),
        "targets": targets,
        "ids": np.array([f"sample-{at}" for at in range(len(targets))]),
        "evaluated": np.ones(len(hierarchy), dtype=bool),
        "train_counts": np.full(len(hierarchy), 50),
    }
    np.savez_compressed(folder / "predictions.npz", **arrays)  # type: ignore[arg-type]
    (folder / "hierarchy.json").write_text(hierarchy.to_json())
    write_results(folder, method, seed, len(targets))


def write_results(folder: Path, method: str, seed: int, samples: int) -> None:
    content = {"schema": SCHEMA, "method": method, "protocol": "default", "seed": seed, "metrics": {}}
    sizes = {"train": 9, "validation": 9, "test": samples}
    content["dataset"] = {"name": "scale", "checksum": "1", "sizes": sizes}
    content |= {"decision": None, "versions": {}, "seconds": {"train": 1, "total": 1}, "parameters": 1}
    content |= {"config": {"seed": seed, "learning_rate": 0.1}, "device": "cpu"}
    content["command"] = f"hlstm train --dataset scale --method {method} --seed {seed}"
    (folder / "results.json").write_text(json.dumps(content))


def write_runs(folder: Path, runs: int, classes: int, samples: int) -> None:
    hierarchy, rng = tree(classes), np.random.default_rng(0)
    leaves = hierarchy.leaves.numpy()
    targets = hierarchy.ancestors_of(torch.from_numpy(rng.choice(leaves, samples))).numpy()
    made: dict[int, Path] = {}
    for run in range(runs):
        method, seed, template = f"method-{run // SEEDS:03d}", run % SEEDS, run % TEMPLATES
        path = folder / method / f"seed-{seed}"
        if template in made:
            shutil.copytree(made[template], path)
            write_results(path, method, seed, samples)
        else:
            write_run(path, hierarchy, targets, method, seed, template)
            made[template] = path


def timed(words: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of all processors, and peak MiB of a command."""
    start = time.perf_counter()
    program = [sys.executable, "-m", "hmc_shared", *words]
    nowhere = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    _, status, usage = os.wait4(os.posix_spawn(sys.executable, program, os.environ, file_actions=nowhere), 0)
    if status:
        raise SystemExit(f"{' '.join(words)} ended with {status}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--classes", type=int, default=500)
    parser.add_argument("--samples", type=int, default=1000)
    arguments = parser.parse_args()
    print("| runs | compare | with --output | report.html |\n|---|---|---|---|")
    found = []
    for runs in arguments.runs:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_runs(folder / "runs", runs, arguments.classes, arguments.samples)
            plain = timed(["compare", str(folder / "runs")])
            reported = timed(["compare", str(folder / "runs"), "--output", str(folder / "report")])
            size = (folder / "report" / "report.html").stat().st_size / 2**20
        cells = [f"{wall:.1f} s, {cpu:.1f} CPU-s, {mib:.0f} MiB" for wall, cpu, mib in (plain, reported)]
        print(f"| {runs} | {cells[0]} | {cells[1]} | {size:.2f} MiB |", flush=True)
        found.append((runs, plain[1], reported[1]))
    for (few, *before), (many, *after) in pairwise(found):
        slopes = [math.log(b / a) / math.log(many / few) for a, b in zip(before, after, strict=True)]
        print(f"exponents from {few} to {many} runs: {slopes[0]:.2f}, with --output {slopes[1]:.2f}")


if __name__ == "__main__":
    main()
