"""``hp-dval explain``: where the global and the local prompts of a class look in an image (Fig. 6, 7)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from hmc_shared.cli import options

VIEWS = ("global prompts", "local prompts")
SUFFIXES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class ExplainConfig:
    """Draw an image beside the responses of its patches to the global and local prompts of classes."""

    run: Annotated[str, tyro.conf.Positional]
    """Run folder, or the folder of a saved model."""
    image: Annotated[str, tyro.conf.Positional]
    """Image file."""
    labels: list[str] | None = None
    """Classes, a row each; default: the three with the highest scores of their own."""
    output: str | None = None
    """File for the picture, .png, .svg or .pdf; default: the image's name with -explained.png, here."""

    def __post_init__(self) -> None:
        if self.output and Path(self.output).suffix not in SUFFIXES:
            raise ValueError(f"`--output` should end in one of {', '.join(SUFFIXES)}. Found {self.output}.")


def explain(config: ExplainConfig) -> tuple[Any, list[str], Any, Any]:
    """The image (channels, h, w) uint8 as the model sees it, class names, their logits, their responses.

    Responses are cosines (V, labels, patches down, patches across) of the patches' and the texts' embeddings.
    Raises ValueError for an unknown class, an image that cannot be read, and a model without patches.
    """
    import torch

    from hmc_shared.runs.read import open_run
    from hmc_shared.vision.image_files import find_images, read_image
    from hp_dval.methods import load_model

    model = load_model(open_run(config.run)[0]).eval()
    names = model.hierarchy.names
    unknown = [label for label in config.labels or () if label not in model.hierarchy.index]
    if unknown:
        raise ValueError(f"`--labels` should be among {', '.join(names)}. Found {unknown[0]!r}.")
    image = read_image(find_images([config.image])[0], model.input_shape, model.crop)
    normalised = model.normalize(image.unsqueeze(0))
    with torch.no_grad():
        own = model(normalised).logits[0]  # parents not raised to their children
        logits = model.logits(normalised)[0]
        maps = model.response_maps(normalised)[0]  # (V, C, h, w)
    if config.labels:
        chosen = [model.hierarchy.index[label] for label in config.labels]
    else:
        chosen = own.topk(min(3, len(names))).indices.tolist()
    return image, [names[node] for node in chosen], logits[chosen], maps[:, chosen]


def draw(path: str | Path, image: Any, labels: list[str], logits: Any, maps: Any) -> None:
    """Write the picture: a row for each class, with the image, and the image under its two response maps.

    Arguments as :func:`explain` returns them. The colours of a map go from its smallest to its largest
    response: they say where, not how much.
    """
    from matplotlib.figure import Figure

    from hmc_shared.compare.plots import save

    pixels = image.expand(3, -1, -1).permute(1, 2, 0).numpy()
    extent = (0, pixels.shape[1], pixels.shape[0], 0)
    size = (1 + len(maps)) * 2.0, 2.2 * len(labels)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(labels), 1 + len(maps), squeeze=False)
    for row, label in enumerate(labels):
        for axis in axes[row]:
            axis.imshow(pixels)
            axis.set_axis_off()
        axes[row, 0].set_title(f"{label}: {float(logits[row].sigmoid()):.2f}", fontsize=9)
        for axis, view, responses in zip(axes[row, 1:], VIEWS, maps[:, row], strict=True):
            axis.imshow(responses.numpy(), cmap="jet", alpha=0.5, extent=extent, interpolation="bicubic")
            axis.set_title(view, fontsize=9)
    save(figure, path)


def command(argv: list[str]) -> None:
    config = tyro.cli(ExplainConfig, args=argv, prog="hp-dval explain")
    path = config.output or f"{Path(config.image).stem}-explained.png"
    draw(path, *explain(config))
    print(path)


if __name__ == "__main__":
    options.main(command, prog="python -m hp_dval.explain")
