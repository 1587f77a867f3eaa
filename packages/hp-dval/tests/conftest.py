import json

import pytest
import torch

torch.set_num_threads(1)  # the models are tiny: more threads only wait for each other

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
    from hp_dval.clip import load_clip

    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("clip") / "weights.pt"
    torch.save(load_clip(clip_json).model.state_dict(), path)
    return str(path)
