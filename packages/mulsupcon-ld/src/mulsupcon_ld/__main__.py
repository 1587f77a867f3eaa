"""Command ``mulsupcon-ld``; its ``train`` is also ``python -m mulsupcon_ld.train``, for launchers."""

from __future__ import annotations

from collections.abc import Sequence

from hmc_shared.cli.commands import Command, run_program
from mulsupcon_ld.config import Config, EvaluateConfig, ExplainConfig, PredictConfig

COMMANDS = {
    "train": Command(
        "train a model with a chosen loss, into a run folder", Config, "mulsupcon_ld.train:command"
    ),
    "evaluate": Command(
        "score a split of a data set with a trained model",
        EvaluateConfig,
        "hmc_shared.runs.evaluate:command",
    ),
    "predict": Command(
        "write labels and probabilities for new feature vectors or images",
        PredictConfig,
        "hmc_shared.predict.inputs:command",
    ),
    "explain": Command(
        "show labels beside the label distributions that were recovered",
        ExplainConfig,
        "mulsupcon_ld.explain:command",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    run_program("mulsupcon-ld", "mulsupcon_ld", COMMANDS, argv)


if __name__ == "__main__":
    main()
