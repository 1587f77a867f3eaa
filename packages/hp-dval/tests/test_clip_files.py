"""CLIPs in folders, in repositories of a hub, and in the archives of OpenAI."""

import json
import pickle
import time
import zipfile

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hp_dval import clip_files
from hp_dval.build import build_model
from hp_dval.clip import Clip, image_tower
from hp_dval.clip_files import load_clip
from hp_dval.config import Config

TEXTS = ["two", "a photo of a cat."]
PIXELS = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


def pushed(folder, clip, **content):
    """A folder as open_clip's push_to_hf_hub makes it."""
    folder.mkdir()
    save_file(clip.model.state_dict(), folder / "open_clip_model.safetensors")
    content = {"model_cfg": clip.config, "preprocess_cfg": PIXELS} | content
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def clip(clip_json, clip_file):
    return load_clip(clip_json, clip_file)


def test_a_folder_is_read_with_its_pixel_statistics(tmp_path, clip):
    loaded = load_clip(f"local-dir:{pushed(tmp_path / 'clip', clip)}")
    assert torch.equal(loaded.encode_text(TEXTS), clip.encode_text(TEXTS))
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    torch.testing.assert_close(loaded.preprocess(white), torch.full((1, 3, 32, 32), 2.0))
    rebuilt = image_tower(loaded.image_config)  # as a saved model does
    torch.testing.assert_close(rebuilt.preprocess(white), loaded.preprocess(white))


def test_a_repository_is_read_as_its_folder(tmp_path, monkeypatch, clip):
    asked = []

    def snapshot(repository, allow_patterns):
        asked.append((repository, allow_patterns))
        return str(tmp_path / "clip")

    pushed(tmp_path / "clip", clip)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(clip_files, "get_session", FailingSession)
    loaded = load_clip("hf-hub:owner/model")
    assert torch.equal(loaded.encode_text(TEXTS), clip.encode_text(TEXTS))
    assert {repository for repository, _ in asked} == {"owner/model"}


class FailingSession:
    """Of a machine without a network."""

    def head(self, url, timeout):
        raise OSError("Name or service not known")


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("hf-hub:owner/model", None, "owner/model could not be had from the Hugging Face hub"),
        ("ViT-B-16-SigLIP", None, "timm/ViT-B-16-SigLIP could not be had from the Hugging Face hub"),
        ("roberta-ViT-B-32", None, "roberta-base could not be had from the Hugging Face hub"),
        ("ViT-B-16", "openai", "could not be downloaded"),
    ],
)
def test_without_a_network_names_of_a_hub_end_at_once_in_a_line(
    tmp_path, monkeypatch, name, pretrained, message
):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(clip_files, "get_session", FailingSession)
    before = time.monotonic()
    with pytest.raises(ValueError, match=message) as caught:
        load_clip(name, pretrained)
    assert time.monotonic() - before < 10
    assert "\n" not in str(caught.value)
    assert not huggingface_hub.constants.HF_HUB_OFFLINE  # the next name is looked for again


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("open_clip_config.json", "open_clip_config.json cannot be read"),
        ("open_clip_model.safetensors", "should have one of open_clip_model.safetensors"),
    ],
)
def test_a_folder_without_a_file_is_refused(tmp_path, clip, missing, message):
    (pushed(tmp_path / "clip", clip) / missing).unlink()
    with pytest.raises(ValueError, match=message):
        load_clip(f"local-dir:{tmp_path / 'clip'}")


def test_a_folder_holds_its_tokeniser(tmp_path, clip):
    config = clip.config | {"text_cfg": clip.config["text_cfg"] | {"hf_tokenizer_name": "owner/model"}}
    folder = pushed(tmp_path / "clip", clip, model_cfg=config)
    with pytest.raises(ValueError, match=r"should have the files of owner/model, tokenizer\.json"):
        load_clip(f"local-dir:{folder}")


class Held(nn.Module):
    """A module of the archive's parameters, under the names of a state dict."""

    def __init__(self, state):
        super().__init__()
        below = {}
        for name, tensor in state.items():
            first, _, rest = name.partition(".")
            if rest:
                below.setdefault(first, {})[rest] = tensor
            else:
                self.register_buffer(name, tensor)
        for name, part in below.items():
            self.add_module(name, Held(part))


@pytest.fixture(scope="module")
def archive(tmp_path_factory, clip):
    """As OpenAI's are: half precision, three numbers beside the weights."""
    state = {name: tensor.half() for name, tensor in clip.model.state_dict().items()}
    numbers = {"input_resolution": 32, "context_length": 77, "vocab_size": 49408}
    path = tmp_path_factory.mktemp("openai") / "clip.pt"
    held = Held(state | {name: torch.tensor(number) for name, number in numbers.items()})
    torch.jit.save(torch.jit.script(held), path)
    return path


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_an_archive_of_openai_is_read_without_running_it(archive, clip_json, clip, scenes):
    loaded = load_clip(clip_json, str(archive))
    for name, tensor in clip.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor.half().float()), name
    assert "QuickGELU" in {type(module).__name__ for module in loaded.modules()}
    model = build_model(Config(method="zero-shot"), scenes, loaded).eval()  # whose tower has it, too
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    expected = loaded.encode_image(loaded.preprocess(images))
    torch.testing.assert_close(model.features(model.normalize(images))[:, 0], expected)


class Evil:
    def __reduce__(self):
        return (print, ("code of an archive was run",))


def test_an_archive_runs_no_code(tmp_path, archive, clip_json, capsys):
    evil = tmp_path / "evil.pt"
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(evil, "w") as new:
        for item in old.namelist():
            new.writestr(item, pickle.dumps(Evil(), 2) if item.endswith("/data.pkl") else old.read(item))
    with pytest.raises(ValueError, match=r"evil\.pt does not make a CLIP: the archive names .*print"):
        load_clip(clip_json, str(evil))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("size", [100, 20_000, -200])
def test_a_damaged_archive_is_refused(tmp_path, archive, clip_json, size):
    path = tmp_path / "cut.pt"
    path.write_bytes(archive.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"cut\.pt does not make a CLIP"):
        load_clip(clip_json, str(path))


def test_an_archive_of_another_size_is_refused(archive, clip_config):
    wider = clip_config | {"text_cfg": clip_config["text_cfg"] | {"width": 32}}
    with pytest.raises(ValueError, match=r"clip\.pt does not make a CLIP"):
        Clip(wider, archive)
