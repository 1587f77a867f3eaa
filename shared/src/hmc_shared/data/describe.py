"""What data sets there are, and what is in one: as text and as a picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hmc_shared.data.catalog import CATALOG, added_entries
from hmc_shared.data.dataset import HierarchicalDataset, Split
from hmc_shared.data.image_table import ImageTable
from hmc_shared.data.storage.find import LABELS, find_files, find_folder, find_folders, find_sets


def available(data_dir: str | Path | None = None) -> list[tuple[str, str, str]]:
    """All data sets that :func:`hmc_shared.data.load_dataset` knows, and all that lie in a folder.

    Rows are (name, kind, where): kind is "embedded", "images", "CLUS", "Mulan" or "added" (by another
    distribution), where is the folder of the files, or "" for a published set that is not there. ``data_dir``
    defaults to the environment variable HMC_DATA. Raises ValueError if it is no folder.
    """
    data_dir = data_dir or os.environ.get("HMC_DATA")
    built_in = [entry for entry in CATALOG.values() if entry.kind == "embedded"] + added_entries()
    rows = [(entry.name, entry.kind, "built in") for entry in built_in]
    for name in (name for name, entry in CATALOG.items() if entry.kind == "images"):
        present = data_dir and any(find_folders(name, data_dir))
        rows.append(
            (name, "images", _where(lambda name=name: find_folder(name, data_dir)) if present else "")
        )
    sets = find_sets(data_dir) if data_dir else {}
    present = {name.lower() for name in sets}
    kind_of = {
        name: entry.kind
        for name, entry in CATALOG.items()
        if entry.kind in ("CLUS", "Mulan") and name.lower() not in present
    }
    kind_of |= {name: "Mulan" if LABELS in parts else "CLUS" for name, parts in sets.items()}
    for name, kind in sorted(kind_of.items(), key=lambda item: item[0].lower()):
        where = ""
        if data_dir and name in sets:
            where = _where(lambda name=name: next(iter(find_files(name, data_dir)[1].values())).parent)
        rows.append((name, kind, where))
    return rows


def _where(find: Callable[[], Path]) -> str:
    try:
        return str(find())
    except ValueError as error:
        return f"incomplete: {error}"


def describe(dataset: HierarchicalDataset) -> str:
    """Text: splits, levels, long tail, origin. Labels are counted over evaluated classes, closed."""
    hierarchy, evaluated = dataset.hierarchy, dataset.evaluated
    shape = "tree" if hierarchy.is_tree else "DAG"
    left_out = int((~evaluated).sum())
    lines = [
        f"{dataset.name}: {_inputs(dataset)}",
        f"{shape} of {len(hierarchy)} classes, {len(hierarchy.edges)} edges, {hierarchy.num_levels} levels",
        f"classes left out of the evaluation: {left_out or 'none'}",
        "labels: " + ("one path for each sample" if dataset.is_single_path else "several paths for a sample"),
        "",
    ]
    rows = [("split", "samples", "labels per sample", "density", "classes without positives")]
    for name, split in dataset.splits.items():
        per_sample = cardinality(split, evaluated.numpy())
        without = int((~split.targets.any(0) & evaluated).sum())
        rows.append(
            (name, f"{len(split)}", f"{per_sample:.2f}", f"{per_sample / evaluated.sum():.4f}", f"{without}")
        )
    lines += [*_table(rows), ""]

    rows = [("level", "classes", "leaves", "labels per training sample")]
    leaves = set(hierarchy.leaves.tolist())
    for depth, level in enumerate(hierarchy.levels):
        mask = np.zeros(len(hierarchy), dtype=bool)
        mask[level.start : level.stop] = evaluated[level.start : level.stop]
        count = sum(node in leaves for node in level)
        rows.append((f"{depth}", f"{len(level)}", f"{count}", f"{cardinality(dataset.train, mask):.2f}"))
    lines += [*_table(rows), ""]

    rows = [("training positives", "classes", "without test positives")]
    tested = dataset.test.targets.any(0).numpy()
    for title, mask in long_tail(dataset).items():
        rows.append((title, f"{mask.sum()}", f"{(mask & ~tested).sum()}"))
    lines += [*_table(rows), ""]
    lines += [f"note: {note}" for note in dataset.notes]
    lines += [f"source: {file} sha256 {digest[:16]}" for file, digest in dataset.sources.items()]
    return "\n".join([*lines, f"checksum: {dataset.checksum}"])


def _inputs(dataset: HierarchicalDataset) -> str:
    """Kind and shape of an input, or the range of the sizes of encoded images."""
    if not isinstance(dataset.train.inputs, ImageTable):
        return f"{' x '.join(map(str, dataset.train.inputs.shape[1:]))} {dataset.kind} inputs"
    sizes = image_sizes(dataset)
    (width, height), (widest, highest) = sizes.min(0), sizes.max(0)
    median = " x ".join(f"{side:.0f}" for side in np.median(sizes, axis=0))
    return f"images {width} to {widest} pixels wide, {height} to {highest} high, median {median}"


def image_sizes(dataset: HierarchicalDataset) -> np.ndarray:
    """(n, 2) width and height of all encoded images of a data set, none if its images are tensors."""
    tables = [split.inputs.sizes for split in dataset.splits.values() if isinstance(split.inputs, ImageTable)]
    return np.concatenate([np.zeros((0, 2), dtype=np.int32), *tables])


def cardinality(split: Split, mask: np.ndarray) -> float:
    """Mean number of positive classes of a sample among those in ``mask`` (C,)."""
    return float(split.targets.numpy()[:, mask].sum() / len(split))


def long_tail(dataset: HierarchicalDataset) -> dict[str, np.ndarray]:
    """(C,) masks of the evaluated classes, by the number of their training positives."""
    from hmc_shared.metrics.ranking import head_medium_tail

    counts, evaluated = dataset.train_counts.numpy(), dataset.evaluated.numpy()
    groups = head_medium_tail(counts)
    return {
        "head (100 or more)": groups["head"] & evaluated,
        "medium (20 to 99)": groups["medium"] & evaluated,
        "tail (1 to 19)": groups["tail"] & evaluated & (counts > 0),
        "none": evaluated & (counts == 0),
    }


def plot_description(dataset: HierarchicalDataset, path: str | Path) -> None:
    """Draw classes per level, class frequencies in training, and the sizes of encoded images to ``path``.

    The format follows the name (.png, .svg, .pdf). Raises ValueError for a format that cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    images = image_sizes(dataset)
    panels = 3 if len(images) else 2
    figure = Figure(figsize=(5 * panels, 3.8), layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: no window and no global state
    sizes, tail, *rest = figure.subplots(1, panels)
    levels = dataset.hierarchy.levels
    bars = sizes.bar(range(len(levels)), [len(level) for level in levels], color="#4878a8")
    sizes.bar_label(bars, fontsize=8)
    sizes.set(title="classes per level", xlabel="depth (longest path from a root)", xticks=range(len(levels)))

    counts = np.sort(dataset.train_counts.numpy()[dataset.evaluated.numpy()])[::-1]
    tail.step(np.arange(1, len(counts) + 1), np.maximum(counts, 0.5), where="mid", color="#c44e52")
    for threshold, name in ((100, "head"), (20, "medium")):
        tail.axhline(threshold, color="grey", linewidth=0.8, linestyle="--")
        tail.text(len(counts), threshold * 1.08, f"{name} above", ha="right", fontsize=8, color="grey")
    tail.set(yscale="log", title="training samples of each class", xlabel="class, most frequent first")
    empty = int((counts == 0).sum())
    if empty:
        tail.text(len(counts), 0.54, f"{empty} without", ha="right", fontsize=8)
    for axes in rest:
        different, occurrences = np.unique(images, axis=0, return_counts=True)
        area = 4 + 300 * occurrences / occurrences.max()
        axes.scatter(*different.T, s=area, alpha=0.5, color="#55a868", linewidths=0)
        axes.set(title="image sizes in pixels", xlabel="width", ylabel="height")
    figure.suptitle(
        f"{dataset.name}: {len(dataset.hierarchy)} classes, {len(dataset.train)} training samples"
    )
    figure.savefig(path, dpi=150)


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns aligned, the first to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
