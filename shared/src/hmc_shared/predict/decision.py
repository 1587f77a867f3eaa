"""From scores and probabilities to the labels that ``predict`` gives.

What this takes is kept in ``decision.json`` beside the weights, so that a model folder is complete; it is the
only place of a run that holds the threshold.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hmc_shared.constraints import only_with_ancestors
from hmc_shared.data.choice import stored_window
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import listed, reason, shown
from hmc_shared.object_files import read_json

FILE = "decision.json"


@dataclass(frozen=True)
class Decision:
    """How scores and probabilities become labels."""

    threshold: float | tuple[float, ...] | None = None
    """Of the scores (uncalibrated logits), chosen on validation: one, or C, one for each class; None where
    none was chosen."""
    single_path: bool = False
    """Whether every sample of the data set had at most one class in each level."""
    features: tuple[str, ...] = ()
    """Names of the input columns, where the data set had such."""
    window: tuple[float, float] | None = None
    """Percentiles of deep images that become black and white, where the data set was read so."""

    def labels(self, scores: Tensor, probabilities: Tensor, hierarchy: Hierarchy) -> Tensor:
        """The predicted classes (n, C) bool, ancestors included, of scores and probabilities (n, C).

        The classes at the threshold where one was chosen; of thresholds by class, those at theirs whose
        ancestors are at theirs; else the most probable leaf with its ancestors where samples have one path,
        or else the classes with probability 1/2.
        """
        if isinstance(self.threshold, tuple):
            thresholds = torch.tensor(self.threshold, dtype=torch.float64, device=scores.device)
            return only_with_ancestors(scores.double() >= thresholds, hierarchy)
        if self.threshold is not None:
            return hierarchy.add_ancestors(scores.double() >= self.threshold)
        if self.single_path:
            leaves = hierarchy.leaves
            return hierarchy.ancestors_of(leaves[probabilities[:, leaves].argmax(1)])
        return hierarchy.add_ancestors(probabilities >= 0.5)

    def rule(self) -> dict[str, Any]:
        """What :meth:`labels` does, for programs that do it themselves.

        ``rule`` is "threshold": the classes whose ``of``, scores or probabilities, is at least ``threshold``,
        and their ancestors; "thresholds": those for which, and for whose ancestors, ``of`` is at least its
        number in ``thresholds``, C of them; or "leaf": the leaf whose ``of`` is highest, and its ancestors.
        """
        if isinstance(self.threshold, tuple):
            return {"rule": "thresholds", "of": "scores", "thresholds": [*self.threshold]}
        if self.threshold is not None:
            return {"rule": "threshold", "of": "scores", "threshold": self.threshold}
        if self.single_path:
            return {"rule": "leaf", "of": "probabilities"}
        return {"rule": "threshold", "of": "probabilities", "threshold": 0.5}

    def save(self, folder: str | Path) -> None:
        text = json.dumps(asdict(self), indent=2)
        (Path(folder) / FILE).write_text(text + "\n", encoding="utf-8")


def load_decision(folder: str | Path, classes: int | None = None) -> Decision:
    """What :meth:`Decision.save` wrote to a model's folder; the default one without the file.

    Raises ValueError, naming the file, if it is damaged, or has thresholds of another number of ``classes``.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return Decision()
    content = read_json(path)
    try:
        if missing := {"threshold", "single_path", "features"} - content.keys():
            raise ValueError(f"it should name {listed(sorted(missing))}. Found {listed(content)}.")
        threshold, features = content["threshold"], content["features"]
        is_by_class = isinstance(threshold, list)
        if threshold is not None and not all(map(_is_threshold, threshold if is_by_class else [threshold])):
            rule = "a finite number, a list of such, or null"
            raise ValueError(f"`threshold` should be {rule}. Found {shown(threshold)}.")
        if is_by_class and len(threshold) != (classes or len(threshold)):
            raise ValueError(f"`threshold` should be of {classes} classes. Found {len(threshold)}.")
        if not isinstance(features, list) or not all(isinstance(name, str) for name in features):
            raise ValueError(f"`features` should be a list of names. Found {shown(features)}.")
        if not isinstance(content["single_path"], bool):
            raise ValueError(f"`single_path` should be true or false. Found {shown(content['single_path'])}.")
        return Decision(
            tuple(map(float, threshold)) if is_by_class else None if threshold is None else float(threshold),
            content["single_path"],
            tuple(features),
            stored_window(content.get("window")),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} does not say how to decide: {reason(error)}") from error


def _is_threshold(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def confident_labels(
    probabilities: Tensor, hierarchy: Hierarchy, min_confidence: float, *, single_path: bool
) -> Tensor:
    """The classes that are at least ``min_confidence`` probable, (n, C) bool, ancestors included.

    Where samples have one path: down to the deepest class whose probability reaches the confidence, of
    several at one depth the most probable. Its ancestors are at least as probable, because ``probabilities``
    (n, C) are coherent: so the answer is a path that ends where the confidence does. Where samples have
    several classes in a level: all such classes. A row is all False where no class is that probable.

    Raises ValueError for a confidence outside [0, 1].
    """
    if not 0 <= min_confidence <= 1:
        raise ValueError(f"`--min-confidence` should lie in [0, 1]. Found {min_confidence}.")
    confident = probabilities.double() >= min_confidence
    if not single_path:
        return hierarchy.add_ancestors(confident)
    depth = torch.where(confident, hierarchy.depth, -1)
    deepest = confident & (depth == depth.amax(1, keepdim=True))
    best = probabilities.masked_fill(~deepest, -1.0).argmax(1)
    return hierarchy.ancestors_of(best) & confident.any(1, keepdim=True)
