"""``hlstm evaluate``: score a split of a data set with a trained model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from hmc_shared import options


@dataclass(frozen=True)
class EvaluateConfig:
    """Score a split of a data set with a trained model and print the metrics."""

    run: Annotated[str, tyro.conf.Positional]
    """Run folder, or the folder of a saved model."""
    dataset: str | None = None
    """Data set; default: the one that the run was trained on."""
    data_dir: str | None = None
    """Folder of the data sets; default: the environment variable HMC_DATA."""
    protocol: Literal["default", "paper"] | None = None
    """Preprocessing; default: that of the run."""
    split: Literal["train", "validation", "test"] = "test"
    """The split to score."""
    json: bool = False
    """Print JSON instead of lines."""


def evaluate(config: EvaluateConfig) -> dict[str, float | None]:
    """The metrics of :func:`hmc_shared.metrics.summarize`, named ``<split>/<metric>``; None if undefined.

    Raises ValueError for a folder without a model, or a data set with other classes or features.
    """
    from hlstm.methods import load_model
    from hlstm.train import score
    from hmc_shared.data import load_dataset
    from hmc_shared.metrics import summarize
    from hmc_shared.runs import open_run, or_null

    folder, trained = open_run(config.run)
    name = config.dataset or trained.get("dataset")
    if name is None:
        raise ValueError(f"{config.run} is not a run folder, so `--dataset` is needed.")
    model = load_model(folder)
    protocol = config.protocol or trained.get("protocol", "default")
    dataset = load_dataset(name, config.data_dir or trained.get("data_dir"), view="vector", protocol=protocol)
    if model.hierarchy != dataset.hierarchy:
        raise ValueError(f"{config.run} was trained on another hierarchy than that of {name!r}.")
    if model.num_features != dataset.num_features:
        raise ValueError(
            f"{config.run} takes {model.num_features} features. Found {dataset.num_features} in {name!r}."
        )
    split = dataset.splits[config.split]
    metrics = summarize(
        score(model, split.inputs),
        split.targets,
        dataset.hierarchy,
        evaluated=dataset.evaluated,
        train_counts=dataset.train_counts,
    )
    return {f"{config.split}/{metric}": or_null(value) for metric, value in metrics.items()}


def command(argv: list[str]) -> None:
    config = tyro.cli(EvaluateConfig, args=argv, prog="hlstm evaluate")
    metrics = evaluate(config)
    print(json.dumps(metrics, indent=2) if config.json else options.format_metrics(metrics))


if __name__ == "__main__":
    options.main(command, prog="python -m hlstm.evaluate")
