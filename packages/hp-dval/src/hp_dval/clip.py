"""CLIP by open_clip: the only file that knows it.

A :class:`Clip` is both towers of a model and its tokeniser. Beyond open_clip's own ``encode_image`` and
``encode_text`` it can do two things: run the text tower on embeddings instead of tokens, which prompt tuning
needs, and leave out what follows the longest text. The text tower is causal, so nothing behind the end of a
text changes its embedding, and cutting there is exact.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmc_shared.messages import reason, shown
from hmc_shared.network_files import bounded_network, read_tensors, refuse_not_finite
from hmc_shared.object_files import check_object, read_json

TINY = "tiny"
"""Name of the CLIP that comes with this package."""


class ImageTower(nn.Module):
    """The image side of a CLIP of open_clip, with what it expects of pixels."""

    mean: Tensor
    std: Tensor

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual
        expected = visual.preprocess_cfg
        self.register_buffer("mean", torch.tensor(expected["mean"]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(expected["std"]).view(3, 1, 1), persistent=False)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        size = self.visual.image_size
        return (size, size) if isinstance(size, int) else tuple(size)

    def preprocess(self, images: Tensor) -> Tensor:
        """Raw images (B, 1 or 3, height, width), 0 to 255, to what the tower takes.

        Grey becomes RGB; another size is resampled (bicubic, as CLIP does), the aspect ratio not kept.
        """
        images = images.float().expand(-1, 3, -1, -1) / 255
        if tuple(images.shape[2:]) != self.image_size:
            images = F.interpolate(images, size=self.image_size, mode="bicubic", antialias=True).clamp(0, 1)
        return (images - self.mean) / self.std


class Clip(nn.Module):
    """Image tower, text tower and tokeniser of a CLIP; frozen and in evaluation mode when made.

    Args:
        config: an open_clip model configuration: embed_dim, vision_cfg, text_cfg and so on.
        checkpoint: file with its weights, or None for random ones.

    Raises ValueError for a configuration that open_clip cannot build, a text tower that is not causal, and a
    checkpoint that cannot be read without a pickle or does not fit.
    """

    def __init__(self, config: Mapping[str, Any], checkpoint: str | Path | None = None) -> None:
        super().__init__()
        self.config = dict(config)
        if checkpoint is not None and Path(checkpoint).suffix in (".npz", ".npy"):
            raise ValueError(f"{checkpoint} should be a .safetensors file, or what torch.save wrote.")
        what = "the CLIP configuration" if checkpoint is None else str(checkpoint)
        with _registered(self.config) as name, _quiet():
            try:
                _refuse_downloads(self.config)
                if checkpoint is not None and Path(checkpoint).suffix != ".safetensors":
                    read_tensors(checkpoint)  # as open_clip does next, without a bound
                with bounded_network(checkpoint):
                    if checkpoint is None:
                        self.model: Any = open_clip.create_model(name)
                    else:
                        self.model = open_clip.create_model_from_pretrained(
                            name, str(checkpoint), return_transform=False
                        )
                self.tokenizer: Any = open_clip.get_tokenizer(name)
            except Exception as error:  # zipfile, pickle, safetensors, torch: a dozen types
                raise ValueError(f"{what} does not make a CLIP: {reason(error)}") from error
        if checkpoint is not None:
            refuse_not_finite(self.model, checkpoint)
        is_causal = getattr(self.text, "attn_mask", None) is not None
        pooling = getattr(self.text, "text_pool_type", getattr(self.text, "pool_type", None))
        if not is_causal or pooling not in ("argmax", "eos") or not hasattr(self.tokenizer, "eot_token_id"):
            raise ValueError(
                "`--clip` should have a causal text tower that is read at the end of text, as CLIP has. "
                "Found another."
            )
        self.image_tower = ImageTower(self.model.visual)
        self.eval().requires_grad_(False)
        try:  # sizes such as 0 are built, and fail here
            embeddings = (
                self.encode_text(["a"]),
                self.encode_image(torch.zeros(1, 3, *self.image_tower.image_size)),
            )
            if any(embedding.shape != (1, self.dim) for embedding in embeddings):
                raise ValueError(f"its towers should embed in {self.dim} dimensions")
        except Exception as error:  # of any layer
            raise ValueError(f"{what} does not make a CLIP: {reason(error)}") from error

    @property
    def text(self) -> Any:
        """What holds the layers of the text tower: open_clip's CLIP itself, or a module of its own in it."""
        return getattr(self.model, "text", self.model)

    @property
    def device(self) -> torch.device:
        return self.text.positional_embedding.device

    @property
    def dim(self) -> int:
        """D_e, the dimension of the embeddings that images and texts share."""
        return self.config["embed_dim"]

    @property
    def text_width(self) -> int:
        """Dimension of the token embeddings."""
        return self.text.token_embedding.weight.shape[1]

    @property
    def context_length(self) -> int:
        """Tokens that a text may have, start and end included."""
        return self.text.context_length

    @property
    def logit_scale(self) -> float:
        """What the model was trained to multiply cosines by: 100 for the released ones."""
        return float(self.model.logit_scale.exp())

    # Images

    def preprocess(self, images: Tensor) -> Tensor:
        """:meth:`ImageTower.preprocess`."""
        return self.image_tower.preprocess(images)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embeddings (B, D_e), not normalised, of preprocessed images (B, 3, height, width)."""
        return self.model.encode_image(images)

    # Texts

    def tokenize(self, texts: Sequence[str], limit: int | None = None) -> Tensor:
        """Token ids (n, length) int64, start and end of text included, 0 behind; no longer than needed.

        A text of more than ``limit`` tokens, by default the context, is cut: with a limit to ``limit + 1``.
        """
        tokens = self.tokenizer(list(texts), None if limit is None else limit + 1)
        return tokens[:, : int(self.ends(tokens).max()) + 1]

    def ends(self, tokens: Tensor) -> Tensor:
        """(n,) int64: place of the end of text in each row of ``tokens`` (n, length)."""
        return (tokens == self.tokenizer.eot_token_id).int().argmax(1)

    def embed(self, tokens: Tensor) -> Tensor:
        """Token embeddings (n, length, width), positions not yet added."""
        return self.text.token_embedding(tokens)

    def encode_embeddings(self, embeddings: Tensor, ends: Tensor) -> Tensor:
        """Embeddings (n, D_e), not normalised, of texts that are given as token embeddings.

        Args:
            embeddings: (n, length, width), as from :meth:`embed`, or with learned vectors among them.
            ends: (n,), place of each text's end; what stands behind it changes nothing.
        """
        text, length = self.text, embeddings.shape[1]
        x = embeddings + text.positional_embedding[:length]
        x = text.transformer(x, attn_mask=text.attn_mask[:length, :length])
        x = text.ln_final(x[torch.arange(len(x), device=x.device), ends])
        projection = text.text_projection
        if projection is None:
            return x
        return projection(x) if isinstance(projection, nn.Linear) else x @ projection

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (n, D_e), not normalised: those of open_clip's ``encode_text``, on shorter sequences."""
        tokens = self.tokenize(texts).to(self.device)
        return self.encode_embeddings(self.embed(tokens), self.ends(tokens))


