"""Depth by longest path in a directed graph, and the cycle that stands in its way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hmc_shared.messages import clipped

Edge = tuple[str, str]
SHOWN = 8  # nodes of a cycle that a message spells out


class CycleError(ValueError):
    """A cycle: its nodes from parent to child, the first one again at the end."""

    def __init__(self, cycle: Sequence[str]) -> None:
        self.cycle = list(cycle)
        names = [clipped(node) for node in self.cycle]
        if len(names) > SHOWN + 1:
            names[SHOWN - 2 : -2] = [f"({len(names) - SHOWN} more)"]
        super().__init__(f"The hierarchy has a cycle: {' -> '.join(names)}.")


def longest_path_depth(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Depth of each node, by Kahn's algorithm. Raises CycleError, a ValueError that spells out a cycle."""
    children: dict[str, list[str]] = {node: [] for node in nodes}
    waiting = dict.fromkeys(nodes, 0)  # parents not yet placed
    for parent, child in edges:
        children[parent].append(child)
        waiting[child] += 1
    depth = dict.fromkeys(nodes, 0)
    ready = [node for node in nodes if not waiting[node]]
    placed = 0
    while ready:
        placed += len(ready)
        following = []
        for node in ready:
            for child in children[node]:
                depth[child] = max(depth[child], depth[node] + 1)
                waiting[child] -= 1
                if not waiting[child]:
                    following.append(child)
        ready = following
    if placed < len(nodes):
        raise CycleError(_find_cycle(edges, waiting))
    return depth


def _find_cycle(edges: Sequence[Edge], waiting: Mapping[str, int]) -> list[str]:
    """A cycle among the nodes that could not be placed: each of them has an unplaced parent."""
    unplaced_parent = {child: parent for parent, child in edges if waiting[parent] and waiting[child]}
    node = next(iter(unplaced_parent))
    place: dict[str, int] = {}
    while node not in place:
        place[node] = len(place)
        node = unplaced_parent[node]
    return [node, *list(place)[place[node] :][::-1]]
