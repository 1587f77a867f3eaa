"""Command ``hcal``: ``hcal train|evaluate|predict``, the same as ``python -m hcal.train`` and so on."""

from __future__ import annotations

from hmc_shared import options

COMMANDS = {
    "train": "train a method on a data set and write a run folder",
    "evaluate": "score a split of a data set with a trained model",
    "predict": "name the classes of new images",
}


def main() -> None:
    options.main(lambda argv: options.dispatch(argv, "hcal", COMMANDS), prog="hcal")


if __name__ == "__main__":
    main()
