"""The losses of MulSupCon_LD beside Algorithm 1, MulSupCon's rows, and the products that nobody can avoid.

    python benchmarks/mulsupcon_loss.py [--data-dir DATA] [--device cuda] [--threads 2]
    python benchmarks/mulsupcon_loss.py --batch 4096 --queue 65536 --rounds 2

Batch 128, queue 4096, 983 labels, embeddings of 256, forward and backward to z and to the logits of the label
distribution. Labels are rows of Delicious with --data-dir (or HMC_DATA), otherwise made: 19 labels a row,
few of them frequent. Embeddings and distributions are random.

* Algorithm 1: as written, a loop over the samples that picks each one's positives from the queue.
* Rows: as MulSupCon's code has it. An anchor's similarities are copied for each of its labels, a mask of the
  keys that have the label comes from a product, and log(softmax) of a row is averaged under its mask.
* Floor: three products and nothing else, in blocks that stay in the cache: z k^T, a (B, K) matrix times k for
  the gradient to z, and, for rld and cld, one times the keys' distributions for the gradient of G to d. Keys
  have no gradient. "floor, two" is without the third, for any and mulsupcon.

The contenders take turns, the slow two in the first rounds only, and not at all above 1,000 anchors, where
they take 50 GB and more; the first round is the warm-up. Times are medians of the rounds, ratios the median
of each round's ratio. Memory is the peak of all that a step makes, inputs not; GFLOP those of products of two
matrices (the loop has none). Prints a Markdown table, and how far values and gradients of the closed forms
are from those of the loop and of the rows.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from common import hardware, random_labels, real_or_made
from constraints import extra_memory
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mulsupcon_ld.keys import Keys
from mulsupcon_ld.losses import any_loss, ld_loss, mulsupcon_loss

DIM, TAU, ALPHA = 256, 0.1, 0.1
BARS = {"Algorithm 1": 50, "rows": 5}  # times slower, at least
FLOOR_BARS = {"rld": 1.3, "cld": 1.3, "any": 2, "mulsupcon": 2}  # times the floor, at most
SMALL_BAR = 2  # for all of them below 1,000 anchors, over which what is done once for each key is spread
Losses = Callable[[], Tensor]


def label_rows(data_dir: str | None, rows: int, generator: torch.Generator) -> tuple[Tensor, str]:
    dataset = real_or_made("delicious", data_dir, random_labels)
    targets = dataset.train.targets
    return targets[torch.randint(len(targets), (rows,), generator=generator)], f"rows of {dataset.name}"


def flop_in_place(total: tuple[int, ...], left: tuple[int, ...], right: tuple[int, ...], **_: object) -> int:
    """Of addmm_, from shapes, which the counter does not know."""
    return 2 * left[0] * left[1] * right[1]


def floor(z: Tensor, keys: Keys, *right: Tensor) -> Tensor:
    """z k^T, and a matrix of its size times each of ``right`` (K, n)."""
    rows, columns = (512, 2048) if z.device.type == "cpu" else (len(z), 2**26 // len(z))
    with torch.no_grad():
        for some in z.split(rows):
            totals = [some.new_zeros(len(some), part.shape[1]) for part in right]
            for k, *parts in zip(*(part.split(columns) for part in (keys.embeddings, *right)), strict=True):
                similar = some @ k.T
                for total, part in zip(totals, parts, strict=True):
                    total.addmm_(similar, part)
    return z.sum()  # a step differentiates something


def algorithm_1(z: Tensor, labels: Tensor, logits: Tensor, keys: Keys, own_keys: Tensor) -> Tensor:
    """MulSupCon_CLD, lines 7 to 22, with exp(C2) as the weight of G; one loss a sample."""
    D, queue = logits.softmax(1), Keys(*(part[len(z) :] for part in keys))
    losses = []
    for i in range(len(z)):
        mask = (labels[i] & queue.labels).any(1)
        places = torch.cat([own_keys[i : i + 1], len(z) + mask.nonzero().squeeze(1)])
        d_p = torch.cat([D[i : i + 1], queue.distributions[mask]])
        y_p = torch.cat([labels[i : i + 1], queue.labels[mask]])
        C2 = torch.log_softmax(keys.embeddings @ z[i] / TAU, 0)[places]
        contrastive = -((labels[i] & y_p) * d_p).sum(1) @ C2  # Eq. (12)
        G = C2.detach().exp() @ (D[i] - d_p).square().sum(1)
        H = (y_p.float() - d_p).square().sum()
        losses.append(contrastive + G + ALPHA * H)
    return torch.stack(losses)


def rows(z: Tensor, labels: Tensor, keys: Keys) -> Tensor:
    """MulSupCon, a row for each anchor and label; the sum is Eq. (4)."""
    anchor, label = labels.nonzero(as_tuple=True)
    scores = (z @ keys.embeddings.T)[anchor]  # (rows, K)
    masks = (F.one_hot(label, labels.shape[1]).float() @ keys.labels.float().T).bool().long()
    return -((scores / TAU).softmax(1).log() * masks).sum(1) / masks.sum(1) / len(anchor)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", help="folder of the benchmark files; default: HMC_DATA")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="fewer where cores are shared"
    )
    parser.add_argument("--batch", type=int, default=128, help="anchors")
    parser.add_argument("--queue", type=int, default=4096, help="keys in the queue")
    parser.add_argument("--rounds", type=int, default=20, help="of the quick ones")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    batch, device, generator = args.batch, args.device, torch.Generator().manual_seed(0)

    labels_k, source = label_rows(args.data_dir, batch + args.queue, generator)
    embeddings = F.normalize(torch.randn(len(labels_k), DIM, generator=generator))
    distributions = torch.randn(labels_k.shape, generator=generator).softmax(1)
    keys = Keys(embeddings.to(device), labels_k.to(device), distributions.to(device))
    z = F.normalize(torch.randn(batch, DIM, generator=generator)).to(device).requires_grad_()
    logits = torch.randn(batch, labels_k.shape[1], generator=generator).to(device).requires_grad_()
    labels, own_keys = keys.labels[:batch], torch.arange(batch, device=device)
    mean_labels = float(labels.sum(1).float().mean())
    positives = float((labels[:100].float() @ keys.labels.float().T > 0).float().mean())

    def ld(weight: str, **more: object) -> Tensor:
        options: dict[str, Any] = dict(
            temperature=TAU, mean_labels=mean_labels, alpha=ALPHA, weight=weight, sigma=1.0
        )
        return ld_loss(z, labels, logits, keys, own_keys, **options, **more)

    contenders: dict[str, Losses] = {
        "floor": lambda: floor(z, keys, keys.embeddings, keys.distributions),
        "floor, two": lambda: floor(z, keys, keys.embeddings),
        "any": lambda: any_loss(z, labels, keys, own_keys, temperature=TAU),
        "mulsupcon": lambda: mulsupcon_loss(z, labels, keys, temperature=TAU, mean_labels=mean_labels),
        "rld": lambda: ld("rbf"),
        "cld": lambda: ld("prob"),
        "rows": lambda: rows(z, labels, keys),
        "Algorithm 1": lambda: algorithm_1(z, labels, logits, keys, own_keys),
    }

    if batch > 1000:
        for name in BARS:
            del contenders[name]
    floors = {"any": "floor, two", "mulsupcon": "floor, two", "floor, two": "floor, two"}

    def step(losses: Losses) -> tuple[Tensor, ...]:
        total = losses().sum()
        return total, *torch.autograd.grad(total, [z, logits], materialize_grads=True, allow_unused=True)

    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(args.rounds + 1):
        for name, losses in contenders.items():
            if number > 3 and name in BARS:
                continue
            start = time.perf_counter()
            step(losses)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times[name].append(time.perf_counter() - start)

    def ratio(slow: str, fast: str) -> float:
        return statistics.median(a / b for a, b in list(zip(times[slow], times[fast], strict=False))[1:])

    print(f"Losses, forward and backward, on {source}; torch {torch.__version__}, {hardware(device)}\n")
    print(f"{mean_labels:.1f} labels an anchor, {positives:.0%} of the keys are positives (ANY).\n")
    print("| loss | time | times the floor | faster than rows | than Algorithm 1 | extra memory | GFLOP |")
    print("|---|---|---|---|---|---|---|")
    for name, losses in contenders.items():
        with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: flop_in_place}) as counter:
            step(losses)
        beside = [slow for slow in ("rows", "Algorithm 1") if name in FLOOR_BARS and slow in times]
        speedups = [f"{ratio(slow, name):,.0f}x" for slow in beside] or ["", ""]
        memory = extra_memory(lambda losses=losses: step(losses), device) / 2**20
        print(
            f"| {name} | {statistics.median(times[name][1:]) * 1e3:.1f} ms | "
            f"{ratio(name, floors.get(name, 'floor')):.2f} "
            f"| {' | '.join(speedups)} | {memory:,.0f} MiB | {counter.get_total_flops() / 1e9:.2f} |"
        )

    print()
    for name, bar in FLOOR_BARS.items():
        bar = bar if batch > 1000 else SMALL_BAR
        times_floor = ratio(name, floors.get(name, "floor"))
        verdict = "met" if times_floor <= bar else "NOT MET"
        print(f"Bar: {name} at most {bar} times its floor: {verdict}, {times_floor:.2f}.")
    if batch > 1000:
        return
    for slow, bar in BARS.items():
        least = min(ratio(slow, name) for name in ("mulsupcon", "rld", "cld"))
        verdict = "met" if least >= bar else "NOT MET"
        print(f"Bar: at least {bar} times faster than {slow}: {verdict}, {least:.0f}.")
    pairs = {
        "Algorithm 1": (lambda: ld("prob", literal=True, batch_keys=batch), contenders["Algorithm 1"]),
        "rows": (lambda: contenders["mulsupcon"]() / batch, contenders["rows"]),
    }
    for name, pair in pairs.items():
        ours, theirs = ([part.detach() for part in step(losses)] for losses in pair)
        error = max(
            float((a - b).norm() / b.norm().clamp(min=1e-9)) for a, b in zip(ours, theirs, strict=True)
        )
        print(f"Largest relative difference to {name}, of value and gradients: {error:.0e}.")


if __name__ == "__main__":
    main()
