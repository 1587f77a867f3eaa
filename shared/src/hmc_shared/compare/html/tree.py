"""The hierarchy as an SVG drawing: a line for each class, its average precision in colour."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from hmc_shared.compare.html.pictures import shade
from hmc_shared.compare.inspection import Inspection
from hmc_shared.hierarchy import Hierarchy

LINE, INDENT, CELL = 22, 18, 58  # pixels
LONGEST_NAME = 34


def choose_nodes(hierarchy: Hierarchy, ap: np.ndarray, limit: int) -> list[int]:
    """At most ``limit`` classes to draw, each with its first parent: the worst AP (C,), then the top levels.

    Half of the lines go to the classes with the lowest AP and their ancestors. All classes if there are no
    more than ``limit``.
    """
    if len(hierarchy) <= limit:
        return list(range(len(hierarchy)))
    nodes: set[int] = set()
    for node in np.argsort(ap, kind="stable")[: int((~np.isnan(ap)).sum())].tolist():
        path = {node}
        while parents := hierarchy.parents(node):
            node = parents[0]
            path.add(node)
        if len(nodes | path) <= limit // 2:
            nodes |= path
    for node in range(len(hierarchy)):  # ids run by depth: parents come before their children
        if len(nodes) < limit and nodes.issuperset(hierarchy.parents(node)[:1]):
            nodes.add(node)
    return sorted(nodes)


def draw_tree(inspection: Inspection, labels: list[str], limit: int = 80) -> tuple[str, int]:
    """An ``<svg>`` of the hierarchy, and how many classes it shows.

    One line a class, below its first parent (others are named in the tooltip), with the number of its test
    samples and a cell for each of ``labels``, the rows of the table: AP, mean over seeds.
    """
    hierarchy = inspection.hierarchy
    known = ~np.isnan(inspection.ap).all(0)
    mean = np.full(len(hierarchy), np.nan)
    mean[known] = np.nanmean(inspection.ap[:, known], axis=0)
    nodes = choose_nodes(hierarchy, mean, limit)
    low = colour_floor(inspection.ap[:, nodes])

    shown, order = set(nodes), []
    stack = [node for node in reversed(nodes) if not hierarchy.parents(node)]
    while stack:
        node = stack.pop()
        order.append(node)
        below = [c for c in hierarchy.children(node) if c in shown and hierarchy.parents(c)[0] == node]
        stack += reversed(below)
    line_of = {node: number for number, node in enumerate(order)}

    depths = hierarchy.depth.tolist()
    longest = max(min(len(short_name(hierarchy, node)), LONGEST_NAME) for node in order)
    first_cell = 40 + INDENT * max(depths[node] for node in order) + 8 * longest + 60
    top = 16 + int(5.5 * max(map(len, labels)))  # the labels stand at an angle
    width, height = first_cell + CELL * len(labels) + 110, top + LINE * len(order) + 6
    parts = [
        f'<svg class="tree" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        'font-size="13" fill="#1a1a1a">'
    ]
    parts.append(_text(first_cell - 12, top - 8, "samples", "end", ' font-size="12"'))
    for column, label in enumerate(labels):
        x = first_cell + CELL * column + 20
        parts.append(
            f'<text transform="translate({x},{top - 8}) rotate(-35)" font-size="12">{escape(label)}</text>'
        )
    for node in order:
        parts += _line(inspection, node, line_of, depths, mean, low, top, first_cell, labels)
    return "\n".join([*parts, "</svg>"]), len(order)


def colour_floor(ap: np.ndarray) -> float:
    """Lower end of the colour scale: the lowest AP, rounded down to a twentieth."""
    known = ap[~np.isnan(ap)]
    return math.floor(known.min() * 20) / 20 if len(known) else 0.0


def short_name(hierarchy: Hierarchy, node: int) -> str:
    """The name without its parent's name in front, as in animal/cat."""
    name = hierarchy.names[node]
    for parent in hierarchy.parents(node):
        for separator in "/.":
            if name.startswith(hierarchy.names[parent] + separator):
                return name[len(hierarchy.names[parent]) + 1 :]
    return name


def _line(
    inspection: Inspection,
    node: int,
    line_of: dict[int, int],
    depths: list[int],
    mean: np.ndarray,
    low: float,
    top: int,
    first_cell: int,
    labels: list[str],
) -> list[str]:
    hierarchy = inspection.hierarchy
    x, y = 14 + INDENT * depths[node], top + LINE * line_of[node] + LINE // 2
    parts = []
    parents, children = hierarchy.parents(node), hierarchy.children(node)
    if parents:
        from_x, from_y = 14 + INDENT * depths[parents[0]], top + LINE * line_of[parents[0]] + LINE // 2
        parts.append(f'<path d="M{from_x},{from_y + 6} V{y} H{x - 6}" fill="none" stroke="#b5b5b5"/>')
    hidden = sum(child not in line_of for child in children)
    name = short_name(hierarchy, node)
    text = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    about = [hierarchy.names[node], f"{inspection.positives[node]} test samples"]
    if len(parents) > 1:
        about.append("parents: " + ", ".join(hierarchy.names[parent] for parent in parents))
    if hidden:
        about.append(f"{hidden} of {len(children)} children are not drawn here")
    text += (" *" if len(parents) > 1 else "") + (f"  +{hidden}" if hidden else "")
    fill, _ = shade(mean[node], low, 1)
    parts += [
        f"<g><title>{escape('; '.join(about))}</title>",
        f'<circle cx="{x}" cy="{y}" r="6" fill="{fill}" stroke="#555555" stroke-width="0.6"/>',
        _text(x + 12, y + 4, text),
        _text(first_cell - 12, y + 4, str(inspection.positives[node]), "end", ' fill="#666666"') + "</g>",
    ]
    numbers = (of_classes[:, node] for of_classes in (inspection.ap, inspection.auroc, inspection.threshold))
    for column, (label, value, roc, threshold) in enumerate(zip(labels, *numbers, strict=True)):
        tooltip = f"{hierarchy.names[node]}, {label}: AUROC {number(roc)}"
        tooltip += "" if math.isnan(threshold) else f", threshold {number(threshold)}"
        fill, ink = shade(value, low, 1)
        left = first_cell + CELL * column
        parts += [
            f"<g><title>{escape(tooltip)}</title>",
            f'<rect x="{left}" y="{y - 10}" width="{CELL - 2}" height="{LINE - 2}" fill="{fill}"/>',
            _text(left + CELL // 2 - 1, y + 4, number(value), "middle", f' font-size="12" fill="{ink}"')
            + "</g>",
        ]
    return parts


def _text(x: int, y: int, text: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def number(value: float) -> str:
    """Three digits; a dash for what is undefined."""
    return "-" if math.isnan(value) else f"{value:.3f}"
