"""Ten members in one run beside ten runs, as whole commands: wall times, and that they are the same networks.

    python benchmarks/members.py --dataset cellcycle_FUN --method chmcnn

The bars: half of the time of ten runs on two cores, twice the time of one run on a GPU, and the scores of
networks with the same weights to 1e-5.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time

import torch

from hlstm.build import build_model
from hlstm.config import Config
from hlstm.members import Members
from hmc_shared.data import load_dataset
from hmc_shared.predict.score import score_split


def seconds(arguments: argparse.Namespace, *options: str) -> float:
    """Wall time of a training."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            *(sys.executable, "-m", "hlstm", "train", "--output-dir", f"{folder}/run"),
            *("--dataset", arguments.dataset, "--method", arguments.method, *options),
            *("--epochs", str(arguments.epochs), "--patience", str(arguments.epochs)),
        ]
        started = time.perf_counter()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - started


@torch.no_grad()
def largest_difference(arguments: argparse.Namespace) -> float:
    """Of the probabilities of the members and of single networks with their weights."""
    dataset = load_dataset(arguments.dataset, view="vector")
    options = {"method": arguments.method, "dataset": arguments.dataset}
    together = build_model(Config(**options, members=arguments.members), dataset)
    assert isinstance(together, Members)
    probabilities = []
    for member in range(arguments.members):
        network = build_model(Config(**options), dataset)
        own = {name: stack[member] for name, stack in together.stacked_state().items()}
        network.load_state_dict(network.state_dict() | own)
        probabilities.append(score_split(network, dataset.test).double().sigmoid())
    mean = torch.stack(probabilities).mean(0)
    return (score_split(together, dataset.test).double().sigmoid() - mean).abs().max().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="cellcycle_FUN")
    parser.add_argument("--method", default="chmcnn")
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    print(f"largest difference of a probability: {largest_difference(arguments):.1e}", flush=True)
    together = seconds(arguments, "--members", str(arguments.members))
    alone = [seconds(arguments, "--seed", str(seed)) for seed in range(arguments.members)]
    print(f"{arguments.members} members in one run: {together:.1f} s; one run: {min(alone):.1f} s")
    print(
        f"of {arguments.members} runs, {sum(alone):.1f} s: {together / sum(alone):.2f}; "
        f"of one run: {together / min(alone):.2f}"
    )


if __name__ == "__main__":
    main()
