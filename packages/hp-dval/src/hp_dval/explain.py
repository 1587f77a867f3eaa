"""``hp-dval explain``: where the global and the local prompts of a class look in an image (Fig. 6, 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from hmc_shared.cli.bounds import check_output
from hmc_shared.compare.plots import save
from hmc_shared.model import load_model_of
from hmc_shared.vision.image_files import find_images, read_image
from hp_dval.config import ExplainConfig
from hp_dval.model import ImageTextClassifier


@dataclass(frozen=True)
class Explanation:
    """What a model sees of some classes in an image."""

    image: Tensor
    """(channels, height, width) uint8, as the model looks at it."""
    labels: list[str]
    """The classes."""
    probabilities: Tensor
    """(labels,) float32, calibrated."""
    responses: Tensor
    """(V, labels, patches down, patches across): cosines of the patches' and the texts' embeddings."""
    views: Sequence[str]
    """What the V texts of a class are."""


@torch.no_grad()
def explain(config: ExplainConfig) -> Explanation:
    """How the patches of an image respond to the prompts of classes.

    Raises ValueError for an unknown class, an image that cannot be read, a model without texts or patches.
    """
    model = load_model_of(config.library, config.run, "predict").eval()
    if not isinstance(model, ImageTextClassifier):
        raise ValueError(f"The model should have texts that patches respond to. Found {model.method}.")
    names, index = model.hierarchy.names, model.hierarchy.index
    unknown = [label for label in config.labels or () if label not in index]
    if unknown:
        raise ValueError(f"`--labels` should be among {', '.join(names)}. Found {unknown[0]!r}.")
    [file, *_] = find_images([config.image])
    image = read_image(file, model.input_shape, model.resize, model.decision.window)
    normalised = model.normalize(image.unsqueeze(0))
    unconstrained = model(normalised).logits[0]  # parents not raised to their children
    probabilities = model.to_probabilities(model.logits(normalised))[0]
    responses = model.response_maps(normalised)[0]  # (V, C, h, w)
    if config.labels:
        classes = [index[label] for label in config.labels]
    else:
        classes = unconstrained.topk(min(3, len(names))).indices.tolist()
    return Explanation(
        image, [names[node] for node in classes], probabilities[classes], responses[:, classes], model.views
    )


def draw(path: str | Path, explanation: Explanation) -> None:
    """Write the picture: a row for each class, with the image, and the image under its two response maps.

    The colours of a map go from its smallest to its largest response: they say where, not how much.
    """
    labels, responses = explanation.labels, explanation.responses
    pixels = explanation.image.expand(3, -1, -1).permute(1, 2, 0).numpy()
    extent = (0, pixels.shape[1], pixels.shape[0], 0)
    size = (1 + len(responses)) * 2.0, 2.2 * len(labels)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(labels), 1 + len(responses), squeeze=False)
    for row, (label, probability) in enumerate(zip(labels, explanation.probabilities.tolist(), strict=True)):
        for axis in axes[row]:
            axis.imshow(pixels)
            axis.set_axis_off()
        axes[row, 0].set_title(f"{label}: {probability:.2f}", fontsize=9)
        for axis, view, maps in zip(axes[row, 1:], explanation.views, responses[:, row], strict=True):
            axis.imshow(maps.numpy(), cmap="jet", alpha=0.5, extent=extent, interpolation="bicubic")
            axis.set_title(view, fontsize=9)
    save(figure, path)


def command(config: ExplainConfig) -> None:
    path = config.output or f"{Path(config.image).stem}-explained.png"
    check_output(path)
    draw(path, explain(config))
    print(path)
