"""What ``explain`` draws. As in :mod:`hmc_shared.compare.plots`: no global figure."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hmc_shared.compare.plots import COLOURS
from mulsupcon_ld.explanation import Explanation

LOGICAL, OTHER = COLOURS[0], "#c8c8c8"
NAMED = 40  # classes whose names have room below a map
LINES = 500  # of a map, at most


def draw_samples(explanation: Explanation) -> Figure:
    """A panel of bars for each sample: degrees of its own labels, in colour, and of the highest others.

    On a hierarchy, the line below a sample's id is the mass of each level, the top one first.
    """
    columns = min(3, len(explanation.ids))
    rows = -(-len(explanation.ids) // columns)
    tallest = max(len(explanation.shown_labels(row)) for row in range(len(explanation.ids)))
    size = (4.2 * columns, (0.22 * tallest + 0.9) * rows + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    mass, names = explanation.level_mass(), explanation.hierarchy.names
    longest = 1.05 * float(explanation.degrees.max())
    for row, axes in enumerate(panels):
        if row >= len(explanation.ids):
            axes.set_axis_off()
            continue
        shown = explanation.shown_labels(row)[::-1]  # bars go from the bottom up
        is_label = explanation.labels[row, shown]
        colours = np.where(is_label, LOGICAL, OTHER)
        axes.barh(range(len(shown)), explanation.degrees[row, shown], color=colours)
        axes.set_yticks(range(len(shown)), [names[label] for label in shown])
        for text, is_logical in zip(axes.get_yticklabels(), is_label, strict=True):
            text.set_color(LOGICAL if is_logical else "black")
        title = explanation.ids[row]
        if mass.shape[1] > 1:
            title += "\nlevels: " + "  ".join(f"{value:.2f}" for value in mass[row])
        axes.set_title(title, loc="left", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(0, longest)
    handles = [Patch(color=LOGICAL, label="logical label"), Patch(color=OTHER, label="other label")]
    style = {"frameon": False, "fontsize": 9, "title_fontsize": 9}
    title = "degree in the recovered distribution"
    figure.legend(handles=handles, title=title, loc="outside lower center", ncols=2, **style)
    return figure


def draw_maps(explanation: Explanation) -> Figure:
    """Two maps, a line for each sample and a column for each label: logical labels, recovered degrees.

    Samples with the same labels stand together; of more than 500, a line is the mean of neighbours. On a
    hierarchy, lines part the levels, and bars on the right show the mean mass of each.
    """
    labels, degrees, hierarchy = explanation.labels, explanation.degrees, explanation.hierarchy
    order = np.array_split(np.lexsort(~labels.T[::-1]), min(LINES, len(labels)))
    has_levels = hierarchy.num_levels > 1
    ratios = [4, 4, 1.2] if has_levels else [4, 4]
    figure = Figure(figsize=(1.3 * sum(ratios), 5.2), layout="constrained")
    panels = figure.subplots(1, len(ratios), width_ratios=ratios)
    maps = {"logical labels": (labels, "Greys"), "recovered distributions": (degrees, "viridis")}
    images = []
    for axes, (title, (values, colours)) in zip(panels, maps.items(), strict=False):
        lines = np.stack([values[rows].mean(0) for rows in order])
        images.append(axes.imshow(lines, aspect="auto", cmap=colours, vmin=0, interpolation="nearest"))
        axes.set_title(title, loc="left", fontsize=11)
        axes.set(xlabel="label", yticks=[])
        if len(hierarchy) <= NAMED:
            axes.set_xticks(range(len(hierarchy)), hierarchy.names, rotation=90, fontsize=7)
        for level in hierarchy.levels[1:]:
            axes.axvline(level.start - 0.5, color=COLOURS[1] if axes is panels[0] else "white", linewidth=1)
    panels[0].set_ylabel(f"{len(labels)} samples")
    figure.colorbar(images[1], ax=panels[1], label="degree")
    if has_levels:
        depths = range(hierarchy.num_levels)
        panels[2].bar(depths, explanation.level_mass().mean(0), color=COLOURS[0])
        panels[2].set_title("mean mass", loc="left", fontsize=11)
        panels[2].set(xlabel="level", xticks=depths, ylim=(0, 1))
        panels[2].spines[["top", "right"]].set_visible(False)
    return figure
