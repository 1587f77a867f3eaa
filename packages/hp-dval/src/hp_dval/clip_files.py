"""A CLIP by its name: the tiny one, architectures of open_clip, folders, files, repositories of a hub."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
from huggingface_hub.utils import get_session

from hmc_shared.messages import reason
from hmc_shared.object_files import check_object, read_json
from hp_dval.clip import Clip

TINY = "tiny"
"""Name of the CLIP that comes with this package."""
LOCAL, HUB = "local-dir", "hf-hub"
"""What open_clip writes before the name of a folder, and of a repository."""
CONFIG = "open_clip_config.json"
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
"""Files of weights in a folder that open_clip pushed to a hub, the first of them that there is."""
TOKENIZER = ["tokenizer*", "special_tokens_map.json", "vocab.*", "merges.txt", "*.model", "config.json"]
"""Patterns of what a tokeniser of Hugging Face is read from."""
PATIENCE = 10.0
"""Seconds after which the hub counts as out of reach."""


def load_clip(name: str = TINY, pretrained: str | None = None) -> Clip:
    """Build a CLIP, frozen and in evaluation mode.

    Args:
        name: "tiny" for the one that comes with this package; an open_clip model such as "ViT-B-16"; a JSON
            file with a model configuration of open_clip; "local-dir:" and a folder, or "hf-hub:" and a
            repository, with ``open_clip_config.json``, weights and, unless it is CLIP's own, the tokeniser.
        pretrained: a file of weights (.safetensors, what ``torch.save`` wrote, read without a pickle, or an
            archive of OpenAI), or a tag of open_clip such as "openai", downloaded; None for random weights,
            or those that come with the name.

    Raises ValueError for unknown names, for files that are damaged or do not fit, and, saying what to fetch
    and how to pass it, if a download fails.
    """
    kind, _, of = name.partition(":")
    if kind in (LOCAL, HUB) and of:
        folder = Path(of) if kind == LOCAL else hub_folder(of, CONFIG, *TOKENIZER)
        config = _read_config(folder / CONFIG)
        config["text_cfg"] = _from_folder(folder, config["text_cfg"]) if kind == LOCAL else config["text_cfg"]
        pretrained = pretrained or _weights_of(folder, of if kind == HUB else None)
    elif name == TINY:
        assets = Path(str(files("hp_dval") / "assets"))
        config = _read_config(assets / "tiny-clip.json")
        pretrained = pretrained or str(assets / "tiny-clip.safetensors")
    elif Path(name).suffix == ".json":
        config = _read_config(Path(name))
    else:
        config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        raise ValueError(
            "`--clip` should be tiny, a model of open_clip such as ViT-B-16, a .json file with a model "
            f"configuration, local-dir:FOLDER or hf-hub:NAME. Found {name!r}."
        )
    checkpoint = pretrained
    if pretrained is not None and not Path(pretrained).is_file():
        checkpoint, about = _tagged_weights(name, pretrained)
        config |= about
    if kind == HUB or name in open_clip.list_models():  # not what a file of anyone's names
        config["text_cfg"] = _texts_from_hub(config)
    return Clip(config, checkpoint)


def _tagged_weights(name: str, pretrained: str) -> tuple[str, dict[str, Any]]:
    """The file of a tag of open_clip, and what the configuration has to be for it."""
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise ValueError(
            f"`--pretrained` should be a file, or a tag of {name} (open_clip has: {tags}). "
            f"Found {pretrained!r}."
        )
    # open_clip only warns where weights want the activation that OpenAI trained with.
    is_quick = tag.get("quick_gelu", False)
    try:
        with _without_waiting():
            checkpoint = open_clip.download_pretrained(tag)
    except Exception as error:  # of urllib, requests, huggingface_hub
        where = (
            f"https://huggingface.co/{str(tag['hf_hub']).strip('/')}" if tag.get("hf_hub") else tag.get("url")
        )
        plain = name.removesuffix("-quickgelu")
        advised = f"{plain}-quickgelu" if is_quick else name
        raise ValueError(
            f"the weights {pretrained!r} of {name} could not be downloaded ({reason(error)}): fetch "
            f"open_clip_model.safetensors from {where}, put it into any folder, and pass "
            f"--clip {advised} --pretrained FOLDER/open_clip_model.safetensors."
        ) from error
    pixels = {part: tag[part] for part in ("mean", "std") if part in tag}
    return str(checkpoint), {"quick_gelu": is_quick, "preprocess_cfg": pixels}


def _read_config(path: Path) -> dict[str, Any]:
    content = read_json(path)
    config = check_object(content.get("model_cfg", content), path)  # as open_clip pushes it to a hub
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - config.keys()
    if missing:
        raise ValueError(
            f"{path} should have {', '.join(sorted(missing))}, as open_clip's configurations do."
        )
    pixels = content.get("preprocess_cfg")
    return config | {"preprocess_cfg": check_object(pixels, path)} if pixels else config


def _from_folder(folder: Path, text: dict[str, Any]) -> dict[str, Any]:
    """The text part of a configuration whose tokeniser and text tower are described in the same folder."""
    named = {part for part in ("hf_tokenizer_name", "hf_model_name") if text.get(part)}
    if named and not (folder / "config.json").is_file() and not (folder / "tokenizer_config.json").is_file():
        raise ValueError(
            f"{folder} should have the files of {text.get('hf_tokenizer_name') or text['hf_model_name']}, "
            "tokenizer.json, tokenizer_config.json and, of a text tower, config.json."
        )
    return text | _with_transformers(dict.fromkeys(named, str(folder)))


def _texts_from_hub(config: dict[str, Any]) -> dict[str, Any]:
    """The same where they are of Hugging Face: small files of a hub, not the weights."""
    text = config["text_cfg"]
    named = {part: text[part] for part in ("hf_tokenizer_name", "hf_model_name") if text.get(part)}
    return text | _with_transformers(
        {part: str(hub_folder(name, *TOKENIZER)) for part, name in named.items()}
    )


def _with_transformers(folders: dict[str, str]) -> dict[str, str]:
    """The folders themselves. Raises ValueError, saying what to install, where nothing reads them."""
    if folders and find_spec("transformers") is None:
        raise ValueError("this CLIP's texts need transformers: pip install 'hp-dval[transformers]'")
    return folders


def _weights_of(folder: Path, repository: str | None) -> str:
    """The weights in a folder; if it is the copy of a repository, they are fetched."""
    for name in WEIGHTS:
        if repository is not None and not (folder / name).is_file():
            hub_folder(repository, name)
        if (folder / name).is_file():
            return str(folder / name)
    raise ValueError(f"{repository or folder} should have one of {', '.join(WEIGHTS)}.")


def hub_folder(repository: str, *patterns: str) -> Path:
    """A folder with files of a repository of the Hugging Face hub, fetched or from its cache.

    Raises ValueError where neither has them.
    """
    with _without_waiting():
        try:
            return Path(huggingface_hub.snapshot_download(repository, allow_patterns=list(patterns)))
        except Exception as error:  # of requests, httpx, huggingface_hub
            is_offline = huggingface_hub.constants.HF_HUB_OFFLINE
            why = "it does not answer, and its cache has none" if is_offline else reason(error)
            raise ValueError(
                f"{repository} could not be had from the Hugging Face hub ({why}). A CLIP that is on this "
                "machine is named by --clip local-dir:FOLDER."
            ) from error


@contextmanager
def _without_waiting() -> Generator[None, None, None]:
    """Ask the cache alone where the hub does not answer: its own tries take half a minute for each file."""
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    try:
        if not before:
            get_session().head(huggingface_hub.constants.ENDPOINT, timeout=PATIENCE)
    except Exception:  # of requests or httpx, by the version of the hub
        huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before
