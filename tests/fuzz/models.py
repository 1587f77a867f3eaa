"""Readers of models, of CLIPs and their weights, and of checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from harness import Reader
from run_files import (
    BINARY_TOKENS,
    JSON_TOKENS,
    TREE,
    Options,
    as_json,
    folder_of,
    in_folder,
    npz,
    pt,
    put,
)
from safetensors.torch import save
from sets import IMAGES

from hcal.model import HCAL
from hlstm.model import HLSTM
from hmc_shared.cli.commands import PredictOptions
from hmc_shared.model import HierarchicalModel
from hmc_shared.predict.inputs import predict
from hmc_shared.runs.checkpoints import Checkpoints
from hmc_shared.runs.folder import RunFolder
from hmc_shared.runs.progress import Progress
from hp_dval.baselines import ClipClassifier
from hp_dval.clip import Clip
from hp_dval.clip_files import load_clip
from hp_dval.model import HPDVAL
from mulsupcon_ld.model import MulSupCon

torch.manual_seed(0)
CLIP: dict[str, Any] = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 8, "patch_size": 4, "layers": 1, "width": 8, "head_width": 4},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "layers": 1, "width": 8, "heads": 2},
}
IMAGE = (3, 8, 8)
SMALL: dict[str, Any] = {"student": "small", "width": 8, "layers": 1, "heads": 2, "dim": 8, "text_width": 8}
CNN: dict[str, Any] = {"encoder": "resnet8", "width": 2, "dim": 4}
TOWERS = Clip(CLIP)
MODELS: dict[str, HierarchicalModel] = {
    "hlstm": HLSTM(2, TREE, hidden_size=4, num_layers=2),
    "hcal": HCAL(TREE, IMAGE, resize="imagenet", **CNN),
    "mulsupcon-ld": MulSupCon(TREE, IMAGE, resize="imagenet", **CNN),
    "hp-dval": HPDVAL(TREE, IMAGE, k=2, **SMALL),
    "hp-dval clip": ClipClassifier(TREE, IMAGE, CLIP, dim=8, text_width=8),
}


def predicted(of_images: bool) -> Callable[[Path], object]:
    """What ``predict`` gives for one sample by the model of a folder."""
    name, content = ("x.png", IMAGES[3]) if of_images else ("x.csv", b"x,y\n1,2\n")
    return lambda folder: predict(PredictOptions(str(folder), [str(put(folder / "new", name, content))]))


def model_readers(name: str, model: HierarchicalModel) -> list[Reader]:
    files = folder_of(model.save_pretrained)
    read = predicted(model.takes_images)
    slow = 20 if "clip" in name else 4
    return [
        Reader(
            f"model: {name} {file}",
            in_folder(files, file, read),
            (files[file],),
            JSON_TOKENS,
            slow=slow,
            says=says,
        )
        for file, says in (("config.json", ""), ("model.safetensors", "model.safetensors"))
    ]


def clip_config(content: bytes, folder: Path) -> object:
    clip = load_clip(str(put(folder, "clip.json", content)))
    return clip.encode_text(["a cat"]), clip.encode_image(clip.preprocess(torch.zeros(1, *IMAGE)))


def clip_weights(name: str) -> Callable[[bytes, Path], object]:
    def of(content: bytes, folder: Path) -> object:
        config = put(folder, "clip.json", as_json(CLIP))
        return load_clip(str(config), str(put(folder, name, content)))

    return of


def clip_npz(content: bytes, folder: Path) -> object:
    """Which no CLIP is read from."""
    try:
        clip_weights("w.npz")(content, folder)
    except ValueError:
        if content != WEIGHTS_NPZ:
            raise
    return None


STATE = {name: value.contiguous() for name, value in TOWERS.model.state_dict().items()}
WEIGHTS_NPZ = npz(**{name: value.numpy() for name, value in STATE.items()})


def checkpoints(folder: Path, *, resume: bool) -> Checkpoints:
    """Those of a small run, in which every kind of part has a state."""
    torch.manual_seed(0)
    config = Options(output_dir=str(folder), resume=resume)
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    process = Accelerator(cpu=True)
    network, optimizer = process.prepare(network, optimizer)
    network(torch.ones(4, 2)).square().sum().backward()
    progress = Progress()
    run = Checkpoints(
        process, RunFolder(folder, resume=resume), config, progress, network=network, optimizer=optimizer
    )
    if not resume:
        optimizer.step()
        progress.epoch, progress.step_losses = 1, [torch.tensor(0.5)]
        progress.keep_if_best(0.5, network)
    return run


def write_checkpoint(folder: Path) -> None:
    run = checkpoints(folder, resume=False)
    put(folder, "config.yaml", b"seed: 0\n")
    run.save()


CHECKPOINT = folder_of(write_checkpoint)
PLACE = "checkpoints/epoch-00001-step-0000001"


def resumed(name: str) -> Callable[[bytes, Path], object]:
    """A step after resuming from a checkpoint whose part is another one, with the checksum that it has."""

    def of(content: bytes, folder: Path) -> object:
        manifest = json.loads(CHECKPOINT[f"{PLACE}/checkpoint.json"])
        manifest["files"][name] = sha256(content).hexdigest()
        files = CHECKPOINT | {f"{PLACE}/checkpoint.json": as_json(manifest)} | {f"{PLACE}/{name}": content}
        for file, valid in files.items():
            put(folder, file, valid)
        run = checkpoints(folder, resume=True)
        run.resume()
        optimizer: Any = run.parts["optimizer"]
        optimizer.step()
        run.progress.step_losses.append(torch.tensor(0.5))
        return torch.stack(run.progress.step_losses)

    return of


READERS = (
    *(reader for name, model in MODELS.items() for reader in model_readers(name, model)),
    Reader(
        "clip.json",
        clip_config,
        (as_json(CLIP), as_json({"model_cfg": CLIP | {"custom_text": True}})),
        JSON_TOKENS,
        slow=20,
    ),
    Reader(
        "clip.safetensors", clip_weights("w.safetensors"), (save(STATE),), JSON_TOKENS, slow=40, says="w."
    ),
    Reader("clip.pt", clip_weights("w.pt"), (pt(STATE), pt({"state_dict": STATE})), BINARY_TOKENS, slow=40),
    Reader("clip.npz", clip_npz, (WEIGHTS_NPZ,), BINARY_TOKENS, slow=40, says="w.npz"),
    *(
        Reader(
            f"resume: {name}",
            resumed(name),
            (CHECKPOINT[f"{PLACE}/{name}"],),
            JSON_TOKENS if name.endswith("json") else BINARY_TOKENS,
            slow=4,
            says="epoch-00001",
        )
        for name in ("checkpoint.json", "progress.pt", "network.pt", "optimizer.pt", "process-0.pt")
    ),
)
