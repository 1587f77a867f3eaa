"""Readers of what runs leave behind, of models, weights and options, and of the cache."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Reader
from safetensors.torch import save

from hmc_shared import Hierarchy
from hmc_shared.cli.parse import parse
from hmc_shared.cli.train_options import TrainOptions
from hmc_shared.compare.comparison import compare
from hmc_shared.data.dataset import HierarchicalDataset, Split
from hmc_shared.data.formats import hf_export
from hmc_shared.data.storage import cache
from hmc_shared.data.storage.raw import RawPart, RawSet
from hmc_shared.predict.decision import load_decision
from hmc_shared.runs import checkpoints
from hmc_shared.runs.folder import RunFolder
from hmc_shared.runs.log import read_log
from hmc_shared.runs.options import open_run
from hmc_shared.runs.read import load_hierarchy, load_predictions
from hmc_shared.vision.weights import load_weights

JSON_TOKENS = (
    *b'{ } [ ] : , null true NaN -Infinity 1e999 -1 0 1.5 {} [] "" \xef\xbb\xbf \xff \0 \\ \\ud800'.split(),
    *(
        b'"a": 1,',
        b'{"a":',
        b'["a",',
        b'"\\u0000"',
        b"99999999999",
        b"\n",
        b'"nodes": ["a", "a"],',
        b'"../x"',
    ),
)
YAML_TOKENS = (
    *b"&a *a !!python/object:os.system !!binary !!set ? | > - {a: [b, ~, .nan, .inf, 0x1F, 1e400, '".split(),
    *(b"\n  - ", b"\n", b": ", b"\n- a", b"null", b"2020-13-45", b"1:30", b"\t", b"help: 1\n", b"seed: 1\n"),
)
BINARY_TOKENS = (
    b"\0",
    b"\xff" * 8,
    b"PK\x03\x04",
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"\x93NUMPY",
    b"(10000000, 3)",
)
TREE = Hierarchy.from_parents({"a": None, "b": None, "c": "a"})
TARGETS = np.array([[1, 0, 0], [1, 0, 1], [0, 1, 0], [1, 1, 1]], dtype=bool)


def as_json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def pt(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


RESULTS = {
    "schema": 2,
    "method": "hlstm",
    "protocol": "default",
    "seed": 0,
    "dataset": {"name": "toy", "checksum": "c0ffee", "sizes": {"test": 4}},
    "metrics": {"test/map": 0.5, "test/hvr": None},
    "decision": "model/decision.json",
    "config": {"seed": 0},
    "versions": {"python": "3.13"},
    "git_commit": None,
    "parameters": 1234,
    "seconds": {"train": 1.5},
    "peak_memory_mib": 512.5,
    "device": "cpu",
    "best_epoch": 1,
}
DECISION = as_json({"threshold": 0.25, "single_path": False, "features": ["x", "y"]})
SCORES = np.where(TARGETS, 1.5, -1.5).astype(np.float32)
PREDICTIONS = npz(scores=SCORES, targets=TARGETS, ids=np.array(list("wxyz")), train_counts=np.arange(3))
FILES = {
    "results.json": as_json(RESULTS),
    "hierarchy.json": TREE.to_json().encode(),
    "predictions.npz": PREDICTIONS,
    "config.yaml": b"dataset: toy\nprotocol: default\nlevels: null\nfeatures: []\ndata_dir: null\nseed: 0\n",
    "model/decision.json": DECISION,
    "metrics.jsonl": b'{"epoch": 0, "loss": 1.5}\n{"epoch": 1, "loss": null}\n',
}


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def of_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    return lambda content, folder: read(put(folder, name, content))


def of_run(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    """A run folder of which one file is damaged."""

    def of(content: bytes, folder: Path) -> object:
        for file, valid in FILES.items():
            put(folder, file, content if file == name else valid)
        return read(folder)

    return of


def forget(folder: Path) -> object:
    RunFolder(folder, resume=True).forget_epochs_from(1)
    return read_log(folder)


def resumed(folder: Path) -> object:
    RunFolder(folder, resume=True).check_same_options({"seed": 0, "dataset": "toy"}, free=())
    return open_run(str(folder))


@dataclass(frozen=True)
class Options(TrainOptions):
    """Those of a method."""

    config: str | None = None
    """A file."""
    sizes: tuple[int, ...] = (1, 2)
    """Of layers."""
    rate: float = field(default=0.5)
    """A number."""


def options(path: Path) -> object:
    return parse(Options, ["--config", str(path)], prog="toy")


def manifest(content: bytes, folder: Path) -> object:
    put(folder, "progress.pt", b"abc")
    put(folder, "checkpoint.json", content)
    return checkpoints.check_manifest(folder, ["progress.pt"], 1)


SHA = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc"
MANIFEST = as_json({"epoch": 1, "step": 0, "processes": 1, "files": {"progress.pt": SHA}})
RANDOM = {"random": checkpoints.random_states(torch.device("cpu")), "step_losses": [torch.ones(2)]}


def part(path: Path) -> object:
    return checkpoints._read_part(path)  # pyright: ignore[reportPrivateUsage]


NETWORK = {"0.weight": torch.ones(3, 2), "0.bias": torch.zeros(3), "1.weight": torch.ones(3)}


def weights(path: Path) -> object:
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3))
    return load_weights(network, str(path), "toy", torch.zeros(1, 2))


def folder_of(write: Callable[[Path], object]) -> dict[str, bytes]:
    """The files that something is written as."""
    with tempfile.TemporaryDirectory() as top:
        write(Path(top, "entry"))
        files = [path for path in Path(top).rglob("*") if path.is_file()]
        return {str(path.relative_to(Path(top, "entry"))): path.read_bytes() for path in files}


def in_folder(
    files: dict[str, bytes], name: str, read: Callable[[Path], object]
) -> Callable[[bytes, Path], object]:
    def of(content: bytes, folder: Path) -> object:
        for file, valid in files.items():
            put(folder, file, content if file == name else valid)
        return read(folder)

    return of


def toy_split() -> Split:
    return Split(torch.rand(4, 2), torch.from_numpy(TARGETS), tuple("wxyz"))


TOY = HierarchicalDataset(
    name="toy",
    hierarchy=TREE,
    train=toy_split(),
    validation=toy_split(),
    test=toy_split(),
    evaluated=torch.ones(3, dtype=torch.bool),
    kind="vector",
    sources={"x": "y"},
    notes=("n",),
)
EXPORT = folder_of(lambda folder: hf_export.export(TOY, folder))
RAW = RawSet(TREE, {"train": RawPart(np.ones((4, 2)), [[0], [0, 2], [1], []])}, ("n",))
ENTRY = folder_of(lambda folder: cache.write_folder(RAW, folder))
TEXT = folder_of(lambda folder: cache.write_text('{"a": [1]}', folder))

READERS = (
    *(
        Reader(f"{tool}: {name}", of_run(name, read), (FILES[name],), tokens, says=name)
        for tool, read, name, tokens in (
            ("compare", lambda folder: compare([folder]), "results.json", JSON_TOKENS),
            ("compare", lambda folder: compare([folder]), "predictions.npz", BINARY_TOKENS),
            ("resume", resumed, "config.yaml", YAML_TOKENS),
            ("resume", forget, "metrics.jsonl", JSON_TOKENS),
        )
    ),
    Reader(
        "hierarchy.json",
        of_file("h.json", load_hierarchy),
        (TREE.to_json().encode(),),
        JSON_TOKENS,
        says="h.json",
    ),
    Reader(
        "predictions.npz",
        of_file("p.npz", lambda path: load_predictions(path, TREE)),
        (PREDICTIONS,),
        BINARY_TOKENS,
        says="p.npz",
    ),
    Reader(
        "decision.json",
        of_file("decision.json", lambda path: load_decision(path.parent)),
        (DECISION,),
        JSON_TOKENS,
        says="decision.json",
    ),
    Reader(
        "config",
        of_file("c.yaml", options),
        (b"seed: 1\nsizes: [1, 2]\nrate: 0.25\ndataset: digits\npaper:\n  rate: 1\n  epochs: 3\n",),
        YAML_TOKENS,
        (ValueError, SystemExit),
        slow=20,
    ),
    Reader("checkpoint.json", manifest, (MANIFEST,), JSON_TOKENS, says="checkpoint"),
    Reader("checkpoint.pt", of_file("x.pt", part), (pt(RANDOM), pt(NETWORK)), BINARY_TOKENS, says="x.pt"),
    Reader(
        "weights.pt",
        of_file("w.pt", weights),
        (pt(NETWORK), pt({"state_dict": NETWORK})),
        BINARY_TOKENS,
        says="w.pt",
    ),
    Reader(
        "weights.npz",
        of_file("w.npz", weights),
        (npz(**{k: v.numpy() for k, v in NETWORK.items()}),),
        BINARY_TOKENS,
        says="w.npz",
    ),
    Reader(
        "weights.safetensors", of_file("w.safetensors", weights), (save(NETWORK),), JSON_TOKENS, says="w.saf"
    ),
    *(
        Reader(
            f"export: {name}",
            in_folder(EXPORT, name, lambda folder: hf_export.load(str(folder))),
            (EXPORT[name],),
            JSON_TOKENS if name.endswith("json") else BINARY_TOKENS,
            slow=5,
        )
        for name in (
            "dataset.json",
            "hierarchy.json",
            "dataset_dict.json",
            "train/state.json",
            "train/dataset_info.json",
            "train/data-00000-of-00001.arrow",
        )
    ),
    *(
        Reader(f"cache: {name}", in_folder(ENTRY, name, cache.read_folder), (ENTRY[name],), JSON_TOKENS, ())
        for name in ("index.json", "train/data-00000-of-00001.arrow")
    ),
    Reader(
        "cache: labels.json",
        in_folder(TEXT, "labels.json", cache.read_text),
        (TEXT["labels.json"],),
        JSON_TOKENS,
        (),
    ),
)
