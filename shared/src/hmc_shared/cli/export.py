"""Options of the command ``hmc export``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from hmc_shared.cli.bounds import check, check_output
from hmc_shared.cli.metavars import File, RunFolder


@dataclass(frozen=True)
class Export:
    """Write a trained model as one file that needs none of these packages.

    It takes raw inputs, a batch of any size, and gives calibrated probabilities and the scores that
    thresholds are for. Class names, hierarchy, decision and what the inputs are stand in its metadata.
    """

    run: Annotated[str, tyro.conf.Positional, RunFolder]
    """Run folder, or the folder of a saved model."""
    onnx: Annotated[str | None, File] = None
    """File for ONNX Runtime and the like, .onnx. Needs the extra `onnx`: pip install 'hmc-shared[onnx]'."""
    torch: Annotated[str | None, File] = None
    """File for PyTorch alone, .pt2, which torch.export.load reads."""

    def __post_init__(self) -> None:
        if self.onnx is None and self.torch is None:
            raise ValueError("`hmc export RUN` should come with --onnx FILE or --torch FILE. Found neither.")
        check(self, "onnx", self.onnx is None or self.onnx.endswith(".onnx"), "end in .onnx")
        check(self, "torch", self.torch is None or self.torch.endswith(".pt2"), "end in .pt2")
        check_output(self.onnx, "onnx")
        check_output(self.torch, "torch")
