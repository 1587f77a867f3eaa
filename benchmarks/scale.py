"""Time and peak memory of every part over rows, classes and images, each measured in a process of its own.

    python benchmarks/scale.py [--only predict] [--smallest 100] [--largest 1000000] [--svg scale.svg]

A step prepares its inputs, which does not count, then runs once. Memory is the peak of the process above what
stood before the step (Linux). The exponent is the slope of log time over log size between the two largest
sizes: 1 is linear. Hierarchies are random DAGs like GO: 1.5 parents a class, about 15 levels. Prints a
Markdown table.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import csv, parquet

from hlstm.losses import lh_loss, mc_loss
from hlstm.model import HLSTM
from hmc_shared import Hierarchy
from hmc_shared.__main__ import main as hmc
from hmc_shared.cli.commands import PredictOptions
from hmc_shared.constraints import max_over_descendants
from hmc_shared.data.formats import table
from hmc_shared.data.storage.cache import cached, cached_images
from hmc_shared.data.storage.raw import RawPart, RawSet
from hmc_shared.losses import asymmetric_loss
from hmc_shared.metrics import au_prc, average_precision, summarize
from hmc_shared.predict.decision import Decision
from hmc_shared.predict.inputs import command
from hmc_shared.runs.read import SCHEMA

Step = Callable[[], object]
MIB = 2**20
FEATURES = 20
LEVELS = 15
BATCH = 32


def dag(size: int) -> Hierarchy:
    """A class of one level has a parent in the level above, and every other one a second parent above it."""
    rng = np.random.default_rng(0)
    level = np.minimum((np.arange(size) * LEVELS) // size, LEVELS - 1)
    first = np.searchsorted(level, np.arange(LEVELS))
    edges = set()
    for child in range(int(first[1]), size):
        above = level[child] - 1
        edges.add((int(rng.integers(first[above], first[above + 1])), child))
        if child % 2:
            edges.add((int(rng.integers(first[level[child]])), child))
    names = [f"GO:{node:07d}" for node in range(size)]
    return Hierarchy.from_edges([(names[a], names[b]) for a, b in edges], nodes=names)


def write_table(folder: Path, rows: int, kind: str) -> Path:
    rng = np.random.default_rng(0)
    columns = {"id": np.arange(rows).astype(str), "labels": rng.integers(0, 10, rows).astype(str)}
    columns["split"] = np.array(["train", "val", "test"])[rng.integers(0, 3, rows)]
    columns |= {f"x{at}": rng.normal(size=rows).astype(np.float32) for at in range(FEATURES)}
    path = folder / f"table.{kind}"
    (csv.write_csv if kind == "csv" else parquet.write_table)(pa.table(columns), path)
    return path


# Steps: from a folder and a size to what is measured


def read_table(folder: Path, rows: int, kind: str = "csv") -> Step:
    path = write_table(folder, rows, kind)
    print(f"{path.stat().st_size / MIB:.1f}", file=sys.stderr)
    return lambda: table.load(str(path), "default")


def cache_rows(folder: Path, rows: int) -> Step:
    features = np.random.default_rng(0).normal(size=(rows, FEATURES))
    raw = RawSet(dag(100), {"train": RawPart(features, [[row % 100] for row in range(rows)])})
    return lambda: [cached("scale 1", {"file": str(rows)}, lambda: raw) for _ in range(2)]


def cache_images(folder: Path, images: int) -> Step:
    content = BytesIO()
    Image.new("RGB", (64, 64), "teal").save(content, "JPEG")
    (folder / "source").write_bytes(b"")
    names = [f"{at}.jpg" for at in range(images)]
    read = lambda: (content.getvalue() for _ in names)  # noqa: E731
    return lambda: cached_images("scale 1", folder, names, [folder / "source"], read)


def predict(folder: Path, rows: int, kind: str = "csv") -> Step:
    path = write_table(folder, rows, kind)
    hierarchy = Hierarchy.from_paths([f"{at % 3}/{at}" for at in range(10)])
    model = HLSTM(FEATURES, hierarchy, hidden_size=16)
    model.decision = Decision(single_path=True, features=tuple(f"x{at}" for at in range(FEATURES)))
    model.save_pretrained(folder / "model")
    return lambda: command(
        PredictOptions(str(folder / "model"), [str(path)], output=str(folder / f"p.{kind}"))
    )


def build(folder: Path, classes: int) -> Step:
    made = dag(classes)
    edges = [(made.names[parent], made.names[child]) for parent, child in made.edges.tolist()]
    return lambda: Hierarchy.from_edges(edges).edges_bottom_up


def constraint(folder: Path, classes: int) -> Step:
    hierarchy, scores = dag(classes), torch.randn(BATCH, classes)
    hierarchy.edges_bottom_up  # noqa: B018
    return lambda: max_over_descendants(scores.requires_grad_(), hierarchy).sum().backward()


def losses(folder: Path, classes: int) -> Step:
    hierarchy, weight = dag(classes), torch.ones(classes)
    hierarchy.edges_bottom_up  # noqa: B018
    logits = torch.randn(BATCH, classes, requires_grad=True)
    targets = hierarchy.ancestors_of(torch.arange(BATCH) + classes - BATCH)

    def step() -> None:
        total = mc_loss(logits, targets, hierarchy, weight) + lh_loss(logits, targets, hierarchy, weight)
        (total.sum() + asymmetric_loss(logits, targets).sum()).backward()

    return step


def metric(folder: Path, rows: int, classes: int, of: str) -> Step:
    rng, hierarchy = np.random.default_rng(0), dag(classes)
    scores = rng.random((rows, classes), dtype=np.float32)
    targets = np.zeros((rows, classes), dtype=bool)
    for part in range(0, rows, 1000):
        some = torch.from_numpy(rng.integers(0, classes, min(1000, rows - part)))
        targets[part : part + 1000] = hierarchy.ancestors_of(some).numpy()
    functions = {"au_prc": au_prc, "mAP": average_precision}
    of_scores = functions.get(of, lambda s, t: summarize(s, t, hierarchy))
    return lambda: of_scores(scores, targets)


def of_rows(folder: Path, rows: int, of: str) -> Step:
    return metric(folder, rows, 100, of)


def of_classes(folder: Path, classes: int, of: str) -> Step:
    return metric(folder, 100, classes, of)


def report(folder: Path, classes: int) -> Step:
    hierarchy, rng = dag(classes), np.random.default_rng(0)
    targets = hierarchy.ancestors_of(torch.from_numpy(rng.integers(0, classes, 100))).numpy()
    for method in ("first", "second"):
        run = folder / "runs" / method
        run.mkdir(parents=True)
        scores = (rng.normal(size=targets.shape) + targets).astype(np.float32)
        ids, counted = np.array([f"row-{at}" for at in range(100)]), np.ones(classes, dtype=bool)
        arrays = {
            "scores": scores,
            "targets": targets,
            "ids": ids,
            "evaluated": counted,
            "train_counts": np.full(classes, 50),
        }
        np.savez(run / "predictions.npz", **arrays)  # type: ignore[arg-type]
        (run / "hierarchy.json").write_text(hierarchy.to_json())
        content = {"schema": SCHEMA, "method": method, "protocol": "default", "seed": 0, "metrics": {}}
        content["dataset"] = {
            "name": "scale",
            "checksum": "1",
            "sizes": {"train": 9, "validation": 9, "test": 100},
        }
        more = {"decision": None, "config": {"seed": 0}, "versions": {}, "seconds": {"train": 1, "total": 1}}
        (run / "results.json").write_text(json.dumps({**content, **more, "parameters": 1, "device": "cpu"}))
    sys.argv = ["hmc", "compare", str(folder / "runs"), "--output", str(folder / "report")]
    return hmc


ROWS = (1_000, 10_000, 100_000, 1_000_000)
CLASSES = (100, 1_000, 10_000, 50_000)
IMAGES = (1_000, 10_000, 100_000)
STEPS: dict[str, tuple[str, tuple[int, ...], Callable[[Path, int], Step]]] = {
    "read table, csv": ("rows", ROWS, read_table),
    "read table, parquet": ("rows", ROWS, partial(read_table, kind="parquet")),
    "cache, write and read": ("rows", ROWS, cache_rows),
    "predict, csv": ("rows", ROWS, predict),
    "predict, parquet": ("rows", ROWS, partial(predict, kind="parquet")),
    "au_prc, 100 classes": ("rows", ROWS, partial(of_rows, of="au_prc")),
    "mAP, 100 classes": ("rows", ROWS, partial(of_rows, of="mAP")),
    "summarize, 100 classes": ("rows", ROWS, partial(of_rows, of="summarize")),
    "build hierarchy": ("classes", CLASSES, build),
    "constraint, 32 rows": ("classes", CLASSES, constraint),
    "losses, 32 rows": ("classes", CLASSES, losses),
    "au_prc, 100 rows": ("classes", CLASSES, partial(of_classes, of="au_prc")),
    "mAP, 100 rows": ("classes", CLASSES, partial(of_classes, of="mAP")),
    "summarize, 100 rows": ("classes", CLASSES, partial(of_classes, of="summarize")),
    "report, 2 runs of 100 rows": ("classes", CLASSES, report),
    "cache of images": ("images", IMAGES, cache_images),
}


def memory(field: str) -> int:
    """A field of /proc/self/status in MiB: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) // 1024


