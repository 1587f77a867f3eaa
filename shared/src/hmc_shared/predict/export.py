"""Export of a trained model: a program that needs this software no more, for any number of samples."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from hmc_shared.model import HierarchicalModel


class Probabilities(nn.Module):
    """``model.probabilities`` as a module: raw batches (batch, ...) to probabilities (batch, C)."""

    def __init__(self, model: HierarchicalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, raw: Tensor) -> Tensor:
        return self.model.probabilities(raw)


@torch.no_grad()
def export_program(model: HierarchicalModel, raw: Tensor) -> torch.export.ExportedProgram:
    """The computation of ``model.predict_proba`` for a batch of any size, by ``torch.export``.

    Args:
        model: a trained model of one of the methods, as ``load_model`` returns it.
        raw: two samples or more, (n, ...) of the shape and the dtype that the program shall take. Their
            values do not matter, unless one is wrong.

    Returns:
        What ``torch.export.save`` and ``torch.onnx.export`` take. It gives calibrated probabilities
        (batch, C) and checks nothing: for raw input of another shape it fails as torch does.

    Raises:
        ValueError: for fewer than two samples, from which torch would take the batch size for fixed.
    """
    if len(raw) < 2:
        raise ValueError(f"`raw` should have two samples or more. Found {len(raw)}.")
    network = copy.deepcopy(Probabilities(model)).eval()
    network.to(memory_format=torch.contiguous_format)  # torch.export.save knows no other
    dynamic = ({0: torch.export.Dim("batch", max=2**31)},)  # torch 2.7 compares with what int64 ends at
    return torch.export.export(network, (raw,), dynamic_shapes=dynamic, strict=False)
