"""``hcal plot``: features and prototypes at the start and the end of a run, Figures 6 and 7 of the paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.manifold import TSNE
from torch import Tensor

from hcal.build import build_model, load_model
from hcal.config import Config, PlotConfig
from hcal.drawing import draw_features
from hcal.model import LevelClassifier
from hmc_shared.cli.parse import parse
from hmc_shared.compare.plots import save
from hmc_shared.data import HierarchicalDataset, Split, load_dataset
from hmc_shared.metrics import level_targets
from hmc_shared.predict.score import map_split
from hmc_shared.runs.options import open_run


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

    folder, saved = open_run(config.run)
    if not saved or not (folder.parent / "results.json").is_file():
        raise ValueError(f"`run` should be the folder of a finished run. Found {config.run!r}.")
    trained = parse(Config, ["--config", f"{config.run}/config.yaml"], prog="hcal plot")
    if trained.method != "hcal" or trained.task != "multi":
        found = f"--method {trained.method} --task {trained.task}"
        raise ValueError(f"{config.run} should be a run of one network with prototypes. Found {found}.")
    dataset = dataset or load_dataset(
        trained.dataset, config.data_dir or trained.data_dir, view=trained.view, **trained.reading
    )
    hierarchy = dataset.hierarchy
    last = load_model(folder)
    if last.hierarchy != hierarchy:
        raise ValueError(f"{config.run} was trained on another hierarchy than that of {dataset.name!r}.")

    split = dataset.splits[config.split]
    sampled = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[: config.samples]
    split = split.select(sampled.numpy())
    stages = {}
    for name, model in {"start": first_model(trained, dataset), "end": last}.items():
        prototypes = torch.cat(list(model.prototypes)).detach()  # type: ignore[arg-type]
        stages[name] = embed(features(model, split, trained.workers), prototypes)

    output = Path(config.output) if config.output else folder.parent / "figures"
    output.mkdir(parents=True, exist_ok=True)
    depths = range(hierarchy.num_levels)[::-1]
    rows: dict[str, list[dict[int, str]]] = {
        "levels": [{depth: "*"} for depth in depths],
        "adjacent-levels": [{depth: "*", depth - 1: "o"} for depth in depths if depth > 0],
    }
    written = []
    for name in rows if hierarchy.num_levels > 1 else ["levels"]:
        figure = draw_features(stages, level_targets(split.targets, hierarchy), hierarchy, rows[name])
        figure.suptitle(f"{dataset.name}: t-SNE of {len(split)} {config.split} samples and the prototypes")
        for path in (output / f"{name}.svg", output / f"{name}.png"):
            save(figure, path)
            written.append(path)
    return written


def first_model(config: Config, dataset: HierarchicalDataset) -> LevelClassifier:
    """The network that ``hcal train`` starts from with these options, bit for bit."""

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_model(config, dataset)


def features(model: LevelClassifier, split: Split, workers: int = 0) -> Tensor:
    """(n, d) float32 unit features in evaluation mode: what ``forward`` returns on the way to the scores."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return map_split(lambda raw: model(model.normalize(raw)), model.to(device), split, workers).cpu()


def embed(features: Tensor, prototypes: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Places in the plane of features (n, d) and prototypes (C, d): one t-SNE of their cosine distances."""

    vectors = torch.cat([features, prototypes.cpu()]).numpy()
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    places = TSNE(metric="cosine", perplexity=perplexity, random_state=0).fit_transform(vectors)
    return places[: len(features)], places[len(features) :]


def command(config: PlotConfig) -> None:
    print(*plot(config), sep="\n")
