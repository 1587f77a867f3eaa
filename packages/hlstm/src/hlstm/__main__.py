"""Command ``hlstm``: ``hlstm train|evaluate|predict``, the same as ``python -m hlstm.train`` and so on."""

from __future__ import annotations

from importlib import import_module

from hmc_shared import options

COMMANDS = {
    "train": "train a method on a data set and write a run folder",
    "evaluate": "score a split of a data set with a trained model",
    "predict": "write coherent probabilities for new feature vectors",
}


def dispatch(argv: list[str]) -> None:
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: hlstm COMMAND [--help] [options]\n")
        print("\n".join(f"  {name:10}{text}" for name, text in COMMANDS.items()))
        return
    if argv[0] not in COMMANDS:
        raise ValueError(f"the command should be one of {', '.join(COMMANDS)}. Found {argv[0]!r}.")
    import_module(f"hlstm.{argv[0]}").command(argv[1:])


def main() -> None:
    options.main(dispatch, prog="hlstm")


if __name__ == "__main__":
    main()
