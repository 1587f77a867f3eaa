"""AU(PRC) and per-class AP beside scikit-learn on random scores of the size of a GO test split, in one run.

    python benchmarks/metrics.py [--samples 1278] [--classes 4122] [--density 0.008] [--repeats 5]
    python benchmarks/metrics.py --device cuda

Prints the best time of each, the ratio and the largest difference of the values. With --device cuda, ours are
given tensors that lie there: the metrics count on the CPU, and the time has the copying in it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from common import hardware
from sklearn.metrics import average_precision_score

from hmc_shared.metrics import au_prc, average_precision


def best_of(repeats: int, function: Callable[[], float | np.ndarray]) -> tuple[float, float | np.ndarray]:
    """The shortest wall time in seconds, and the value."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        value = function()
        times.append(time.perf_counter() - start)
    return min(times), value


def report(
    name: str, ours: tuple[float, float | np.ndarray], theirs: tuple[float, float | np.ndarray]
) -> None:
    difference = np.max(np.abs(np.asarray(ours[1]) - np.asarray(theirs[1])))
    print(f"{name:<14}{ours[0]:>10.4f} s{theirs[0]:>14.4f} s{theirs[0] / ours[0]:>9.1f} x{difference:>14.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=1278)
    parser.add_argument("--classes", type=int, default=4122)
    parser.add_argument("--density", type=float, default=0.008, help="share of positives")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    targets = rng.random((args.samples, args.classes)) < args.density
    # Every class has a positive, so that scikit-learn has an AP for each.
    targets[rng.integers(args.samples, size=args.classes), np.arange(args.classes)] = True
    scores = rng.normal(size=targets.shape).astype(np.float32) + 2 * targets.astype(np.float32)

    there = torch.from_numpy(scores).to(args.device), torch.from_numpy(targets).to(args.device)
    print(hardware(args.device))
    print(f"scores {scores.shape} {scores.dtype}, {targets.mean():.2%} positives, best of {args.repeats}")
    print(f"{'':<14}{'hmc_shared':>12}{'scikit-learn':>16}{'ratio':>11}{'difference':>14}")
    report(
        "au_prc",
        best_of(args.repeats, lambda: au_prc(*there)),
        best_of(args.repeats, lambda: average_precision_score(targets, scores, average="micro")),
    )
    columns = range(args.classes)
    report(
        "AP per class",
        best_of(args.repeats, lambda: average_precision(*there)),
        best_of(1, lambda: np.array([average_precision_score(targets[:, c], scores[:, c]) for c in columns])),
    )


if __name__ == "__main__":
    main()
