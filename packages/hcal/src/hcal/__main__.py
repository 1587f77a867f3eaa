"""Command ``hcal``; ``hcal train`` is also ``python -m hcal.train``, for launchers."""

from __future__ import annotations

from collections.abc import Sequence

from hcal.config import Config, EvaluateConfig, PlotConfig, PredictConfig
from hmc_shared.cli.commands import Command, run_program

COMMANDS = {
    "train": Command("train a model on a data set, into a run folder", Config, "hcal.train:command"),
    "evaluate": Command(
        "score a split of a data set with a trained model",
        EvaluateConfig,
        "hmc_shared.runs.evaluate:command",
    ),
    "predict": Command(
        "name the classes of new images or vectors", PredictConfig, "hmc_shared.predict.inputs:command"
    ),
    "plot": Command(
        "draw features and prototypes before and after training", PlotConfig, "hcal.plot:command"
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    run_program("hcal", "hcal", COMMANDS, argv)


if __name__ == "__main__":
    main()
