"""Command ``hp-dval``; ``hp-dval train`` is also ``python -m hp_dval.train``, for launchers."""

from __future__ import annotations

from collections.abc import Sequence

from hmc_shared.cli.commands import Command, run_program
from hp_dval.config import Config, EvaluateConfig, ExplainConfig, PredictConfig

COMMANDS = {
    "train": Command(
        "train HP-DVAL, a part of it or a baseline, and write a run folder", Config, "hp_dval.train:command"
    ),
    "evaluate": Command(
        "score a split of a data set with a trained model",
        EvaluateConfig,
        "hmc_shared.runs.evaluate:command",
    ),
    "predict": Command(
        "write labels and probabilities for new images", PredictConfig, "hmc_shared.predict.inputs:command"
    ),
    "explain": Command(
        "draw where the global and the local prompts look in an image",
        ExplainConfig,
        "hp_dval.explain:command",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    run_program("hp-dval", "hp_dval", COMMANDS, argv)


if __name__ == "__main__":
    main()
