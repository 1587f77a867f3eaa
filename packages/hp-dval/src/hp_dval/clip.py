"""CLIP by open_clip: its towers and its tokeniser, from a configuration and a file of weights.

Beyond open_clip's own ``encode_image`` and ``encode_text``, a :class:`Clip` can do two things: run the text
tower on embeddings instead of tokens, which prompt tuning needs, and leave out what follows the longest text.
Where the text tower is causal and read at the end of text, nothing behind that end changes the embedding, and
cutting there is exact. Other towers get the whole context: what fills it up is part of the text to them.
Where names, folders and downloads become configuration and file: :mod:`hp_dval.clip_files`.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmc_shared.messages import reason, shown
from hmc_shared.network_files import bounded_network, read_tensors, refuse_not_finite
from hp_dval.torchscript import is_torchscript, read_torchscript

NO_TEXT = {"width": 8, "heads": 1, "layers": 1, "vocab_size": 8, "context_length": 2}
"""The smallest text tower, for models of which only the images are embedded."""
TOKENIZER_OPTIONS = {"clean", "strip_sep_token", "language", "reduction_mask"}
"""What a configuration may say about its tokeniser; others of transformers could name code to run."""


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
        config: an open_clip model configuration: embed_dim, vision_cfg, text_cfg and so on; and, as
            ``preprocess_cfg``, the ``mean`` and ``std`` of pixels, by default OpenAI's. Tokenisers and text
            towers of Hugging Face are named by folders of this machine.
        checkpoint: file with its weights, or None for random ones.

    Raises ValueError for a configuration that open_clip cannot build, for CoCa, and for a checkpoint that
    cannot be read without a pickle or does not fit.
    """

    def __init__(self, config: Mapping[str, Any], checkpoint: str | Path | None = None) -> None:
        super().__init__()
        self.config = dict(config)
        if checkpoint is not None and Path(checkpoint).suffix in (".npz", ".npy"):
            raise ValueError(f"{checkpoint} should be a .safetensors file, or what torch.save wrote.")
        if "multimodal_cfg" in config or dict(config["text_cfg"]).get("embed_cls"):
            raise ValueError("`--clip` should be no CoCa: its text tower reads a class token of its own.")
        what = "the CLIP configuration" if checkpoint is None else str(checkpoint)
        try:
            if checkpoint is not None and is_torchscript(checkpoint):
                self.config["quick_gelu"] = True  # what OpenAI, whose archives these are, trained with
            _refuse_downloads(self.config)
            self.model: Any
            self.model, self.tokenizer = _build(self.config, checkpoint)
            self.image_tower = ImageTower(self.model.visual)
        except Exception as error:  # zipfile, pickle, safetensors, torch: a dozen types
            raise ValueError(f"{what} does not make a CLIP: {reason(error)}") from error
        if checkpoint is not None:
            refuse_not_finite(self.model, checkpoint)
        self.eval().requires_grad_(False)
        try:  # sizes such as 0 are built, and fail here
            self._learn_tokens()
            embeddings = (
                self.encode_text(["a"]),
                self.encode_image(torch.zeros(1, 3, *self.image_tower.image_size)),
            )
            if any(embedding.shape != (1, self.dim) for embedding in embeddings):
                raise ValueError(f"its towers should embed in {self.dim} dimensions")
        except Exception as error:  # of any layer
            raise ValueError(f"{what} does not make a CLIP: {reason(error)}") from error

    def _learn_tokens(self) -> None:
        """How the tokeniser fills the context, and where the text tower reads."""
        nothing, a = self.tokenizer(["", "a"], 8).tolist()
        self.padding: int = nothing[-1]
        self.has_start: bool = nothing[0] == a[0]
        text = self.text
        self.pooling: str = getattr(text, "text_pool_type", None) or getattr(text, "pool_type", "masked")
        is_causal = getattr(text, "attn_mask", None) is not None
        self.is_cut = is_causal and self.pooling in ("argmax", "eos")

    @property
    def text(self) -> Any:
        """What holds the layers of the text tower: open_clip's CLIP itself, or a module of its own in it."""
        return getattr(self.model, "text", self.model)

    @property
    def image_config(self) -> dict[str, Any]:
        """That part of the configuration which says what the image tower is, as of :func:`image_tower`."""
        return {name: value for name, value in self.config.items() if name != "text_cfg"}

    @property
    def device(self) -> torch.device:
        return self.model.logit_scale.device

    @property
    def dim(self) -> int:
        """D_e, the dimension of the embeddings that images and texts share."""
        return self.config["embed_dim"]

    @property
    def text_width(self) -> int:
        """Dimension of the token embeddings."""
        return self._token_embedding.weight.shape[1]

    @property
    def context_length(self) -> int:
        """Tokens that a text may have, start and end included."""
        return self.tokenizer.context_length

    @property
    def logit_scale(self) -> float:
        """What the model was trained to multiply cosines by: 100 for the released ones."""
        return float(self.model.logit_scale.exp().squeeze())

    # Images

    def preprocess(self, images: Tensor) -> Tensor:
        """:meth:`ImageTower.preprocess`."""
        return self.image_tower.preprocess(images)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embeddings (B, D_e), not normalised, of preprocessed images (B, 3, height, width)."""
        return self.model.encode_image(images)

    # Texts

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (n, length) int64, start and end of text included, then what the context is filled with.

        The length is that of the longest text where the tower allows to cut, else the whole context. A text
        that does not fit is cut: see :meth:`fits`.
        """
        tokens = self.tokenizer(list(texts))
        return tokens[:, : int(self._places(tokens).max()) + 1] if self.is_cut else tokens

    def fits(self, texts: Sequence[str], limit: int) -> Tensor:
        """(n,) bool: whether each text has at most ``limit`` tokens: more room would change nothing."""
        tokens, longer = (self.tokenizer(list(texts), length) for length in (limit, limit + 1))
        return (longer[:, :limit] == tokens).all(1) & (longer[:, limit] == self.padding)

    def embed(self, tokens: Tensor) -> Tensor:
        """Token embeddings (n, length, width), positions not yet added."""
        return self._token_embedding(tokens)

    def encode_embeddings(self, embeddings: Tensor, tokens: Tensor) -> Tensor:
        """Embeddings (n, D_e), not normalised, of texts that are given as token embeddings.

        Args:
            embeddings: (n, length, width), as from :meth:`embed`, or with learned vectors among them.
            tokens: (n, length), the ids that they stand for: they say where a text ends, and what is
                padding. A learned vector may stand for any other token.
        """
        if self.pooling == "masked":  # of Hugging Face
            text = self.text
            mask = (tokens != text.config.pad_token_id).long()
            found = text.transformer(inputs_embeds=embeddings, attention_mask=mask)
            return text.proj(text.pooler(found, mask))
        x = self._last_layer(embeddings)
        return self._projected(x[torch.arange(len(x), device=x.device), self._places(tokens)])

    def encode_every_token(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (n, 1 + length, D_e), not normalised: of each text, then of each of its tokens.

        Start and end are tokens, too; behind the end stand zeros. Raises ValueError for a text tower that is
        not causal and read at the end of text.
        """
        if not self.is_cut:
            raise ValueError("`--clip` should have a causal text tower that is read at the end of text.")
        tokens = self.tokenize(texts).to(self.device)
        ends = self._places(tokens).unsqueeze(1)  # (n, 1)
        x = self._projected(self._last_layer(self.embed(tokens)))
        is_text = torch.arange(x.shape[1], device=x.device) <= ends
        whole = x.take_along_dim(ends.unsqueeze(2), dim=1)
        return torch.cat([whole, x * is_text.unsqueeze(2)], dim=1)

    def _last_layer(self, embeddings: Tensor) -> Tensor:
        text, length = self.text, embeddings.shape[1]
        mask = text.attn_mask
        x = embeddings + text.positional_embedding[:length]
        return text.transformer(x, attn_mask=None if mask is None else mask[:length, :length])

    def _projected(self, x: Tensor) -> Tensor:
        x, projection = self.text.ln_final(x), self.text.text_projection
        if projection is None:
            return x
        return projection(x) if isinstance(projection, nn.Linear) else x @ projection

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (n, D_e), not normalised: those of open_clip's ``encode_text``."""
        tokens = self.tokenize(texts).to(self.device)
        return self.encode_embeddings(self.embed(tokens), tokens)

    @property
    def _token_embedding(self) -> nn.Embedding:
        text = self.text
        return text.transformer.get_input_embeddings() if self.pooling == "masked" else text.token_embedding

    def _places(self, tokens: Tensor) -> Tensor:
        """(n,) int64: where the tower reads the embedding of each text, tokens (n, length)."""
        match self.pooling:
            case "argmax":
                return tokens.argmax(1)  # the end of text has the highest number
            case "eos":
                end = getattr(self.text, "text_eos_id", None) or self.text.eos_id
                return (tokens == end).int().argmax(1)
            case _:
                place = {"first": 0, "last": tokens.shape[1] - 1}[self.pooling]
                return torch.full_like(tokens[:, 0], place)


def image_tower(config: Mapping[str, Any]) -> ImageTower:
    """The image tower of a configuration, random until weights are loaded; its texts need not be there.

    Raises ValueError for a configuration that open_clip cannot build.
    """
    try:
        config = {name: value for name, value in config.items() if name != "multimodal_cfg"}
        config["text_cfg"] = NO_TEXT
        _refuse_downloads(config)
        return ImageTower(_build(config, None)[0].visual).eval().requires_grad_(False)
    except Exception as error:  # of any layer
        raise ValueError(f"the CLIP configuration does not make a CLIP: {reason(error)}") from error


class TokenTower(nn.Module):
    """A trainable image tower of a CLIP that gives all of its tokens, random until weights are loaded.

    The tokens (B, 1 + N, width) are those behind its last layer normalisation; the projection of the class
    token to the embedding is left out. With ``own_values`` a patch sees in the last attention nothing but
    itself, so that its token is about its place (Zhou et al. 2022, MaskCLIP). Raises ValueError for a tower
    that is no ViT with a class token.
    """

    def __init__(self, config: Mapping[str, Any], *, own_values: bool = False) -> None:
        super().__init__()
        self.tower = image_tower(config).requires_grad_(True)
        visual: Any = self.tower.visual
        is_plain = getattr(visual, "attn_pool", self) is None and not visual.final_ln_after_pool
        if not is_plain or visual.pool_type != "tok":
            raise ValueError("the image tower of the CLIP is no ViT that is read at its class token")
        visual.proj, visual.output_tokens = None, True
        if own_values:
            visual.transformer.resblocks[-1].register_forward_pre_hook(_with_own_values, with_kwargs=True)

    def forward(self, images: Tensor) -> Tensor:
        class_token, patches = self.tower.visual(images)
        return torch.cat([class_token.unsqueeze(1), patches], dim=1)

    def start_from(self, clip: Clip) -> None:
        """Take over the weights of the CLIP's image tower."""
        state = clip.image_tower.state_dict()
        self.tower.load_state_dict({name: state[name] for name in self.tower.state_dict()})


def _with_own_values(
    block: Any, inputs: tuple[Tensor, ...], options: dict[str, Any]
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """The attention of a block of open_clip, masked: the class token sees all tokens, each patch itself."""
    length = inputs[0].shape[1 if block.attn.batch_first else 0]
    sees = torch.eye(length, dtype=torch.bool, device=inputs[0].device)
    sees[0] = True
    mask = torch.zeros(length, length, device=inputs[0].device).masked_fill(~sees, -torch.inf)
    return inputs, {**options, "attn_mask": mask}


def _build(config: Mapping[str, Any], checkpoint: str | Path | None) -> tuple[Any, Any]:
    """Model and tokeniser of open_clip. Raises an error of any type."""
    state = read_torchscript(checkpoint) if checkpoint is not None and is_torchscript(checkpoint) else None
    if checkpoint is not None and state is None and Path(checkpoint).suffix != ".safetensors":
        read_tensors(checkpoint)  # as open_clip does next, without a bound
    preprocess = {name: dict(config.get("preprocess_cfg", {})).get(name) for name in ("mean", "std")}
    config = {name: value for name, value in config.items() if name != "preprocess_cfg"}
    with _registered(config) as name, _quiet(), bounded_network(checkpoint):
        model = open_clip.create_model(
            name,
            None if checkpoint is None or state is not None else str(checkpoint),
            pretrained_text=False,
            force_preprocess_cfg={part: value for part, value in preprocess.items() if value is not None},
        )
        tokenizer = open_clip.get_tokenizer(name)
    if state is not None:
        own = model.state_dict().keys()  # an archive holds constants, too
        model.load_state_dict({name: tensor for name, tensor in state.items() if name in own})
    return model, tokenizer


def _refuse_downloads(config: Mapping[str, Any]) -> None:
    """Raise ValueError for a tower or tokeniser that would come from a hub, another file, or code."""
    text, vision = config["text_cfg"], config["vision_cfg"]
    options = dict(text.get("tokenizer_kwargs") or {})
    named = [text.get(name) for name in ("hf_model_name", "hf_tokenizer_name")]
    elsewhere = [name for name in named if name and not Path(name).is_dir()]
    elsewhere += sorted(options.keys() - TOKENIZER_OPTIONS)
    elsewhere += [name for name in [vision.get("timm_model_name")] if name and ":" in name]
    if elsewhere:
        raise ValueError(f"it should not name what lies elsewhere. Found {shown(elsewhere[0])}")


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
