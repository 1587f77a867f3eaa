"""Command ``hlstm``; ``hlstm train`` is also ``python -m hlstm.train``, for launchers."""

from __future__ import annotations

from collections.abc import Sequence

from hlstm.config import Config, EvaluateConfig, PredictConfig
from hmc_shared.cli.commands import Command, run_program

COMMANDS = {
    "train": Command("train a model on a data set, into a run folder", Config, "hlstm.train:command"),
    "evaluate": Command(
        "score a split of a data set with a trained model",
        EvaluateConfig,
        "hmc_shared.runs.evaluate:command",
    ),
    "predict": Command(
        "write labels and coherent probabilities for new feature vectors",
        PredictConfig,
        "hmc_shared.predict.inputs:command",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    run_program("hlstm", "hlstm", COMMANDS, argv)


if __name__ == "__main__":
    main()
