"""Pre-trained networks that embed: by name, each with the library that brings it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hmc_shared.extras import needed
from hmc_shared.messages import reason, shown
from hmc_shared.resizing import Resize

Takes = Literal["images", "texts"]
NAMES = {
    "images": "lite0, timm:NAME, a network of torchvision or open_clip:NAME/WEIGHTS",
    "texts": "tfidf, sentence-transformers:NAME or open_clip:NAME/WEIGHTS",
}


@dataclass(frozen=True, eq=False)
class Network:
    encode: Callable[[Any], np.ndarray]
    """(n, F) float32 of images (n, 3, size, size) uint8, or of n texts; each row by itself."""
    width: int
    """F."""
    weights: str
    """SHA-256 of the weights."""
    image_size: int = 0
    resize: Resize = "crop"


def open_network(name: str, takes: Takes, image_size: int | None = None, file: str = "") -> Network:
    """The network of a name, on the accelerator if there is one.

    ``image_size`` is the side of the square that it takes, in pixels; default: its own. ``file`` holds the
    weights of a network of timm or torchvision, instead of those that the library offers.

    Raises ValueError for an unknown name, for another input than it takes, and, saying what to install, for
    a library or weights that are not there.
    """
    check_encoder(name, takes, file)
    kind, _, of = name.partition(":")
    try:
        if kind == "open_clip":
            return _open_clip(of, takes, image_size)
        if kind == "sentence-transformers":
            return _sentence_transformer(of)
        return _image_network(name, image_size, file)
    except (OSError, RuntimeError, KeyError) as error:  # of a hub that is not reached, or does not know it
        raise ValueError(f"the weights of {name} cannot be had: {reason(error)}") from error


def check_encoder(name: str, takes: Takes, file: str = "") -> None:
    """Raise ValueError for what :func:`open_network` would refuse by name, before any data are read."""
    kind, _, of = name.partition(":")
    is_named = kind in ("open_clip", "sentence-transformers")
    if file and (takes == "texts" or is_named):
        raise ValueError(f"`--weights` is for networks of timm and torchvision. Found it with {shown(name)}.")
    if kind == "open_clip" and of:
        needed("open_clip", "clip", name)
    elif kind == "sentence-transformers" and of and takes == "texts":
        needed("sentence_transformers", "sentences", name)
    elif takes == "images" and not is_named:
        from hmc_shared.vision.weights import own_images

        own_images(name)
    else:
        raise ValueError(f"the encoder of {takes} should be {NAMES[takes]}. Found {shown(name)}.")


def _image_network(name: str, image_size: int | None, file: str) -> Network:
    """The pooled features of a network for classification."""
    from hmc_shared.vision.weights import pretrained_encoder

    found = pretrained_encoder(name, file or None)
    model, size = ready(found.network), image_size or found.size
    mean, scale = (values.view(3, 1, 1) for values in found.pixels)

    def features(images: Tensor, to: Callable[[Tensor], Tensor]) -> Tensor:
        # Channels last is what convolutions are fastest in.
        normal = (to(images) - to(mean)) / to(scale)
        return model(normal.contiguous(memory_format=torch.channels_last))

    encode = on_device(model, features)
    if size != found.size:
        try:
            encode(torch.zeros(1, 3, size, size, dtype=torch.uint8))
        except (AssertionError, RuntimeError) as error:
            raise ValueError(
                f"`--image-size` should be {found.size}, what {name} is made for: {reason(error)}"
            ) from error
    return Network(encode, found.features, digest_of(model), size, "imagenet")


def _open_clip(name: str, takes: Takes, image_size: int | None) -> Network:
    """Either tower of a CLIP; vectors of length 1, as it compares them."""
    open_clip = needed("open_clip", "clip", f"open_clip:{name}")
    architecture, _, tag = name.rpartition("/")
    if (architecture, tag) not in open_clip.list_pretrained():
        known = [f"{architecture}/{tag}" for architecture, tag in open_clip.list_pretrained()][:3]
        raise ValueError(f"open_clip:NAME/WEIGHTS should be such as {', '.join(known)}. Found {name!r}.")
    model = ready(open_clip.create_model(architecture, pretrained=tag))
    weights = digest_of(model)
    if takes == "texts":
        tokenizer = open_clip.get_tokenizer(architecture)
        encode = on_device(model, lambda texts, to: model.encode_text(to(tokenizer(texts)), normalize=True))
        return Network(encode, encode(["text"]).shape[1], weights)
    size = image_size or int(model.visual.image_size[0])
    if size != int(model.visual.image_size[0]):
        own = model.visual.image_size[0]
        raise ValueError(f"`--image-size` should be {own}, the only one of {name}. Found {size}.")
    normal = open_clip.get_model_preprocess_cfg(model)
    mean, scale = (255 * torch.tensor(normal[part]).view(3, 1, 1) for part in ("mean", "std"))
    encode = on_device(
        model,
        lambda images, to: model.encode_image((to(images) - to(mean)) / to(scale), normalize=True),
    )
    width = encode(torch.zeros(1, 3, size, size, dtype=torch.uint8)).shape[1]
    return Network(encode, width, weights, size)


def _sentence_transformer(name: str) -> Network:
    full = f"sentence-transformers:{name}"
    library = needed("sentence_transformers", "sentences", full)
    model = ready(library.SentenceTransformer(name))

    def encode(texts: Sequence[str]) -> np.ndarray:
        found = model.encode([*texts], batch_size=max(1, len(texts)), show_progress_bar=False)
        return np.asarray(found, np.float32)

    return Network(encode, encode(["text"]).shape[1], digest_of(model))


def ready(model: Any) -> Any:
    """The network in evaluation mode, on the accelerator if there is one."""
    device = torch.accelerator.current_accelerator(check_available=True)
    return model.eval() if device is None else model.eval().to(device)


def on_device(
    model: nn.Module, function: Callable[[Any, Callable[[Tensor], Tensor]], Tensor]
) -> Callable[[Any], np.ndarray]:
    """``function`` of inputs and of what brings a tensor to the network's device; numbers on the CPU."""
    device = next(model.parameters()).device

    @torch.inference_mode()
    def encode(inputs: Any) -> np.ndarray:
        return function(inputs, lambda tensor: tensor.to(device)).float().cpu().numpy()

    return encode


def digest_of(model: nn.Module) -> str:
    """SHA-256 over the names and numbers of a network."""
    sha = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
