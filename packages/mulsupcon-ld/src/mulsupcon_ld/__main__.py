"""Command ``mulsupcon-ld``: ``mulsupcon-ld train`` is ``python -m mulsupcon_ld.train``, and so on."""

from __future__ import annotations

from hmc_shared.cli import options

COMMANDS = {
    "train": "train with a loss on a data set and write a run folder",
    "evaluate": "score a split of a data set with a trained model",
    "predict": "write labels and probabilities for new feature vectors or images",
    "explain": "show logical labels beside the recovered label distributions",
    "sweep": "the paper's ablation and its grid over alpha and beta: a table and a heat map",
}


def main() -> None:
    options.main(lambda argv: options.dispatch(argv, "mulsupcon_ld", COMMANDS), prog="mulsupcon-ld")


if __name__ == "__main__":
    main()
