"""max_over_descendants beside the dense formulation of the C-HMCNN paper's code, in one run.

    python benchmarks/constraints.py [--data-dir DATA] [--device cuda] [--threads 2]

Dense: probabilities expanded to (batch, C, C) in float64, times the 0/1 descendant matrix, maximum over the
last dimension. Both take the same float32 probabilities, forward plus backward. Time is the median of
repeats after a warm-up. Extra memory is the peak of all that a forward and backward pass holds, results and
gradient included, inputs and constants not: tensors seen by a dispatch mode on a CPU (temporary memory
inside one kernel is not seen), `torch.cuda.max_memory_allocated` on a GPU. Prints a Markdown table.

The hierarchies are those of cellcycle_GO and cellcycle_FUN; without data, a random graph of 4,000 classes
with 1.5 parents each and a random tree of 500.
"""

from __future__ import annotations

import argparse
import statistics
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from common import GO, hardware, random_dag, random_vectors, real_or_made
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_descendants

GIB = 2**30


class PeakMemory(TorchDispatchMode):
    """Peak bytes of the storages made while it is active and still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self.known = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Storages that come in were here before, or were counted when they were made.
        before = {t.untyped_storage().data_ptr() for t in args if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in before and storage not in self.known:
                self.known.add(storage)
                self.add(storage.nbytes())
                weakref.finalize(storage, self.add, -storage.nbytes())
        return result

    def add(self, nbytes: int) -> None:
        self.alive += nbytes
        self.peak = max(self.peak, self.alive)


def dense(probabilities: Tensor, descendants: Tensor) -> Tensor:
    """(batch, C) float64; ``descendants`` (C, C) float64: 1 where the column is the row or below it."""
    batch, C = probabilities.shape
    expanded = probabilities.double().unsqueeze(1).expand(batch, C, C)
    return (expanded * descendants).max(dim=2).values


def extra_memory(step: Callable[[], object], device: torch.device) -> int:
    if device.type == "cpu":
        with PeakMemory() as memory:
            step()
        return memory.peak
    torch.cuda.synchronize(device)
    start = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - start


def seconds(step: Callable[[], object], device: torch.device, repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):  # the first is the warm-up
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def compare(name: str, h: Hierarchy, batch: int, device: torch.device) -> tuple[str, float | None, float]:
    """A row of the table, the ratio of the times, and our extra memory in multiples of the scores."""
    h = h.to(device)
    scores = torch.rand(batch, len(h), generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    weights = torch.rand(batch, len(h), generator=torch.Generator().manual_seed(1)).to(device)

    def ours() -> tuple[Tensor, Tensor]:
        result = max_over_descendants(scores, h)
        return result, torch.autograd.grad(result, scores, weights)[0]

    our_seconds = seconds(ours, device, repeats=100)
    our_memory = extra_memory(ours, device)
    multiple = our_memory / (4 * scores.numel())
    start = (
        f"| {name} | {len(h):,} | {batch} | {our_seconds * 1e3:.2f} ms | {our_memory / 2**20:.2f} MiB "
        f"| {multiple:.1f} | "
    )
    needed = 2 * 8 * batch * len(h) ** 2  # the backward pass holds two (batch, C, C) tensors of float64
    if needed > 0.7 * free_memory(device):
        return f"{start}not run: needs {needed / GIB:.0f} GiB | | | |", None, multiple

    descendants = h.ancestors.T.double()

    def theirs() -> tuple[Tensor, Tensor]:
        result = dense(scores, descendants)
        return result, torch.autograd.grad(result, scores, weights.double())[0]

    difference = max(float((a - b).detach().abs().max()) for a, b in zip(ours(), theirs(), strict=True))
    their_seconds = seconds(theirs, device, repeats=3 if needed > GIB / 2 else 10)
    their_memory = extra_memory(theirs, device)
    ratio = their_seconds / our_seconds
    row = (
        f"{start}{their_seconds * 1e3:.1f} ms | {their_memory / 2**20:,.0f} MiB | {ratio:,.0f}x "
        f"| {difference:.0e} |"
    )
    return row, ratio, multiple


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", help="folder of the benchmark files; default: HMC_DATA")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="fewer where cores are shared"
    )
    parser.add_argument("--classes", type=int, default=GO, help="of a made ontology")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    print(f"max_over_descendants, forward and backward; torch {torch.__version__}, {hardware(args.device)}\n")
    print(
        "| hierarchy | classes | batch | ours | extra memory | in (batch, C) float32 | dense | extra memory ",
        end="",
    )
    print("| ratio | largest difference |\n|---|---|---|---|---|---|---|---|---|---|")
    measured = {}
    for name, classes, parents in (
        ("cellcycle_GO", args.classes, 1.5),
        ("cellcycle_FUN", args.classes // 8, 1),
    ):
        made = partial(random_vectors, random_dag(classes, parents), n=100)
        dataset = real_or_made(name, args.data_dir, made)
        for batch in (4, 64):
            row, *measured[name, batch] = compare(dataset.name, dataset.hierarchy, batch, args.device)
            print(row, flush=True)
    ratio, _ = measured["cellcycle_GO", 4]
    multiple = max(multiple for _, multiple in measured.values())
    verdict = "not run" if ratio is None else "met" if ratio >= 1000 else "NOT MET"
    print(f"\nBar: at least 1,000 times faster than dense on GO at batch 4: {verdict}.")
    print(f"Bar: extra memory at most a few times the scores: at most {multiple:.1f} times.")


if __name__ == "__main__":
    main()
