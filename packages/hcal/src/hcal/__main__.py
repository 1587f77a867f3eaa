"""Command ``hcal``: ``hcal train`` and so on, the same as ``python -m hcal.train``."""

from __future__ import annotations

from hmc_shared.cli import options

COMMANDS = {
    "train": "train a method on a data set and write a run folder",
    "evaluate": "score a split of a data set with a trained model",
    "predict": "name the classes of new images or vectors",
    "plot": "draw features and prototypes before and after training",
    "sweep": "train with several values of gamma or epsilon, with a table and a plot",
}


def main() -> None:
    options.main(lambda argv: options.dispatch(argv, "hcal", COMMANDS), prog="hcal")


if __name__ == "__main__":
    main()
