"""`hmc evaluate` of a CAFA challenge of the size of GO beside `cafaeval`, on the same files, in one run.

    python benchmarks/cafa.py [--terms 45000] [--targets 500] [--step 0.01]

Prints the time of each, reading included, the ratio, and the largest difference of the values; and the time
of all thresholds instead of a grid. The files are those of `shared/tests/compare/test_cafa.py`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from common import hardware

sys.path.insert(0, str(Path(__file__).parents[1] / "shared" / "tests" / "compare"))
from test_cafa import cafaeval, ours, write_challenge

Result = TypeVar("Result")


def timed(function: Callable[[], Result]) -> tuple[float, Result]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--terms", type=int, default=45_000)
    parser.add_argument("--targets", type=int, default=500)
    parser.add_argument("--step", type=float, default=0.01)
    args = parser.parse_args()
    print(hardware(torch.device("cpu")))
    with tempfile.TemporaryDirectory() as folder:
        files = write_challenge(Path(folder), args.terms, args.targets)
        seconds, found = timed(lambda: ours(files, step=args.step, roots=True))
        exact, _ = timed(lambda: ours(files))
        theirs, expected = timed(lambda: cafaeval(files, args.step, roots=True))
    difference = max(
        abs(found[namespace][name] - value)
        for namespace, values in expected.items()
        for name, value in values.items()
    )
    print(f"{args.terms} terms, {args.targets} targets, thresholds by {args.step}")
    print(f"hmc_shared {seconds:.1f} s, cafaeval {theirs:.1f} s, ratio {theirs / seconds:.1f}")
    print(f"largest difference {difference:.1e}; all thresholds {exact:.1f} s")


if __name__ == "__main__":
    main()
