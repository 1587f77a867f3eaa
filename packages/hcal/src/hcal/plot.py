"""``hcal plot``: features and prototypes at the start and the end of a run, Figures 6 and 7 of the paper."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from hcal.config import Config
from hmc_shared.cli import options

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from hcal.model import LevelClassifier
    from hmc_shared.data import HierarchicalDataset


@dataclass(frozen=True)
class PlotConfig:
    """Draw features and prototypes of a finished run of HCAL, before and after training, by t-SNE."""

    run: Annotated[str, tyro.conf.Positional]
    """Run folder."""
    split: Literal["train", "validation", "test"] = "test"
    """Whose features to draw."""
    samples: int = 2000
    """Samples to draw at most, picked at random with a fixed seed."""
    output: str | None = None
    """Folder for levels and adjacent-levels, as .svg and .png; default: RUN/figures."""
    data_dir: str | None = None
    """Folder of the data sets; default: that of the run, or the environment variable HMC_DATA."""

    def __post_init__(self) -> None:
        options.check(self, "samples", self.samples >= 1, "be at least 1")


def plot(config: PlotConfig, dataset: HierarchicalDataset | None = None) -> list[Path]:
    """Write the figures, each as SVG and PNG, and return their paths.

    ``levels`` is Figure 6: a row for each level, the finest first, with its prototypes. ``adjacent-levels``
    is Figure 7: a row for each two neighbouring levels, with the prototypes of both. The columns are the
    network before training and as saved; in a column all panels show the same places.

    Args:
        config: all options.
        dataset: used instead of loading the run's.

    Raises ValueError for an unfinished run, one without prototypes or with a network for each level, and
    another hierarchy than the run's.
    """
    import torch

    from hcal.figures import draw_features
    from hcal.methods import load_model
    from hmc_shared.compare.plots import save
    from hmc_shared.data import load_dataset
    from hmc_shared.metrics import level_targets
    from hmc_shared.runs.read import open_run

    folder, saved = open_run(config.run)
    if not saved or not (folder.parent / "results.json").is_file():
        raise ValueError(f"`run` should be the folder of a finished run. Found {config.run!r}.")
    trained = Config(**saved)
    if trained.method != "hcal" or trained.task != "multi":
        found = f"--method {trained.method} --task {trained.task}"
        raise ValueError(f"{config.run} should be a run of one network with prototypes. Found {found}.")
    dataset = dataset or load_dataset(
        trained.dataset, config.data_dir or trained.data_dir, view=trained.view, levels=trained.levels
    )
    hierarchy = dataset.hierarchy
    last = load_model(folder)
    if last.hierarchy != hierarchy:
        raise ValueError(f"{config.run} was trained on another hierarchy than that of {dataset.name!r}.")

    split = dataset.splits[config.split]
    drawn = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[: config.samples]
    inputs: Any = split.inputs
    inputs = inputs[drawn] if isinstance(inputs, torch.Tensor) else inputs.select(drawn.numpy())
    stages = {}
    for name, model in {"start": first_model(trained, dataset), "end": last}.items():
        prototypes = torch.cat(list(model.prototypes)).detach()  # type: ignore[arg-type]
        stages[name] = embed(features(model, inputs, trained.workers), prototypes)

    output = Path(config.output) if config.output else folder.parent / "figures"
    output.mkdir(parents=True, exist_ok=True)
    depths = range(hierarchy.num_levels)[::-1]
    rows: dict[str, list[dict[int, str]]] = {
        "levels": [{depth: "*"} for depth in depths],
        "adjacent-levels": [{depth: "*", depth - 1: "o"} for depth in depths if depth > 0],
    }
    written = []
    for name in rows if hierarchy.num_levels > 1 else ["levels"]:
        figure = draw_features(stages, level_targets(split.targets[drawn], hierarchy), hierarchy, rows[name])
        figure.suptitle(f"{dataset.name}: t-SNE of {len(drawn)} {config.split} samples and the prototypes")
        for path in (output / f"{name}.svg", output / f"{name}.png"):
            save(figure, path)
            written.append(path)
    return written


def first_model(config: Config, dataset: HierarchicalDataset) -> LevelClassifier:
    """The network that ``hcal train`` starts from with these options, bit for bit."""
    import torch

    from hcal.methods import build_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_model(config, dataset)


def features(model: LevelClassifier, inputs: Any, workers: int = 0) -> Tensor:
    """(n, d) float32 unit features in evaluation mode: what ``forward`` returns on the way to the scores."""
    import torch

    from hmc_shared.vision.pixels import score_logits

    device = "cuda" if torch.cuda.is_available() else "cpu"
    outputs: list[Tensor] = []
    hook = model.register_forward_hook(lambda *call: outputs.append(call[-1].cpu()))
    score_logits(model.to(device), inputs, workers=workers)
    hook.remove()
    return torch.cat(outputs)


def embed(features: Tensor, prototypes: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Places in the plane of features (n, d) and prototypes (C, d): one t-SNE of their cosine distances."""
    import torch
    from sklearn.manifold import TSNE

    vectors = torch.cat([features, prototypes.cpu()]).numpy()
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    places = TSNE(metric="cosine", perplexity=perplexity, random_state=0).fit_transform(vectors)
    return places[: len(features)], places[len(features) :]


def command(argv: list[str]) -> None:
    print(*plot(tyro.cli(PlotConfig, args=argv, prog="hcal plot")), sep="\n")


if __name__ == "__main__":
    options.main(command, prog="python -m hcal.plot")