def measure(name: str, size: int, folder: Path) -> None:
    """Print seconds and MiB of one step."""
    step = STEPS[name][2](folder, size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = memory("VmRSS"), time.perf_counter()
    with redirect_stdout(StringIO()):
        step()
    print(json.dumps({"seconds": time.perf_counter() - start, "mib": memory("VmHWM") - before}))


def in_own_process(name: str, size: int) -> tuple[float, float] | None:
    """Seconds and MiB; None if the step failed."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "--one", name, str(size), folder]
        environment = {**os.environ, "HMC_CACHE": f"{folder}/cache"}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        print(f"{name}, {size}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    found = json.loads(done.stdout.splitlines()[-1])
    return found["seconds"], found["mib"]


def plot(found: dict[str, dict[int, tuple[float, float]]], path: str) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(12, 6), layout="constrained")
    for name, points in found.items():
        for axis, at in zip(axes, (0, 1), strict=True):
            axis.loglog(list(points), [max(values[at], 1e-3) for values in points.values()], "o-", label=name)
    axes[0].set(xlabel="rows, classes or images", ylabel="seconds")
    axes[1].set(xlabel="rows, classes or images", ylabel="peak memory, MiB")
    axes[0].legend(fontsize="small")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="steps whose name has this in it")
    parser.add_argument("--smallest", type=int, default=0)
    parser.add_argument("--largest", type=int, default=10**6)
    parser.add_argument("--svg")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure(args.one[0], int(args.one[1]), Path(args.one[2]))
        return
    found: dict[str, dict[int, tuple[float, float]]] = {}
    print("| step | over | seconds (MiB) by size | exponent |\n|---|---|---|---|")
    for name, (unit, sizes, _) in STEPS.items():
        if args.only not in name:
            continue
        values = {size: in_own_process(name, size) for size in sizes if args.smallest <= size <= args.largest}
        points = found[name] = {size: value for size, value in values.items() if value is not None}
        cells = "; ".join(f"{size:,}: {s:.3g} s ({m:.0f})" for size, (s, m) in points.items())
        exponent = ""
        if len(points) > 1:
            (size, (seconds, _)), (larger, (more, _)) = list(points.items())[-2:]
            exponent = f"{math.log(more / seconds) / math.log(larger / size):.2f}"
        print(f"| {name} | {unit} | {cells} | {exponent} |", flush=True)
    if args.svg:
        plot(found, args.svg)


if __name__ == "__main__":
    main()
