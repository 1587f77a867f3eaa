"""``hmc rollup``: anybody's scores of classes, summed up a hierarchy and answered as deep as is certain."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hmc_shared.array_files import read_arrays
from hmc_shared.cli.bounds import check_output
from hmc_shared.cli.rollup import Rollup
from hmc_shared.data.formats.features import numbers_of
from hmc_shared.data.formats.label_cells import known_labels, labels_of_levels
from hmc_shared.data.formats.level_columns import split_levels
from hmc_shared.data.formats.table import read_edges
from hmc_shared.data.formats.table_file import open_table
from hmc_shared.data.storage.raw import targets_of
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import listed, shown
from hmc_shared.predict.layout import Predictions
from hmc_shared.predict.rollup import choose_rule, describe, outcomes_of, write_curve
from hmc_shared.predict.write import write_predictions
from hmc_shared.runs.read import load_hierarchy

TOLERANCE = 1e-3
"""By which probabilities of a row may add up to more than 1, as rounded ones do."""


@dataclass(frozen=True)
class Scored:
    """Rows with scores of classes."""

    ids: list[str]
    probabilities: Tensor
    """(n, C) float64: of all classes of the hierarchy, none above its parent's."""
    labels: list[list[int]] | None = None
    """Of each row the known classes, at least one."""


def command(config: Rollup) -> None:
    """Write the answers, and on standard error what they promise. Raises ValueError for what is wrong."""
    check_output(config.output)
    check_output(config.curve, "curve")
    hierarchy = hierarchy_of(config.hierarchy, config.levels)
    known = read_scores(config.calibration, hierarchy, softmax=config.softmax, labelled=True)
    asked = read_scores(config.scores, hierarchy, softmax=config.softmax)
    targets = torch.from_numpy(targets_of(known.labels or [], hierarchy))
    rule = choose_rule(config, known.probabilities, targets, hierarchy, config.calibration)
    print(rule.promise, file=sys.stderr)
    outcomes = outcomes_of(known.probabilities, targets, hierarchy)
    if not config.sets:
        print(describe(outcomes, rule.threshold), file=sys.stderr)
    if config.curve:
        write_curve(config.curve, outcomes)
    labels = rule.labels(asked.probabilities, hierarchy)
    result = Predictions(asked.ids, hierarchy, asked.probabilities.float(), labels)
    write_predictions(config.output, [result], layout=config.layout, top_k=config.top_k)


def hierarchy_of(path: str, levels: str | None) -> Hierarchy:
    """The classes of a hierarchy.json, an edge list, or columns of levels; ValueError if it is none."""
    if levels is not None:
        return labels_of_levels(open_table(path), split_levels(levels))[0]
    return load_hierarchy(path) if Path(path).suffix.lower() == ".json" else read_edges(Path(path))


def read_scores(path: str, hierarchy: Hierarchy, *, softmax: bool = False, labelled: bool = False) -> Scored:
    """Rows of a table or an archive. Raises ValueError, naming file, row and column, for what is wrong.

    Probabilities are summed up the hierarchy, unless all its classes have one, as ``predict`` writes them.
    """
    if Path(path).suffix.lower() == ".npz":
        ids, classes, scores, labels, where = _of_archive(path, hierarchy, labelled)
    else:
        ids, classes, scores, labels, where = _of_table(path, hierarchy, labelled)
    if not classes:
        raise ValueError(
            f"{path} should have scores of classes such as {listed(hierarchy.names, 3)}. Found none."
        )
    if not len(scores):
        raise ValueError(f"{path} should have rows. Found none.")
    nodes = [hierarchy.index[name] for name in classes]
    mass = torch.from_numpy(scores).double()
    is_whole = len(nodes) == len(hierarchy)
    _check(scores, classes, where, softmax, is_whole)
    if is_whole and not softmax:
        return Scored(ids, mass[:, torch.tensor(nodes).argsort()], labels)
    mass = mass.softmax(1) if softmax else mass
    own = hierarchy.ancestors_of(torch.tensor(nodes)).double()
    return Scored(ids, (mass @ own).clamp(max=1.0), labels)


