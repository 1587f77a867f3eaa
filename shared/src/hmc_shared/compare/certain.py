"""``hmc evaluate RUN --target-error``: what a certain threshold gives on the test split, beside others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hmc_shared.cli.commands import CertainOptions
from hmc_shared.compare.align import align
from hmc_shared.predict.guarantee import curve
from hmc_shared.predict.rollup import FIXED, outcomes_of, rule_of_run, write_curve
from hmc_shared.runs.read import load_run
from hmc_shared.runs.samples import or_null

COLUMNS = ("threshold", "answered", "error", "levels")


@dataclass(frozen=True)
class Certain:
    """What thresholds give on the test split of a run."""

    promise: str
    rows: dict[str, dict[str, float]]
    """A name of the threshold to :data:`COLUMNS`, as in :func:`hmc_shared.predict.guarantee.curve`."""


def certain(path: str | Path, options: CertainOptions, curve_file: str | Path | None = None) -> Certain:
    """Choose the threshold on the rows that a run has set aside, and measure it on its test split.

    Raises ValueError for a run without such rows, samples of several paths, and a target that cannot be kept.
    """
    run = load_run(path)
    targets = run.targets.astype(bool)
    if not run.is_single_path:
        raise ValueError(f"`--target-error` is for samples of one path each. Found several in {path}.")
    rule = rule_of_run(options, str(path), run.hierarchy)
    outcomes = outcomes_of(torch.from_numpy(run.probabilities), torch.from_numpy(targets), run.hierarchy)
    if curve_file is not None:
        write_curve(curve_file, outcomes)
    target = f"target {options.target_error:g}"
    thresholds = {target: rule.threshold, f"fixed {FIXED:g}": FIXED, "leaves": 0.0}
    points = curve(outcomes, np.array(list(thresholds.values())))
    return Certain(
        rule.promise,
        {name: {column: float(points[column][i]) for column in COLUMNS} for i, name in enumerate(thresholds)},
    )


def to_text(result: Certain) -> str:
    rows = [[name, *(f"{row[column]:.4f}" for column in COLUMNS)] for name, row in result.rows.items()]
    return f"{result.promise}\n\n{align([['test split', *COLUMNS], *rows])}"


def to_json(result: Certain) -> str:
    """Undefined values are null."""
    rows = {
        name: {column: or_null(value) for column, value in row.items()} for name, row in result.rows.items()
    }
    return json.dumps({"promise": result.promise, "rows": rows}, indent=2, allow_nan=False)
