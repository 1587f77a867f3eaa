"""What a data set contains, as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.describe import image_sizes


def plot_description(dataset: HierarchicalDataset, path: str | Path) -> None:
    """Plot classes per level, class frequencies in training, and sizes of encoded images, to ``path``.

    The format follows the name (.png, .svg, .pdf). Raises ValueError for a format that cannot be written.
    """
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
        f"{dataset.name}: {len(dataset.hierarchy)} classes, {len(dataset.train)} training samples",
        parse_math=False,
    )
    figure.savefig(path, dpi=150)
