"""Command ``toy-method``."""

from collections.abc import Sequence

from hmc_shared.cli.commands import Command, run_program
from toy_method.config import Config, EvaluateConfig, PredictConfig

COMMANDS = {
    "train": Command("train on a data set", Config, "toy_method.train:command"),
    "evaluate": Command("score a split", EvaluateConfig, "hmc_shared.runs.evaluate:command"),
    "predict": Command("label new rows", PredictConfig, "hmc_shared.predict.inputs:command"),
}


def main(argv: Sequence[str] | None = None) -> None:
    run_program("toy-method", "toy_method", COMMANDS, argv)


if __name__ == "__main__":
    main()
