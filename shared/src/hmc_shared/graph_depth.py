"""Depth by longest path in a directed graph, and the cycle that stands in its way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Edge = tuple[str, str]


def longest_path_depth(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Depth of each node, by Kahn's algorithm. Raises ValueError that spells out a cycle."""
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
        raise ValueError(f"The hierarchy has a cycle: {' -> '.join(_find_cycle(edges, waiting))}.")
    return depth


def _find_cycle(edges: Sequence[Edge], waiting: Mapping[str, int]) -> list[str]:
    """A cycle among the nodes that could not be placed: each of them has an unplaced parent."""
    unplaced_parent = {child: parent for parent, child in edges if waiting[parent] and waiting[child]}
    path = [next(iter(unplaced_parent))]
    while (parent := unplaced_parent[path[-1]]) not in path:
        path.append(parent)
    return [parent, *path[path.index(parent) :][::-1]]
