"""Command ``hlstm``: ``hlstm train`` and so on, the same as ``python -m hlstm.train``."""

from __future__ import annotations

from hmc_shared.cli import options

COMMANDS = {
    "train": "train a method on a data set and write a run folder",
    "evaluate": "score a split of a data set with a trained model",
    "predict": "write labels and coherent probabilities for new feature vectors",
}


def main() -> None:
    options.main(lambda argv: options.dispatch(argv, "hlstm", COMMANDS), prog="hlstm")


if __name__ == "__main__":
    main()