_KINDS = {"f": "floats", "U": "texts", "Uiu": "texts or integers"}

Read = tuple[list[str], list[str], np.ndarray, list[list[int]] | None, Callable[[int], str]]


def _of_table(path: str, hierarchy: Hierarchy, labelled: bool) -> Read:
    table = open_table(path)
    id_column, label = table.find("id"), table.find("label") or "label"
    classes = [name for name in table.columns if name in hierarchy.index and name not in (id_column, label)]
    scores = np.stack([numbers_of(table, name) for name in classes], 1) if classes else np.zeros((0, 0))
    ids = table.ids()
    labels = None
    if labelled:
        labels, _ = known_labels(table, label, hierarchy, "the hierarchy")
        _refuse_unlabelled(labels, table.where)
    return ids, classes, scores, labels, table.where


def _of_archive(path: str, hierarchy: Hierarchy, labelled: bool) -> Read:
    arrays = read_arrays(path)

    def array(name: str, kinds: str, shape: tuple[int, ...] | None = None) -> Any:
        if name not in arrays:
            raise ValueError(f"{path} has no array {name!r}.")
        found = arrays[name]
        if found.dtype.kind not in kinds or (found.ndim != 2 if shape is None else found.shape != shape):
            wanted = "(n, k)" if shape is None else str(shape)
            raise ValueError(
                f"{path}: `{name}` should be {_KINDS[kinds]} of shape {wanted}. "
                f"Found {found.dtype} of shape {found.shape}."
            )
        return found

    def where(row: int) -> str:
        return f"{path}, row {row + 1}"

    scores = array("scores", "f").astype(np.float64)
    n, width = scores.shape
    classes = array("classes", "U", (width,)).tolist()
    if unknown := [name for name in classes if name not in hierarchy.index]:
        raise ValueError(f"{path}: {shown(unknown[0])} in `classes` is no class of the hierarchy.")
    if len(set(classes)) < width:
        raise ValueError(f"{path}: `classes` should name each class once. Found {listed(classes)}.")
    ids = array("ids", "Uiu", (n,)).astype(str).tolist() if "ids" in arrays else list(map(str, range(n)))
    labels = None
    if labelled:
        names = array("labels", "U", (n,)).tolist()
        for row, name in enumerate(names):
            if name and name not in hierarchy.index:
                raise ValueError(f"{where(row)}: {shown(name)} in `labels` is no class of the hierarchy.")
        labels = [[hierarchy.index[name]] if name else [] for name in names]
        _refuse_unlabelled(labels, where)
    return ids, classes, scores, labels, where


def _refuse_unlabelled(labels: Sequence[list[int]], where: Callable[[int], str]) -> None:
    if empty := [row for row, nodes in enumerate(labels) if not nodes]:
        raise ValueError(f"{where(empty[0])}: a row to choose on should have a label. Found none.")


def _check(
    scores: np.ndarray, classes: list[str], where: Callable[[int], str], softmax: bool, is_whole: bool
) -> None:
    """Raise ValueError, naming row and column, for what is no probability, or with ``softmax`` no number."""
    wrong = ~np.isfinite(scores) if softmax else ~((scores >= 0) & (scores <= 1 + TOLERANCE))
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        kind = "a finite number" if softmax else "a probability, from 0 to 1 (`--softmax` takes logits)"
        value = float(scores[row, column])
        raise ValueError(f"{where(row)}: {shown(classes[column])} should be {kind}. Found {value:g}.")
    total = scores.sum(1)
    if not (softmax or is_whole) and (total > 1 + TOLERANCE).any():
        row = int((total > 1 + TOLERANCE).argmax())
        raise ValueError(
            f"{where(row)}: probabilities should add up to 1 at most. Found {total[row]:g}: leave out the "
            "columns of inner classes, or is it `--softmax`?"
        )
