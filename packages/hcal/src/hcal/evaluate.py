"""``hcal evaluate``: score a split of a data set with a trained model."""

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
    split: Literal["train", "validation", "test"] = "test"
    """The split to score."""
    decode: Literal["independent", "path"] | None = None
    """The best node of each level, or the best path; default: that of the run."""
    workers: int = 2
    """Processes that read photographs."""
    json: bool = False
    """Print JSON instead of lines."""


def evaluate(config: EvaluateConfig) -> dict[str, float | None]:
    """The metrics of :func:`hmc_shared.metrics.summarize`, named ``<split>/<metric>``; None if undefined.

    Raises ValueError for a folder without a model, or a data set with other classes or inputs.
    """
    from hcal.inputs import score_logits
    from hcal.methods import load_model
    from hmc_shared.data import ImageTable, load_dataset
    from hmc_shared.metrics import summarize
    from hmc_shared.runs import open_run, or_null

    folder, trained = open_run(config.run)
    name = config.dataset or trained.get("dataset")
    if name is None:
        raise ValueError(f"{config.run} is not a run folder, so `--dataset` is needed.")
    model = load_model(folder)
    view = "vector" if len(model.input_shape) == 1 else "image"
    dataset = load_dataset(name, config.data_dir or trained.get("data_dir"), view=view)
    if model.hierarchy != dataset.hierarchy:
        raise ValueError(f"{config.run} was trained on another hierarchy than that of {name!r}.")
    split = dataset.splits[config.split]
    if not isinstance(split.inputs, ImageTable) and tuple(split.inputs.shape[1:]) != model.input_shape:
        found = tuple(split.inputs.shape[1:])
        raise ValueError(
            f"{config.run} takes inputs of shape {model.input_shape}. Found {found} in {name!r}."
        )
    metrics = summarize(
        model.scores(score_logits(model, split.inputs, workers=config.workers), config.decode),
        split.targets,
        dataset.hierarchy,
        evaluated=dataset.evaluated,
        train_counts=dataset.train_counts,
    )
    return {f"{config.split}/{metric}": or_null(value) for metric, value in metrics.items()}


def command(argv: list[str]) -> None:
    config = tyro.cli(EvaluateConfig, args=argv, prog="hcal evaluate")
    metrics = evaluate(config)
    print(json.dumps(metrics, indent=2) if config.json else options.format_metrics(metrics))


if __name__ == "__main__":
    options.main(command, prog="python -m hcal.evaluate")
