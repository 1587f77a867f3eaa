"""Pre-trained weights of an encoder: torchvision's, or a state dict in a file, read without running code."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from hmc_shared.array_files import read_arrays
from hmc_shared.messages import reason
from hmc_shared.network_files import read_tensors, refuse_not_finite
from hmc_shared.vision.encoders import Colour


def load_weights(encoder: nn.Module, source: str, name: str, images: Tensor) -> str:
    """Start a network of :func:`hmc_shared.vision.encoders.image_encoder`, or another, from given weights.

    Every tensor whose name and shape fit is taken. Where the file has a bias for a convolution that has none
    here, batch normalisation was folded into it: see :func:`unfold_batch_norm`, which ``images`` are for.

    Args:
        source: "imagenet" for what torchvision offers for the network (a download, kept in torch's cache), or
            a file: .safetensors, .npz, or what ``torch.save`` wrote.
        name: the encoder's name.
        images: normalised images (B, channels, height, width).

    Returns a sentence about what was taken. Raises ValueError if the weights cannot be had or do not fit.
    """
    network = encoder
    if isinstance(encoder, nn.Sequential) and isinstance(encoder[0], Colour):
        network = encoder[1]
    state = imagenet_weights(name) if source == "imagenet" else read_state_dict(Path(source))
    shapes = {key: value.shape for key, value in network.state_dict().items()}
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
    unfolded = unfold_batch_norm(network, biases, images) if biases else set()
    refuse_not_finite(network, source)
    names = [name for name, _ in network.named_parameters()]
    new = [name for name in names if name not in fitting and name.rpartition(".")[0] not in unfolded]
    taken = f"{len(names) - len(new)} of {len(names)} tensors"
    return f"Weights from {source}: {taken}; new: {', '.join(new) or 'none'}"


def imagenet_weights(name: str) -> Mapping[str, Tensor]:
    """The state dict of torchvision's best weights for a network of that name."""
    if name not in models.list_models(module=models):
        raise ValueError(f"`--weights imagenet` is for networks of torchvision. Found the encoder {name!r}.")
    try:
        best: Any = models.get_weight(f"{models.get_model_weights(name).__name__}.DEFAULT")
        return best.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"`--weights imagenet` could not be downloaded ({error}): pass a file with a state dict instead."
        ) from error


def read_state_dict(path: Path) -> Mapping[str, Tensor]:
    """Names and tensors of a file. Raises ValueError, naming it, if it is not readable without a pickle."""
    if not path.is_file():
        raise ValueError(f"`--weights` should be none, imagenet or a file. Found {str(path)!r}.")
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
