"""Command ``hp-dval``: ``hp-dval train`` and so on, the same as ``python -m hp_dval.train``."""

from __future__ import annotations

from hmc_shared.cli import options

COMMANDS = {
    "train": "train HP-DVAL, a part of it or a baseline, and write a run folder",
    "evaluate": "score a split of a data set with a trained model",
    "predict": "write labels and probabilities for new images",
    "explain": "draw where the global and the local prompts look in an image",
}


def main() -> None:
    options.main(lambda argv: options.dispatch(argv, "hp_dval", COMMANDS), prog="hp-dval")


if __name__ == "__main__":
    main()
