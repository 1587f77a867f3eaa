"""From a model's logits to what ``predict`` answers: calibrated probabilities and labels.

Training leaves what this takes in ``decision.json`` beside the weights, so that a model folder is complete.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hmc_shared.hierarchy import Hierarchy
from hmc_shared.predict.calibration import Calibration

FILE = "decision.json"


@dataclass(frozen=True, eq=False)
class Decision:
    """How logits become probabilities and labels."""

    hierarchy: Hierarchy
    calibration: Calibration
    threshold: float | None = None
    """Of uncalibrated logits, chosen on validation; None where no threshold was chosen."""
    single_path: bool = False
    """Whether every sample of the data set had at most one class in each level."""
    features: tuple[str, ...] = ()
    """Names of the input columns, where the data set had such."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities (n, C) float32, no class above its parent."""
        return self.calibration.probabilities(logits, self.hierarchy)

    def labels(self, logits: Tensor, min_confidence: float | None = None) -> Tensor:
        """The predicted classes (n, C) bool of logits (n, C), ancestors included.

        With ``min_confidence``, what is that probable: see :func:`confident_labels`. Without it, the classes at
        the threshold where one was chosen; else the most probable leaf with its ancestors where samples have
        one path, or else the classes with probability 1/2.
        """
        probabilities = self.probabilities(logits)
        if min_confidence is not None:
            return confident_labels(
                probabilities, self.hierarchy, min_confidence, single_path=self.single_path
            )
        if self.threshold is not None:
            return self.hierarchy.add_ancestors(logits.double() >= self.threshold)
        if self.single_path:
            leaves = self.hierarchy.leaves
            return self.hierarchy.ancestors[leaves[probabilities[:, leaves].argmax(1)]]
        return probabilities >= 0.5

    def save(self, folder: str | Path) -> None:
        content = {
            "temperature": self.calibration.temperature.tolist(),
            "shift": self.calibration.shift.tolist(),
            "threshold": self.threshold,
            "single_path": self.single_path,
            "features": list(self.features),
        }
        (Path(folder) / FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load_decision(folder: str | Path, hierarchy: Hierarchy, *, calibrate: bool = True) -> Decision:
    """What :meth:`Decision.save` wrote to a model's folder.

    Without the file, or without ``calibrate``, probabilities are the sigmoid of the logits.
    Raises ValueError, naming the file, if it is damaged or does not fit the hierarchy.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return Decision(hierarchy, Calibration.none(hierarchy))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        numbers = [torch.tensor(content[name], dtype=torch.float32) for name in ("temperature", "shift")]
        for values in numbers:
            if values.shape != (hierarchy.num_levels,):
                raise ValueError(f"{hierarchy.num_levels} levels, but {len(values)} numbers")
        threshold = content["threshold"]
        return Decision(
            hierarchy,
            Calibration(*numbers) if calibrate else Calibration.none(hierarchy),
            None if threshold is None else float(threshold),
            bool(content["single_path"]),
            tuple(content["features"]),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not say how to decide: {error}") from error


def check_inputs(raw: Any, shape: tuple[int, ...]) -> Tensor:
    """Raw inputs ``(n, *shape)`` as a tensor. Raises ValueError for another shape, or an infinite value."""
    raw = torch.as_tensor(raw)
    if raw.shape[1:] != shape:
        expected = ", ".join(map(str, ("n", *shape)))
        raise ValueError(f"the inputs should have shape ({expected}). Found {tuple(raw.shape)}.")
    if raw.is_floating_point() and raw.isinf().any():
        row = int(raw.isinf().flatten(1).any(1).int().argmax())
        raise ValueError(f"the inputs should be finite, or NaN where missing. Found inf in row {row}.")
    return raw


def confident_labels(
    probabilities: Tensor, hierarchy: Hierarchy, min_confidence: float, *, single_path: bool
) -> Tensor:
    """The classes that are at least ``min_confidence`` probable, (n, C) bool, ancestors included.

    Where samples have one path: the deepest such class, of several in one depth the most probable, and its
    ancestors. They are as probable as it is, because ``probabilities`` (n, C) are coherent: so the answer is
    a path that ends where the confidence does. Where they have several classes in a level: all such classes;
    the answer is the most specific of them. A row is all False where no class is that probable.

    Raises ValueError for a bound outside [0, 1].
    """
    if not 0 <= min_confidence <= 1:
        raise ValueError(f"`--min-confidence` should lie in [0, 1]. Found {min_confidence}.")
    sure = probabilities.double() >= min_confidence
    if not single_path:
        return sure
    depth = torch.where(sure, hierarchy.depth, -1)
    deepest = sure & (depth == depth.amax(1, keepdim=True))
    best = probabilities.masked_fill(~deepest, -1.0).argmax(1)
    return hierarchy.ancestors[best] & sure.any(1, keepdim=True)
