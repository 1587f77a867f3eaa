"""The archives in which OpenAI released CLIP: TorchScript, whose tensors are read and no code is run."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hmc_shared.array_files import check_unpacked

DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


class ScriptedModule:
    """Any module of an archive: what it holds, by name."""


class TensorReader(pickle.Unpickler):
    """Makes tensors, and :class:`ScriptedModule` of every class of an archive; nothing else is called."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f"{root}/data.pkl"))
        self.archive, self.root = archive, root
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "__torch__":
            return ScriptedModule
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return tensor_of
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"the archive names {module}.{name}, which is no part of a CLIP")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, *_ = pid
        if key not in self.storages:
            content = bytearray(self.archive.read(f"{self.root}/data/{key}"))
            self.storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0)
        return self.storages[key]


def tensor_of(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    """A view of a storage. Raises ValueError where it would repeat numbers."""
    if torch.Size(size).numel() > storage.numel():
        raise ValueError(f"a tensor of shape {tuple(size)} is larger than what is stored of it")
    return storage.as_strided(size, stride, offset)


def is_torchscript(path: str | Path) -> bool:
    """Whether a file is an archive of TorchScript, not what ``torch.save`` wrote."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: str | Path) -> dict[str, Tensor]:
    """All tensors of an archive, by the names that a state dict has.

    Raises an error of any type, ValueError among them, for damaged content, and for what takes more memory
    than its file says.
    """
    with zipfile.ZipFile(path) as archive:
        check_unpacked(archive, path)
        root = next(name for name in archive.namelist() if name.endswith("/data.pkl")).partition("/")[0]
        module = TensorReader(archive, root).load()
    state: dict[str, Tensor] = {}
    waiting, seen = [("", module)], set[int]()
    while waiting:
        prefix, found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        for name, value in vars(found).items():
            if isinstance(value, Tensor):
                state[prefix + name] = value
            elif isinstance(value, ScriptedModule):
                waiting.append((f"{prefix}{name}.", value))
    return state
