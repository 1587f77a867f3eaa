"""Networks that are made by what files say, which may be anything: bounded in size, with finite weights."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from hmc_shared.array_files import check_unpacked

FREE_BYTES, GROWTH = 256 << 20, 8
"""A network that is built for a file of weights may take 256 MiB more than 8 times its bytes: half precision
and towers that are not kept take their share, a width of a billion does not."""
MOST_TENSORS = 10_000
"""Of a network whose file does not say at once how many tensors it has; else the file's own, as for bytes."""


@contextmanager
def bounded_network(weights: str | Path | None) -> Generator[None, None, None]:
    """Within it, a network raises ValueError as soon as it is too large for its file of weights.

    Without a file it has to fit into the memory of this machine. Nothing is initialised before it is counted.
    """
    most, most_tensors = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), MOST_TENSORS
    if weights is not None:
        most = FREE_BYTES + GROWTH * Path(weights).stat().st_size
        if Path(weights).suffix == ".safetensors":
            with safe_open(weights, "pt") as file:
                most_tensors += GROWTH * len(file.keys())
    size = count = 0

    def add(_module: Any, _name: str, tensor: Any) -> None:
        nonlocal size, count
        size += 0 if tensor is None else tensor.nbytes
        count += 1
        if size > most or count > most_tensors:
            raise ValueError(
                f"a network of more than {most} bytes or {most_tensors} tensors is none for these weights"
            )

    handles = [
        register_module_parameter_registration_hook(add),
        register_module_buffer_registration_hook(add),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def refuse_not_finite(network: nn.Module, weights: str | Path) -> None:
    """Raise ValueError, naming the file and the tensor, for a weight that is not finite, and a buffer of NaN.

    A buffer may hold infinity: the scale of a column that is constant, a mask.
    """
    parameters = dict(network.named_parameters())
    for name, tensor in network.state_dict().items():
        if not tensor.isfinite().all() and (name in parameters or tensor.isnan().any()):
            raise ValueError(f"{weights} holds a number in {name} that is not finite.")


def read_tensors(path: str | Path) -> Any:
    """What ``torch.save`` wrote, on the CPU; no pickle in it is run.

    Raises an error of any type, ValueError among them, for damaged content, and for what takes more memory
    than its file says: a compressed archive, a tensor that repeats few numbers.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_unpacked(archive, path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    waiting, seen = [content], set[int]()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor) and item.nbytes > item.untyped_storage().nbytes():
            raise ValueError(f"a tensor of shape {tuple(item.shape)} is larger than what is stored of it")
        waiting += item.values() if isinstance(item, dict) else item if isinstance(item, list | tuple) else ()
    return content
