import json
from dataclasses import replace

import pytest
import torch

from hmc_shared.data import load_dataset
from hmc_shared.runs.folder import RunFolder
from hmc_shared.testing_marks import pytest_collection_modifyitems, pytest_configure  # noqa: F401
from hp_dval.config import Config

torch.set_num_threads(1)  # the models are tiny: more threads only wait for each other

SIZE = 96

CLIP_CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="session")
def clip_config():
    """A configuration of open_clip with towers of two layers."""
    return json.loads(json.dumps(CLIP_CONFIG))


@pytest.fixture(scope="session")
def clip_json(tmp_path_factory):
    """The same as a file."""
    path = tmp_path_factory.mktemp("clip") / "two-layers.json"
    path.write_text(json.dumps(CLIP_CONFIG))
    return str(path)


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory, clip_json):
    """Random weights for it, saved as open_clip's users do; embeddings of texts are far from each other."""
    from hp_dval.clip_files import load_clip

    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("clip") / "weights.pt"
    torch.save(load_clip(clip_json).model.state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def scenes():
    """The first scenes of digit-scenes."""
    whole = load_dataset("digit-scenes", view="image")

    def first(split):
        return replace(
            split, inputs=split.inputs[:SIZE], targets=split.targets[:SIZE], ids=split.ids[:SIZE], captions=()
        )

    return replace(whole, **{name: first(split) for name, split in whole.splits.items()})


@pytest.fixture
def train_until(scenes, monkeypatch):
    """Train as if killed after an epoch, counted from 0, which is logged and in no checkpoint."""
    from hp_dval.train import train

    class KilledError(Exception):
        pass

    def until(config, epoch):
        log_epoch = RunFolder.log_epoch

        def log_and_stop(folder, record):
            log_epoch(folder, record)
            if record["epoch"] == epoch:
                raise KilledError

        monkeypatch.setattr(RunFolder, "log_epoch", log_and_stop)
        with pytest.raises(KilledError):
            train(config, scenes)
        monkeypatch.setattr(RunFolder, "log_epoch", log_epoch)

    return until


@pytest.fixture
def small(tmp_path, clip_json, clip_file):
    """Options of a run that takes a second."""

    def make(folder="run", **options):
        defaults = {
            "clip": clip_json,
            "pretrained": clip_file,
            "student": "small",
            "patch_size": 8,
            "width": 24,
            "layers": 1,
            "heads": 2,
            "k": 4,
            "epochs": 2,
            "prompt_epochs": 2,
            "batch_size": 16,
            "learning_rate": 3e-3,
            "prompt_learning_rate": 1e-2,
            "flip": False,
            "crop_padding": 1,
            "checkpoint_every": 1,
        }
        return Config(output_dir=str(tmp_path / folder), **{**defaults, **options})

    return make
