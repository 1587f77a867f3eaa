"""Export of a trained model: a program that needs this software no more, for any number of samples."""

from __future__ import annotations

import copy
import json
import logging
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hmc_shared.cli.export import Export
from hmc_shared.cli.version import distribution_version
from hmc_shared.extras import needed
from hmc_shared.model import HierarchicalModel, load_model
from hmc_shared.runs.files import replacing

INPUTS = "inputs"
OUTPUTS = ("probabilities", "scores")
FILE = "metadata.json"
"""Among the extra files of a torch program: what :func:`metadata` returns."""


class Answers(nn.Module):
    """Raw batches (batch, ...) to calibrated probabilities and uncalibrated scores, (batch, C) each."""

    def __init__(self, model: HierarchicalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        logits = self.model.logits(self.model.normalize(inputs))
        return {
            "probabilities": self.model.to_probabilities(logits),
            "scores": self.model.to_scores(logits).contiguous(),
        }


def command(config: Export) -> None:
    """Write the files that the options name."""
    model = load_model(config.run)
    if config.onnx:
        needed("onnxscript", "onnx", "--onnx")
    program = export_program(model)
    for file, write in ((config.torch, write_torch), (config.onnx, write_onnx)):
        if file:
            write(program, metadata(model), Path(file))
            print(f"wrote {file}", file=sys.stderr)


@torch.no_grad()
def export_program(model: HierarchicalModel, raw: Tensor | None = None) -> torch.export.ExportedProgram:
    """The computation of a model for a batch of any size, by ``torch.export``.

    Args:
        model: a trained model of one of the methods, as ``load_model`` returns it.
        raw: two samples or more, (n, ...) of the shape and the dtype that the program shall take; by default
            uint8 images or float32 vectors. Their values do not matter, unless one is wrong.

    Returns:
        What ``torch.export.save`` and ``torch.onnx.export`` take. Of ``inputs`` it gives a dictionary of
        ``probabilities``, as ``predict_proba``, and ``scores``, as :meth:`HierarchicalModel.to_scores`; both
        (batch, C). It checks nothing: for raw input of another shape it fails as torch does.

    Raises:
        ValueError: for fewer than two samples, from which torch would take the batch size for fixed.
    """
    if raw is None:
        kind = torch.uint8 if model.takes_images else torch.float32
        raw = torch.zeros(2, *model.input_shape, dtype=kind)
    if len(raw) < 2:
        raise ValueError(f"`raw` should have two samples or more. Found {len(raw)}.")
    network = copy.deepcopy(Answers(model)).eval().cpu()
    network.to(memory_format=torch.contiguous_format)  # torch.export.save knows no other
    dynamic = ({0: torch.export.Dim("batch", max=2**31)},)  # torch 2.7 compares with what int64 ends at
    return torch.export.export(network, (raw.cpu(),), dynamic_shapes=dynamic, strict=False)


def metadata(model: HierarchicalModel) -> dict[str, Any]:
    """What a reader of an exported file has to know, as JSON has it.

    ``classes``: C names, in the order of the outputs' columns. ``edges``: pairs of ids, parent and child.
    ``decision``: see :meth:`HierarchicalModel.rule`. ``inputs``: what they are; the program itself normalises
    them. ``model``: library, method and version.
    """
    inputs: dict[str, Any]
    if model.takes_images:
        names = ("channels", "height", "width")
        inputs = {"kind": "images", **dict(zip(names, model.input_shape, strict=True))}
        inputs |= {"dtype": "uint8", "values": "0 to 255", "resize": model.resize}
        inputs["window"] = model.decision.window
    else:
        inputs = {"kind": "vectors", "width": model.input_shape[0], "dtype": "float32", "missing": "NaN"}
        inputs["features"] = list(model.decision.features)
    if (embedder := model.embedder) is not None:
        content = asdict(embedder)
        names = ("encoder", "takes", "columns", "image_size", "resize", "window")
        inputs["embedder"] = {name: content[name] for name in names}
    return {
        "classes": list(model.hierarchy.names),
        "edges": model.hierarchy.edges.tolist(),
        "decision": model.rule(),
        "inputs": inputs,
        "model": {
            "library": model.library,
            "method": model.method,
            "version": distribution_version(model.library.replace("_", "-")),
        },
    }


def write_torch(program: torch.export.ExportedProgram, content: Mapping[str, Any], path: Path) -> None:
    """What ``torch.export.load`` reads, with the metadata among its extra files."""
    with replacing(path) as file:
        torch.export.save(program, file, extra_files={FILE: json.dumps(content)})


def write_onnx(program: torch.export.ExportedProgram, content: Mapping[str, Any], path: Path) -> None:
    """ONNX with named inputs and outputs, and each part of the metadata as JSON in ``metadata_props``."""
    with _quiet():
        written: Any = torch.onnx.export(
            program, input_names=[INPUTS], output_names=OUTPUTS, dynamo=True, verbose=False
        )
    written.model.metadata_props.update({name: json.dumps(value) for name, value in content.items()})
    proto = written.model_proto
    batch = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == batch:  # a name like s85
                size.dim_param = "batch"
    with replacing(path) as file:
        file.write(proto.SerializeToString())


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Without notes of the exporter on what it does."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