class TokenTower(nn.Module):
    """A trainable image tower of a CLIP that gives all of its tokens, random until weights are loaded.

    The tokens (B, 1 + N, width) are those behind its last layer normalisation; the projection of the class
    token to the embedding is left out. Raises ValueError for a tower that is no ViT with a class token.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.tower = Clip(config).image_tower.requires_grad_(True)
        visual: Any = self.tower.visual
        is_plain = getattr(visual, "attn_pool", self) is None and not visual.final_ln_after_pool
        if not is_plain or visual.pool_type != "tok":
            raise ValueError("the image tower of the CLIP is no ViT that is read at its class token")
        visual.proj, visual.output_tokens = None, True

    def forward(self, images: Tensor) -> Tensor:
        class_token, patches = self.tower.visual(images)
        return torch.cat([class_token.unsqueeze(1), patches], dim=1)

    def start_from(self, clip: Clip) -> None:
        """Take over the weights of the CLIP's image tower."""
        state = clip.image_tower.state_dict()
        self.tower.load_state_dict({name: state[name] for name in self.tower.state_dict()})


def load_clip(name: str = TINY, pretrained: str | None = None) -> Clip:
    """Build a CLIP, frozen and in evaluation mode.

    Args:
        name: "tiny" for the one that comes with this package, an open_clip model such as "ViT-B-16", or a
            JSON file with a model configuration of open_clip.
        pretrained: a file of weights (.safetensors, or what ``torch.save`` wrote, read without a pickle), or
            a tag of open_clip such as "openai", downloaded; None for random weights, or those of "tiny".

    Raises ValueError for unknown names, for files that are damaged or do not fit, and, saying what to fetch
    and how to pass it, if a download fails.
    """
    if name == TINY:
        assets = Path(str(files("hp_dval") / "assets"))
        config = _read_config(assets / "tiny-clip.json")
        pretrained = pretrained or str(assets / "tiny-clip.safetensors")
    elif Path(name).suffix == ".json":
        config = _read_config(Path(name))
    else:
        config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        raise ValueError(
            "`--clip` should be tiny, a model of open_clip such as ViT-B-16, or a .json file with a model "
            f"configuration. Found {name!r}."
        )
    if pretrained is None or Path(pretrained).is_file():
        return Clip(config, pretrained)
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise ValueError(
            f"`--pretrained` should be a file, or a tag of {name} (open_clip has: {tags}). "
            f"Found {pretrained!r}."
        )
    # open_clip only warns where weights want the activation that OpenAI trained with.
    config["quick_gelu"] = tag.get("quick_gelu", False)
    try:
        checkpoint = open_clip.download_pretrained(tag)
    except Exception as error:  # of urllib, requests, huggingface_hub
        where = (
            f"https://huggingface.co/{str(tag['hf_hub']).strip('/')}" if tag.get("hf_hub") else tag.get("url")
        )
        plain = name.removesuffix("-quickgelu")
        advised = f"{plain}-quickgelu" if config["quick_gelu"] else name
        raise ValueError(
            f"the weights {pretrained!r} of {name} could not be downloaded ({reason(error)}): fetch "
            f"open_clip_model.safetensors from {where}, put it into any folder, and pass "
            f"--clip {advised} --pretrained FOLDER/open_clip_model.safetensors."
        ) from error
    return Clip(config, checkpoint)


