"""HCAL with ResNet-18 on CIFAR-100 for as many epochs as fit: images a second, and accuracy.

    python benchmarks/cifar.py --seconds 120 [--data-dir DATA] [--mixed-precision bf16] [--compile]

A first run of one epoch, with all that is done once, says how many fit. The second trains so many with
`hcal train`'s loop and the shipped recipe, its cosine over them. Without CIFAR-100, on random images of its
shape: then the accuracies mean nothing and are left out. Where it runs is what accelerate chooses.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from common import hardware, random_images, real_or_made

# This folder last: there, a file hides the package of the same name.
sys.path.sort(key=lambda folder: Path(folder) == Path(__file__).parent)

from hcal.config import Config
from hcal.train import train
from hmc_shared.cli.parse import parse


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", help="folder of the benchmark files; default: HMC_DATA")
    parser.add_argument("--seconds", type=float, default=120, help="for both runs together")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--images", type=int, default=50_000, help="random ones of the training split")
    parser.add_argument("--mixed-precision", choices=["no", "bf16"], default="no")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()

    dataset = real_or_made("cifar100", args.data_dir, partial(random_images, args.images))
    words = ["--dataset", "cifar100", "--encoder", args.encoder, "--mixed-precision", args.mixed_precision]
    words += ["--compile"] * args.compile

    def run(folder: str, epochs: int) -> dict:
        options = ["--epochs", str(epochs), "--output-dir", folder]
        config = parse(Config, [*words, *options], prog="cifar.py", package="hcal")
        return train(config, dataset)  # type: ignore[return-value]

    with TemporaryDirectory() as folder:
        seconds = run(f"{folder}/first", 1)["seconds"]
        epochs = max(1, int((args.seconds - 2 * seconds["total"]) / seconds["train"]))
        results = run(f"{folder}/run", epochs)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rate = epochs * len(dataset.train) / results["seconds"]["train"]
    print(f"HCAL, {args.encoder}, {dataset.name}; torch {torch.__version__}, {hardware(device)}", end="")
    print(f", mixed precision {args.mixed_precision}{', compiled' * args.compile}\n")
    names = [name for name in results["metrics"] if name.startswith(("accuracy", "hvr"))]
    accuracies = {name: f"{results['metrics'][name]:.4f}" for name in names}
    columns = {
        "epochs": epochs,
        "seconds of training": f"{results['seconds']['train']:.0f}",
        "images/s": f"{rate:,.0f}",
        **({} if "made" in dataset.name else accuracies),
    }
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    print(f"| {' | '.join(map(str, columns.values()))} |")


if __name__ == "__main__":
    main()
