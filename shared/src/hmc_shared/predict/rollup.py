"""Answers that end where certainty does: paths from the top, cut at a threshold; sets of classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmc_shared.cli.commands import CertainOptions
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.metrics.levels import is_single_path
from hmc_shared.predict.guarantee import Outcomes, certain_threshold, curve, set_threshold
from hmc_shared.predict.write import write_table
from hmc_shared.runs.read import RESERVED, load_predictions

FIXED = 0.65
"""The threshold of a roll-up that is common in software for camera traps."""


def path_ends(probabilities: Tensor, hierarchy: Hierarchy) -> Tensor:
    """(n,) int64: the leaf that one comes to from the most probable root by the most probable children.

    Probabilities are (n, C). What is more probable than 1/2 is always on this way, if the children of a class
    are no more probable together than it is.
    """
    roots = hierarchy.roots
    at = roots[probabilities[:, roots].argmax(1)]
    for _ in range(hierarchy.num_levels - 1):
        for node in at.unique().tolist():
            if children := hierarchy.children(node):
                rows = (at == node).nonzero().squeeze(1)
                below = torch.tensor(children)
                at[rows] = below[probabilities[rows[:, None], below].argmax(1)]
    return at


def roll_up(probabilities: Tensor, hierarchy: Hierarchy, threshold: float) -> Tensor:
    """The classes (n, C) bool on the way to :func:`path_ends` that are at least ``threshold`` probable.

    Ancestors included. A higher threshold cuts each answer, or leaves it: it never changes a class.
    """
    on_path = hierarchy.ancestors_of(path_ends(probabilities, hierarchy))
    return hierarchy.add_ancestors(on_path & (probabilities.double() >= threshold))


def outcomes_of(probabilities: Tensor, targets: Tensor, hierarchy: Hierarchy) -> Outcomes:
    """What comes of rows with probabilities (n, C) and targets (n, C) bool, ancestors included.

    An answer that goes below the end of the true path is wrong: nobody knows that it is right.
    """
    p, true = probabilities.double(), targets.bool()
    on_path = hierarchy.ancestors_of(path_ends(probabilities, hierarchy))
    reached = torch.where(on_path, p, -torch.inf)
    levels = [reached[:, level.start : level.stop].amax(1) for level in hierarchy.levels]
    return Outcomes(
        reached.amax(1).numpy(),
        torch.where(true, -torch.inf, reached).amax(1).numpy(),
        torch.stack(levels, 1).numpy(),
        torch.where(true, p, torch.inf).amin(1).numpy(),
    )


@dataclass(frozen=True)
class Rule:
    """How to answer, and what that promises."""

    threshold: float
    sets: bool
    promise: str
    """In a line."""

    def labels(self, probabilities: Tensor, hierarchy: Hierarchy) -> Tensor:
        """The answers (n, C) bool to probabilities (n, C), ancestors included."""
        if self.sets:
            return hierarchy.add_ancestors(probabilities.double() >= self.threshold)
        return roll_up(probabilities, hierarchy, self.threshold)


def choose_rule(
    options: CertainOptions, probabilities: Tensor, targets: Tensor, hierarchy: Hierarchy, where: str
) -> Rule:
    """The rule that keeps ``--target-error`` by the rows (n, C) that it is chosen on, which are ``where``.

    Raises ValueError if samples have several paths, but for sets, and if no threshold keeps the target.
    """
    target, outcomes = options.target_error or 0.0, outcomes_of(probabilities, targets, hierarchy)
    rows = len(outcomes.answered)
    if options.sets:
        q = set_threshold(outcomes, target)
        promise = f"at most {100 * target:g} % of the sets lack a true class, on average over choices of rows"
        return Rule(q, True, f"threshold {q:.4f}: {promise} ({rows} rows)")
    if not is_single_path(targets.numpy(), hierarchy):
        raise ValueError(
            f"`--target-error` is for samples of one path each. Found several classes in a level in {where}: "
            "`--sets` gives sets of classes that hold all true ones."
        )
    threshold = certain_threshold(outcomes, target, options.confidence)
    if threshold is None:
        raise ValueError(
            f"no threshold keeps the error at most {target:g} with confidence {options.confidence:g} by the "
            f"{rows} rows of {where}: take more rows, a larger `--target-error`, or less `--confidence`."
        )
    answered, wrong = (int(of[0]) for of in outcomes.counts(np.array([threshold])))
    promise = (
        f"with confidence {options.confidence:g} at most {100 * target:g} % of the answers given are wrong"
    )
    counts = f"of {rows} rows {answered} answered, {wrong} wrong"
    return Rule(threshold, False, f"threshold {threshold:.4f}: {promise} ({counts})")


def rule_of_run(options: CertainOptions, run: str, hierarchy: Hierarchy) -> Rule:
    """The rule of ``--target-error``, by the rows that the run has set aside.

    Raises ValueError, naming the folder, if there are no such rows; else as :func:`choose_rule` does.
    """
    file = Path(run) / RESERVED
    if not file.is_file():
        raise ValueError(
            f"{run} has no {RESERVED}, the rows by which `--target-error` is kept: train with "
            "`--set-aside 0.5`, or another share of the validation rows."
        )
    part = load_predictions(file, hierarchy)
    probabilities, targets = (torch.from_numpy(part[name]) for name in ("probabilities", "targets"))
    return choose_rule(options, probabilities, targets.bool(), hierarchy, str(file))


def describe(outcomes: Outcomes, threshold: float) -> str:
    """In a line what a threshold gives on rows with known classes, beside :data:`FIXED`."""
    points = curve(outcomes, np.array([threshold, FIXED]))
    one, other = (
        f"{answered:.1%} answered, {error:.2%} of these wrong, {levels:.2f} levels"
        for answered, error, levels in zip(points["answered"], points["error"], points["levels"], strict=True)
    )
    return f"on these rows: {one}; with the fixed threshold {FIXED:g}: {other}"


def write_curve(path: str | Path, outcomes: Outcomes) -> None:
    """Write :func:`hmc_shared.predict.guarantee.curve` as CSV."""
    points = curve(outcomes)
    rows = zip(*(values.tolist() for values in points.values()), strict=True)
    write_table(path, list(points), [["" if cell != cell else cell for cell in row] for row in rows])
