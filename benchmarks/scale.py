"""Time and peak memory of every part over rows, classes and images, each measured in a process of its own.

    python benchmarks/scale.py [--only predict] [--smallest 100] [--largest 1000000] [--svg scale.svg]

A step prepares its inputs, which does not count, then runs once. Seconds are those of all processors, which
depend little on what else the machine does. Memory is the peak of the process above what stood before the
step (Linux). The exponent is the slope of log time over log size between the two largest sizes: 1 is linear.
Hierarchies are random DAGs like GO: 1.5 parents a class, about 15 levels. Prints a Markdown table.
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
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from compare import write_run
from PIL import Image
from pyarrow import csv, parquet

from hlstm.__main__ import main as hlstm
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
from hmc_shared.metrics import au_prc, average_precision, fmax, summarize
from hmc_shared.predict.decision import Decision
from hmc_shared.predict.inputs import command

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
    """In a process of its own, whose memory the step cannot use again."""
    path = folder / f"table.{kind}"
    process = get_context("spawn").Process(target=write_columns, args=(path, rows))
    process.start()
    process.join()
    return path


def write_columns(path: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    columns = {"id": np.arange(rows).astype(str), "labels": rng.integers(0, 10, rows).astype(str)}
    columns["split"] = np.array(["train", "val", "test"])[rng.integers(0, 3, rows)]
    columns |= {f"x{at}": rng.normal(size=rows).astype(np.float32) for at in range(FEATURES)}
    (csv.write_csv if path.suffix == ".csv" else parquet.write_table)(pa.table(columns), path)


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
    """Different JPEG and PNG images of 32 x 32, written to the cache, mapped, and each decoded once."""
    rng, contents = np.random.default_rng(0), []
    for at in range(1000):
        file = BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(file, ("JPEG", "PNG")[at % 2])
        contents.append(file.getvalue())
    (folder / "source").write_bytes(b"")
    names = [f"{at}.jpg" for at in range(images)]

    def step() -> None:
        read = lambda: (contents[at % 1000] for at in range(images))  # noqa: E731
        for _ in range(2):  # the second time from the cache
            table, _ = cached_images("scale 1", folder, names, [folder / "source"], read)
        for at in range(images):
            table[at]

    return step


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


def scored(folder: Path, rows: int, hierarchy: Hierarchy, mapped: bool) -> tuple[np.ndarray, np.ndarray]:
    """Random scores and the label sets of random classes; in memory, or mapped from files."""
    rng, shape = np.random.default_rng(0), (rows, len(hierarchy))
    if mapped:
        scores = np.lib.format.open_memmap(folder / "s.npy", "w+", np.float32, shape)
        targets = np.lib.format.open_memmap(folder / "t.npy", "w+", np.bool_, shape)
    else:
        scores, targets = np.empty(shape, np.float32), np.empty(shape, np.bool_)
    for part in range(0, rows, 1000):
        some = torch.from_numpy(rng.integers(0, len(hierarchy), min(1000, rows - part)))
        scores[part : part + 1000] = rng.random((len(some), len(hierarchy)), dtype=np.float32)
        targets[part : part + 1000] = hierarchy.ancestors_of(some).numpy()
    return scores, targets


def metric(folder: Path, rows: int, classes: int, of: str, mapped: bool = False) -> Step:
    hierarchy = dag(classes)
    scores, targets = scored(folder, rows, hierarchy, mapped)
    functions = {"au_prc": au_prc, "mAP": average_precision, "Fmax": fmax}
    of_scores = functions.get(of, lambda s, t: summarize(s, t, hierarchy))
    return lambda: of_scores(scores, targets)


def train(folder: Path, rows: int) -> Step:
    """One epoch of a small network on a `table:`, the second start of it: rows are mapped from the cache."""
    path = write_table(folder, rows, "csv")
    table.load(str(path), "default")  # into the cache
    options = ["--epochs", "1", "--hidden-size", "16", "--batch-size", "4096"]
    words = ["train", "--dataset", f"table:{path}", *options, "--output-dir", str(folder / "run")]
    return lambda: hlstm(words)


def of_rows(folder: Path, rows: int, of: str) -> Step:
    return metric(folder, rows, 100, of)


def of_classes(folder: Path, classes: int, of: str) -> Step:
    return metric(folder, 100, classes, of)


def report(folder: Path, classes: int) -> Step:
    """``hmc compare --output`` of two runs; over the number of runs: benchmarks/compare.py."""
    hierarchy, rng = dag(classes), np.random.default_rng(0)
    targets = hierarchy.ancestors_of(torch.from_numpy(rng.integers(0, classes, 100))).numpy()
    for template, method in enumerate(("first", "second")):
        write_run(folder / "runs" / method, hierarchy, targets, method, 0, template)
    sys.argv = ["hmc", "compare", str(folder / "runs"), "--output", str(folder / "report")]
    return hmc


ROWS = (1_000, 10_000, 100_000, 1_000_000, 3_000_000)
CLASSES = (100, 1_000, 10_000, 50_000)
IMAGES = (1_000, 10_000, 100_000)
STEPS: dict[str, tuple[str, tuple[int, ...], Callable[[Path, int], Step]]] = {
    "read table, csv": ("rows", ROWS, read_table),
    "read table, parquet": ("rows", ROWS, partial(read_table, kind="parquet")),
    "cache, write and read": ("rows", ROWS, cache_rows),
    "train on a table": ("rows", ROWS, train),
    "predict, csv": ("rows", ROWS, predict),
    "predict, parquet": ("rows", ROWS, partial(predict, kind="parquet")),
    "au_prc, 100 classes": ("rows", ROWS, partial(of_rows, of="au_prc")),
    "mAP, 100 classes": ("rows", ROWS, partial(of_rows, of="mAP")),
    "Fmax, 100 classes": ("rows", ROWS, partial(of_rows, of="Fmax")),
    "summarize, 100 classes": ("rows", ROWS, partial(of_rows, of="summarize")),
    "au_prc, 1000 classes, mapped": ("rows", ROWS, partial(metric, classes=1000, of="au_prc", mapped=True)),
    "mAP, 1000 classes, mapped": ("rows", ROWS, partial(metric, classes=1000, of="mAP", mapped=True)),
    "Fmax, 1000 classes, mapped": ("rows", ROWS, partial(metric, classes=1000, of="Fmax", mapped=True)),
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
    before, start = memory("VmRSS"), time.process_time()
    with redirect_stdout(StringIO()):
        step()
    print(json.dumps({"seconds": time.process_time() - start, "mib": memory("VmHWM") - before}))


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
    axes[0].set(xlabel="rows, classes or images", ylabel="processor seconds")
    axes[1].set(xlabel="rows, classes or images", ylabel="peak memory, MiB")
    axes[0].legend(fontsize="small")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="steps whose name has this in it")
    parser.add_argument("--smallest", type=int, default=0)
    parser.add_argument(
        "--largest", type=int, default=10**6, help="3000000 for predict, whose memory is constant"
    )
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