def _read_config(path: Path) -> dict[str, Any]:
    content = read_json(path)
    config = check_object(content.get("model_cfg", content), path)  # as open_clip pushes it to a hub
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - config.keys()
    if missing:
        raise ValueError(
            f"{path} should have {', '.join(sorted(missing))}, as open_clip's configurations do."
        )
    return config


def _refuse_downloads(config: Mapping[str, Any]) -> None:
    """Raise ValueError for a tower or tokeniser that would come from a hub or another file.

    Those of Hugging Face are not read as CLIP's are, and would be refused once they are there.
    """
    text, vision = config["text_cfg"], config["vision_cfg"]
    named = [text.get("hf_model_name"), text.get("hf_tokenizer_name")]
    named += [dict(text.get("tokenizer_kwargs") or {}).get("bpe_path")]
    named += [name for name in [vision.get("timm_model_name")] if name and ":" in name]
    if any(named):
        what = next(name for name in named if name)
        raise ValueError(f"it should not name what lies elsewhere. Found {shown(what)}")


@contextmanager
def _registered(config: Mapping[str, Any]) -> Generator[str, None, None]:
    """A name under which open_clip knows the configuration."""
    text = json.dumps(config)
    name = f"hp-dval-{sha256(text.encode()).hexdigest()[:16]}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.json"
        path.write_text(text, encoding="utf-8")
        open_clip.add_model_config(path)
        yield name


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Without open_clip's log line about random weights, which are what was asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
