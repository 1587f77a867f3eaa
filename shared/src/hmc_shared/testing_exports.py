"""Exported files as a stranger uses them: run, and decided by what their metadata say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hmc_shared.constraints import only_with_ancestors
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.predict.export import FILE


def run_exported(file: Path, inputs: Tensor) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The outputs of a program for raw inputs (n, ...), by name, and its metadata."""
    if file.suffix == ".pt2":
        extra = {FILE: ""}
        program = torch.export.load(file, extra_files=extra).module()
        return program(inputs), json.loads(extra[FILE])
    onnxruntime: Any = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(file)
    (entry,) = session.get_inputs()
    assert (entry.name, entry.shape[0]) == ("inputs", "batch")
    names = [output.name for output in session.get_outputs()]
    values = map(torch.from_numpy, session.run(names, {"inputs": inputs.numpy()}))
    content = session.get_modelmeta().custom_metadata_map
    return dict(zip(names, values, strict=True)), {key: json.loads(text) for key, text in content.items()}


def decide(answers: dict[str, Tensor], content: dict[str, Any], hierarchy: Hierarchy) -> Tensor:
    """The predicted classes (n, C) bool, by the decision in the metadata."""
    decision = content["decision"]
    values = answers[decision["of"]]
    if decision["rule"] == "thresholds":
        thresholds = torch.tensor(decision["thresholds"], dtype=torch.float64)
        return only_with_ancestors(values.double() >= thresholds, hierarchy)
    if decision["rule"] == "threshold":
        return hierarchy.add_ancestors(values.double() >= decision["threshold"])
    if decision["rule"] == "leaf":
        leaves = hierarchy.leaves
        return hierarchy.ancestors_of(leaves[values[:, leaves].argmax(1)])
    best = [values[:, level.start : level.stop].argmax(1) + level.start for level in hierarchy.levels]
    labels = torch.zeros_like(values, dtype=torch.bool)
    return labels.scatter_(1, torch.stack(best, 1), True)
