"""``hcal evaluate``: score a split of a data set with a trained model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from hmc_shared.cli import options


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
    from hcal.methods import load_model
    from hmc_shared.runs.evaluate import dataset_of_run, split_metrics
    from hmc_shared.runs.read import open_run
    from hmc_shared.vision.pixels import score_logits

    folder, trained = open_run(config.run)
    model = load_model(folder)
    dataset = dataset_of_run(
        config.run,
        trained,
        model.hierarchy,
        model.input_shape,
        name=config.dataset,
        data_dir=config.data_dir,
        view="vector" if len(model.input_shape) == 1 else "image",
    )
    logits = score_logits(model, dataset.splits[config.split].inputs, workers=config.workers)
    return split_metrics(dataset, config.split, model.scores(logits, config.decode))


def command(argv: list[str]) -> None:
    config = tyro.cli(EvaluateConfig, args=argv, prog="hcal evaluate")
    metrics = evaluate(config)
    print(json.dumps(metrics, indent=2) if config.json else options.format_metrics(metrics))


if __name__ == "__main__":
    options.main(command, prog="python -m hcal.evaluate")
