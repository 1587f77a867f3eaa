"""Predictions as tables, wide, long or by levels, and as records of JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from hmc_shared.data.formats.cells import Column
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import shown


@dataclass(frozen=True)
class Predictions:
    """What a model says of n inputs."""

    ids: list[str]
    """Their names."""
    hierarchy: Hierarchy
    probabilities: Tensor
    """(n, C) float32, calibrated."""
    labels: Tensor
    """(n, C) bool, ancestors included."""
    kept: Mapping[str, Column] = field(default_factory=dict[str, Column])
    """Columns of the inputs that the result has, too, by name."""

    def parts(self, rows: int) -> Iterator[Predictions]:
        """The same, so many rows at a time."""
        for start in range(0, len(self.ids), rows):
            of = slice(start, start + rows)
            kept = {name: column.slice(start, rows) for name, column in self.kept.items()}
            yield Predictions(self.ids[of], self.hierarchy, self.probabilities[of], self.labels[of], kept)


def layout_table(layout: str, top_k: int | None) -> Callable[[Predictions], pa.Table]:
    """What makes a table of predictions, in one of the formats of ``--format`` but JSON."""
    if layout == "levels":
        return by_levels
    return partial(long if layout == "long" else wide, top_k=top_k)


def wide(block: Predictions, top_k: int | None = None) -> pa.Table:
    """A row for each sample: id, what is kept, labels, and the probability of each class.

    With ``top_k`` instead of the latter class_1, probability_1, class_2, ..., the most probable leaves.
    """
    columns = _first(block, "id", "labels")
    columns["labels"] = pa.array(list(label_names_of(block)), pa.list_(pa.string()))
    if top_k is None:
        for name, p in zip(block.hierarchy.names, block.probabilities.T.numpy(), strict=True):
            columns[_free(name, columns, " (class)")] = pa.array(p)
        return pa.table(columns)
    nodes, p = top_leaves(block, top_k)
    for rank in range(nodes.shape[1]):
        columns[f"class_{rank + 1}"] = _names(block.hierarchy, nodes[:, rank])
        columns[f"probability_{rank + 1}"] = pa.array(p[:, rank].numpy())
    return pa.table(columns)


def long(block: Predictions, top_k: int | None = None) -> pa.Table:
    """A row for each sample and class: id, what is kept, class, probability, and whether it is a label.

    With ``top_k``, of the most probable leaves alone, the best first.
    """
    n, width = block.probabilities.shape
    if top_k is None:
        nodes, p = torch.arange(width).expand(n, width), block.probabilities
    else:
        nodes, p = top_leaves(block, top_k)
    columns = _first(block, "id", "class", "probability", "label")
    rows = pa.array(np.repeat(np.arange(n), nodes.shape[1]))
    columns = {name: column.take(rows) for name, column in columns.items()}
    columns["class"] = _names(block.hierarchy, nodes.flatten())
    columns["probability"] = pa.array(p.flatten().numpy())
    columns["label"] = pa.array(block.labels.gather(1, nodes).flatten().numpy())
    return pa.table(columns)


def by_levels(block: Predictions) -> pa.Table:
    """A row for each sample: id, what is kept, and of each level the class and its probability.

    Null below the end of a path. Raises ValueError for a sample with several classes in a level.
    """
    names = [f"{what}_{depth}" for depth in range(block.hierarchy.num_levels) for what in _OF_LEVEL]
    columns = _first(block, "id", *names)
    for depth, level in enumerate(block.hierarchy.levels):
        of = slice(level.start, level.stop)
        own = block.labels[:, of]
        if len(several := (own.sum(1) > 1).nonzero()):
            raise ValueError(
                f"`--format levels` is for samples of one path each. Found {shown(block.ids[several[0, 0]])} "
                "with several classes in a level: `--format wide` writes all."
            )
        best = own.int().argmax(1)
        is_below = ~own.any(1)
        p = block.probabilities[:, of].gather(1, best[:, None]).squeeze(1)
        columns[f"level_{depth}"] = _names(block.hierarchy, (best + level.start).masked_fill(is_below, -1))
        columns[f"probability_{depth}"] = pa.array(p.numpy(), mask=is_below.numpy())
    return pa.table(columns)


_OF_LEVEL = ("level", "probability")


def to_records(block: Predictions, top_k: int | None = None) -> Iterator[dict[str, Any]]:
    """Of each sample its ``id``; ``kept``, if columns are; ``answer``, the most specific labels; and all
    ``probabilities`` by class, or with ``top_k`` instead ``top``, the most probable leaves.

    Labels and leaves have each a ``class``, its ``probability`` and its ``path``, ancestors, then itself.
    """
    names, hierarchy = block.hierarchy.names, block.hierarchy
    answers = hierarchy.most_specific(block.labels)
    top = top_leaves(block, top_k)[0] if top_k else answers
    kept = [dict(zip(block.kept, row, strict=True)) for row in zip(*_plain(block), strict=True)]
    for at, (name, answer, of_row) in enumerate(zip(block.ids, answers, block.probabilities, strict=True)):
        row = shortest(of_row)

        def entry(node: int, row: list[float] = row) -> dict[str, Any]:
            path = [names[i] for i in hierarchy.path_to(node)]
            return {"class": names[node], "probability": row[node], "path": path}

        record: dict[str, Any] = {"id": name} | ({"kept": kept[at]} if block.kept else {})
        record["answer"] = [entry(node) for node in answer.nonzero().flatten().tolist()]
        if top_k:
            record["top"] = [entry(node) for node in top[at].tolist()]
        else:
            record["probabilities"] = dict(zip(names, row, strict=True))
        yield record


def label_names_of(block: Predictions) -> Iterator[list[str]]:
    """The names of each sample's labels, ancestors first."""
    names = block.hierarchy.names
    return ([names[i] for i in row.nonzero()[0]] for row in block.labels.numpy())


def top_leaves(block: Predictions, k: int) -> tuple[Tensor, Tensor]:
    """The k most probable leaves of each sample, or all where there are fewer, the best first.

    Two tensors (n, k): int64 nodes, and their probabilities.
    """
    leaves = block.hierarchy.leaves
    p, order = torch.sort(block.probabilities[:, leaves], dim=1, descending=True, stable=True)
    return leaves[order[:, :k]], p[:, :k]


def shortest(p: Tensor) -> list[float]:
    """float32 numbers as the shortest ones that are read as the same: 0.1, not 0.10000000149011612."""
    return p.numpy().astype(str).astype(np.float64).tolist()


def _first(block: Predictions, first: str, *taken: str) -> dict[str, Any]:
    """The columns that come first, by name; where a kept one is called as another, " (input)" is added."""
    columns: dict[str, Any] = {first: pa.array(block.ids, pa.string())}
    for name, column in block.kept.items():
        columns[_free(name, [*columns, *taken], " (input)")] = column
    return columns


def _free(name: str, taken: Any, more: str) -> str:
    while name in taken:
        name += more
    return name


def _names(hierarchy: Hierarchy, nodes: Tensor) -> pa.Array:
    """The names of nodes (n,), null for -1."""
    names = pa.array([*hierarchy.names, None], pa.string())
    return names.take(pa.array(nodes.numpy() % len(names)))


def _plain(block: Predictions) -> list[list[Any]]:
    """The kept columns as values that JSON has; what it has not, such as a date, as text."""
    kinds = (str, int, float, list, dict, type(None))
    columns = [column.to_pylist() for column in block.kept.values()]
    return [[cell if isinstance(cell, kinds) else str(cell) for cell in column] for column in columns]
