"""What ``hcal plot`` draws: no global figure, no display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hmc_shared import Hierarchy

LEGEND = 20  # classes that can be told apart by colour and are named
NO_CLASS = "#d9d9d9"  # samples whose path ends above the level
SHAPES = {"*": "stars", "o": "circles"}


def draw_features(
    stages: Mapping[str, tuple[np.ndarray, np.ndarray]],
    paths: np.ndarray,
    hierarchy: Hierarchy,
    rows: Sequence[Mapping[int, str]],
) -> Figure:
    """Features and prototypes in the plane: a row of panels for each of ``rows``, a column for each stage.

    Args:
        stages: title to the places of features (n, 2), and of the prototypes of all classes (C, 2).
        paths: (n, L) true class of each sample in each level, -1 below the end of its path.
        hierarchy: the C classes, a tree.
        rows: depths whose prototypes are shown, with their markers, "*" or "o". The highest of these levels
            colours all: features by their true class there, prototypes by their ancestor.
    """
    figure = Figure(figsize=(4.2 * len(stages) + 1.6, 3.8 * len(rows) + 0.4), layout="constrained")
    panels = figure.subplots(len(rows), len(stages), squeeze=False)
    for markers, line in zip(rows, panels, strict=True):
        depth = min(markers)
        level = hierarchy.levels[depth]
        colours = level_colours(hierarchy, depth)
        of_node = colours[ancestor_places(hierarchy, level)]  # (C, 4), of use from `depth` down
        labels = paths[:, depth]
        of_sample = np.where(labels[:, None] < 0, to_rgba(NO_CLASS), of_node[labels])
        for axes, (title, (points, prototypes)) in zip(line, stages.items(), strict=True):
            axes.set(title=title, xticks=[], yticks=[])
            axes.spines[:].set_color("#bbbbbb")
            size = np.clip(12_000 / len(points), 5, 16)
            # Pixels also in an SVG: thousands of points would make megabytes.
            axes.scatter(*points.T, c=of_sample, s=size, alpha=0.75, linewidths=0, rasterized=True)
            for shown, marker in markers.items():
                nodes = hierarchy.levels[shown]
                size = (130 if marker == "*" else 70) * (1 if len(nodes) <= LEGEND else 0.4)
                style = {"marker": marker, "edgecolors": "black", "linewidths": 0.7, "zorder": 3}
                axes.scatter(*prototypes[nodes].T, c=of_node[nodes], s=size, **style)
        levels = [f"level {d} ({SHAPES[m]}, {len(hierarchy.levels[d])} classes)" for d, m in markers.items()]
        line[0].set_ylabel("\n".join(levels))
        if len(level) <= LEGEND:
            style: dict[str, Any] = {
                "linestyle": "",
                "marker": markers[depth],
                "markeredgecolor": "black",
                "markersize": 8,
            }
            handles = [Line2D([], [], color=of_node[i], label=hierarchy.names[i], **style) for i in level]
            place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
            line[-1].legend(handles=handles, **place, frameon=False, fontsize=8)
    return figure


def ancestor_places(hierarchy: Hierarchy, level: range) -> np.ndarray:
    """(C,) int64: the place in a level of each class in it or below it, 0 for others."""
    places = torch.zeros(len(hierarchy), dtype=torch.int64)
    places[level.start : level.stop] = torch.arange(len(level))
    for parents, children in reversed(hierarchy.edges_bottom_up):
        below = children >= level.stop
        places[children[below]] = places[parents[below]]
    return places.numpy()


def level_colours(hierarchy: Hierarchy, depth: int) -> np.ndarray:
    """(P, 4) a colour for each class of a level; from 21 classes on, hues in the order of the tree."""
    level = hierarchy.levels[depth]
    if len(level) <= LEGEND:
        strong_first = [*range(0, 20, 2), *range(1, 20, 2)]
        return colormaps["tab20"](strong_first[: len(level)])
    in_tree = sorted(level, key=hierarchy.path_to)
    colours = np.empty((len(level), 4))
    colours[np.array(in_tree) - level.start] = colormaps["gist_rainbow"](np.linspace(0, 1, len(level)))
    return colours
