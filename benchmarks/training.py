"""Training C-HMCNN with our trainer beside the public formulation of its training, in one run.

    python benchmarks/training.py --data-dir DATA [--threads 2] [--time-to-target]
    python benchmarks/training.py --device cuda --mixed-precision bf16 --compile

Ours: the operations of the block "Train" of hlstm/train.py, put together from the same parts. Public
formulation, written from its description: probabilities expanded to (batch, C, C) in float64 by a dense
descendant matrix, twice a step; BCELoss in float64; a Python list of samples behind a DataLoader; plain Adam.
Same data (train and validation rows), network and settings: the shipped C-HMCNN settings of the paper
protocol. The two take turns; seconds are the median of the rounds, the first of which is a warm-up. A round
is an epoch, or its first steps, scaled to the whole: the column "steps timed" says which.

"Bare" is the same network with cross-entropy of each class and no constraint, on a batch that lies ready,
with fused Adam. Without data, the sets are made: as many rows, and a random graph of 4,000 classes with 1.5
parents each for GO, a tree of 500 for FUN.

``--time-to-target`` adds the seconds of training until the test AU(PRC) on cellcycle_FUN first reaches the
published value. Scoring the test rows after each epoch is outside the clock, and is for this measurement
only: nothing is chosen by it. All recipes train on train and validation rows, for their number of epochs.

Prints Markdown tables. Extra memory (CUDA only) is the peak of what steps hold beyond model and data.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from math import ceil

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from common import GO, hardware, random_dag, random_vectors, real_or_made
from constraints import dense
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from hlstm.batches import training_batches
from hlstm.build import build_model, method_loss
from hlstm.config import Config
from hlstm.model import CoherentModel
from hmc_shared.cli.parse import parse
from hmc_shared.data import HierarchicalDataset
from hmc_shared.data.batches import Batch
from hmc_shared.metrics import au_prc
from hmc_shared.predict.score import score_split

BARS = {"cellcycle_GO": 200, "derisi_GO": 200, "cellcycle_FUN": 3}  # times faster in an epoch
TARGET_BAR = 1 / 10  # of the batch-4 recipe's time to the target


class Ours:
    """A model in our training loop."""

    def __init__(self, config: Config, dataset: HierarchicalDataset, device: torch.device) -> None:
        self.config = config
        self.accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=config.mixed_precision)
        set_seed(config.seed)
        rows = dataset.training_split("paper")
        self.inputs, self.targets = rows.inputs.to(device), rows.targets.to(device)
        self.model = build_model(config, dataset).to(device)
        self.loss_of = method_loss(config, dataset.hierarchy, dataset.evaluated.to(device))
        optimizer = torch.optim.Adam(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        network = torch.compile(self.model) if config.compile else self.model
        self.network, self.optimizer = self.accelerator.prepare(network, optimizer)
        self.scored, self.averages = self.model, []
        if config.weight_average:
            decay = get_ema_multi_avg_fn(config.weight_average)
            self.averages = [AveragedModel(self.model, multi_avg_fn=decay)]
            self.scored = self.averages[0].module
        self.epochs = 0

    def epoch(self, steps: int | None = None) -> None:
        """The first ``steps`` steps of the next epoch; all by default."""
        self.network.train()
        losses = []
        for batch in islice(self.batches(), steps):
            loss = self.loss(batch)
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
            for average in self.averages:
                average.update_parameters(self.model)
            losses.append(loss.detach())
        step_losses = self.accelerator.reduce(torch.stack(losses), reduction="mean")
        if not step_losses.isfinite().all():
            raise FloatingPointError("The training loss is not finite.")
        self.epochs += 1

    def batches(self) -> Iterator[Batch]:
        """Those of the next epoch."""
        return training_batches(
            self.model, self.inputs, self.targets, self.config, self.epochs, 0, rank=0, world=1
        )

    def loss(self, batch: Batch) -> Tensor:
        return batch.weights @ self.loss_of(*self.network(batch.inputs), batch.labels)


class Bare:
    """The network and cross-entropy alone, one batch again and again."""

    def __init__(self, ours: Ours) -> None:
        self.model, self.batch = copy.deepcopy(ours.model), next(ours.batches())
        self.network = torch.compile(self.model) if ours.config.compile else self.model
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=ours.config.learning_rate, fused=True)
        self.bf16 = ours.config.mixed_precision == "bf16"

    def epoch(self, steps: int) -> None:
        self.model.train()
        targets = self.batch.labels.float()
        for _ in range(steps):
            with torch.autocast(targets.device.type, dtype=torch.bfloat16, enabled=self.bf16):
                logits = self.network(self.batch.inputs)[0]
            F.binary_cross_entropy_with_logits(logits.float(), targets).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()


class PublicFormulation:
    """The same network, trained as the public code of C-HMCNN does it: rows are standardised beforehand."""

    def __init__(
        self, config: Config, dataset: HierarchicalDataset, model: CoherentModel, device: torch.device
    ) -> None:
        self.model = model
        self.descendants = dataset.hierarchy.ancestors.T.double().to(device)
        self.evaluated = dataset.evaluated.to(device)
        rows = dataset.training_split("paper")
        inputs = model.normalize(rows.inputs.to(device))  # type: ignore[union-attr]
        samples = list(zip(inputs, rows.targets.double().to(device), strict=True))
        self.loader = DataLoader(samples, batch_size=config.batch_size, shuffle=True)  # type: ignore[arg-type]
        self.optimizer = torch.optim.Adam(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.bce = torch.nn.BCELoss()

    def epoch(self, steps: int) -> None:
        """The first ``steps`` steps of an epoch."""
        self.model.train()
        for inputs, targets in islice(self.loader, steps):
            self.optimizer.zero_grad()
            self.loss(inputs, targets).backward()
            self.optimizer.step()

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """MCLoss on probabilities: positives by max(y_B h_B), negatives by MCM."""
        probabilities = self.model(inputs)[0].sigmoid()
        negative = dense(probabilities, self.descendants)
        positive = dense(targets * probabilities.double(), self.descendants)
        constrained = targets * positive + (1 - targets) * negative
        return self.bce(constrained[:, self.evaluated], targets[:, self.evaluated])


def loss_difference(ours: Ours, public: PublicFormulation) -> float:
    """Of the two losses on the first batch, without dropout, while the weights are still the same."""
    ours.model.eval()
    public.model.eval()
    batch = next(ours.batches())
    with torch.no_grad():
        return abs(float(ours.loss(batch)) - float(public.loss(batch.inputs, batch.labels.double())))


def timed(run: Callable[[], None], device: torch.device) -> tuple[float, int]:
    """Seconds, and bytes of extra memory at the peak (0 on a CPU, where they are not known)."""
    cuda, memory = device.type == "cuda", 0
    if cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        memory = torch.cuda.memory_allocated(device)
    start = time.perf_counter()
    run()
    if cuda:
        torch.cuda.synchronize(device)
        memory = torch.cuda.max_memory_allocated(device) - memory
    return time.perf_counter() - start, memory


def take_turns(
    runs: list[Callable[[], None]], device: torch.device, rounds: int = 3
) -> list[tuple[float, int]]:
    """(median seconds, extra bytes) of each; in turns, so that a slow spell of the machine hits all."""
    table = [[timed(run, device) for run in runs] for _ in range(rounds + 1)][1:]  # the first is the warm-up
    return [
        (statistics.median(seconds for seconds, _ in column), column[-1][1])
        for column in zip(*table, strict=True)
    ]


def recipe(*flags: str) -> Config:
    """What ``hlstm train`` would run with."""
    return parse(Config, flags, prog="training.py", package="hlstm")


def dataset_of(name: str, args: argparse.Namespace) -> HierarchicalDataset:
    is_go = name.endswith("GO")
    hierarchy = random_dag(args.classes if is_go else args.classes // 8, 1.5 if is_go else 1)
    return real_or_made(name, args.data_dir, partial(random_vectors, hierarchy), protocol="paper")


def epoch_row(name: str, args: argparse.Namespace) -> str:
    """A row of the first table, which ends in steps per second."""
    device, bar = args.device, BARS[name]
    precision = ("--mixed-precision", args.mixed_precision)
    config = recipe("--dataset", name, "--method", "chmcnn", "--protocol", "paper", *precision)
    dataset = dataset_of(name, args)
    ours = Ours(config, dataset, device)
    public = PublicFormulation(config, dataset, copy.deepcopy(ours.model), device)
    difference = loss_difference(ours, public)

    in_epoch = ceil(len(ours.inputs) / config.batch_size)
    our_steps = min(args.steps or in_epoch, in_epoch)
    their_steps = min(args.dense_steps, our_steps) if name.endswith("GO") else our_steps
    bare = Bare(ours)
    runs = [lambda: ours.epoch(our_steps), lambda: public.epoch(their_steps), lambda: bare.epoch(our_steps)]
    if args.compile:
        compiled = Ours(replace(config, compile=True), dataset, device)
        compiled_bare = Bare(compiled)
        runs += [lambda: compiled.epoch(our_steps), lambda: compiled_bare.epoch(our_steps)]
    (our_seconds, our_memory), (their_seconds, their_memory), *more = take_turns(runs, device, args.rounds)

    our_epoch, their_epoch = our_seconds * in_epoch / our_steps, their_seconds * in_epoch / their_steps
    ratio = their_epoch / our_epoch
    mib = f"{our_memory / 2**20:,.0f} / {their_memory / 2**20:,.0f} MiB" if device.type == "cuda" else "-"
    rates = [our_steps / our_seconds, *(our_steps / seconds for seconds, _ in more)]
    return (
        f"| {dataset.name} | {len(dataset.hierarchy):,} | {config.hidden_size} | {config.batch_size} "
        f"| {device} | {torch.get_num_threads()} | {our_steps} / {their_steps} of {in_epoch} "
        f"| {our_epoch:.2f} "
        f"| {their_epoch:,.1f} | {ratio:,.1f}x | >= {bar}x: {'met' if ratio >= bar else 'NOT MET'} "
        f"| {mib} | {difference:.0e} | {' / '.join(f'{rate:,.0f}' for rate in rates)} |"
    )


def seconds_to_target(
    config: Config, dataset: HierarchicalDataset, target: float, max_seconds: float, device: torch.device
) -> tuple[float | None, float, str]:
    """Seconds of training to the target (None: not reached), all seconds of training, and a note."""
    ours = Ours(config, dataset, device)
    evaluated = dataset.evaluated
    seconds, best = 0.0, 0.0
    while ours.epochs < config.epochs and seconds < max_seconds:
        seconds += timed(ours.epoch, device)[0]
        reached = au_prc(
            score_split(ours.scored, dataset.test)[:, evaluated], dataset.test.targets[:, evaluated]
        )
        if reached >= target:
            return seconds, seconds, f"epoch {ours.epochs} ({reached:.4f})"
        best = max(best, reached)
    return None, seconds, f"not reached in {ours.epochs} epochs (best {best:.4f})"


def time_to_target(args: argparse.Namespace) -> None:
    """Print the second table."""
    name = "cellcycle_FUN"
    dataset = dataset_of(name, args)
    recipes = {
        "C-HMCNN, batch-4 recipe": ("--method", "chmcnn", "--protocol", "paper"),
        "C-HMCNN, shipped": ("--method", "chmcnn"),
        "HLSTM, shipped": ("--method", "hlstm"),
    }
    print(f"\nTime to test AU(PRC) {args.target} on {name}, seed {args.seed}\n")
    print("| recipe | batch | learning rate | hidden | seconds of training | reached | of batch-4 | bar |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    slow: tuple[float | None, float] | None = None
    for label, flags in recipes.items():
        config = recipe("--dataset", name, "--seed", str(args.seed), *flags)
        reached, spent, note = seconds_to_target(config, dataset, args.target, args.max_seconds, args.device)
        if slow is None:
            slow, comparison = (reached, spent), "1 | "
        elif reached is None:
            comparison = f"- | <= {TARGET_BAR:g}: {'open' if slow[0] is None else 'NOT MET'}"
        else:
            # A batch-4 run that never got there took longer than it was given: the share is an upper bound.
            share, bound = reached / slow[1], "" if slow[0] is not None else "< "
            verdict = "met" if share <= TARGET_BAR else "NOT MET" if slow[0] is not None else "open"
            comparison = f"{bound}{share:.3f} | <= {TARGET_BAR:g}: {verdict}"
        print(
            f"| {label} | {config.batch_size} | {config.learning_rate:g} | {config.hidden_size} "
            f"| {spent:.1f} | {note} | {comparison} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", help="folder of the benchmark files; default: HMC_DATA")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="fewer where cores are shared"
    )
    parser.add_argument("--mixed-precision", choices=["no", "bf16"], default="no", help="of ours and of bare")
    parser.add_argument("--sets", nargs="+", choices=[*BARS], default=[*BARS])
    parser.add_argument("--classes", type=int, default=GO, help="of a made ontology")
    parser.add_argument("--rounds", type=int, default=3, help="after the warm-up")
    parser.add_argument("--steps", type=int, help="steps in a round; default: a whole epoch")
    parser.add_argument(
        "--dense-steps", type=int, default=6, help="at most so many of the public formulation on GO"
    )
    parser.add_argument("--compile", action="store_true", help="also time our steps with torch.compile")
    parser.add_argument("--time-to-target", action="store_true", help="also measure the time to --target")
    parser.add_argument("--target", type=float, default=0.255, help="AU(PRC), by default the published one")
    parser.add_argument(
        "--max-seconds", type=float, default=1200, help="of training, for a recipe that misses the target"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the recipes of --time-to-target")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.device = torch.device(args.device)

    print(f"C-HMCNN, training; torch {torch.__version__}, {hardware(args.device)}", end=", ")
    print(f"mixed precision {args.mixed_precision}. Ours / public formulation\n")
    print(
        "| set | classes | hidden | batch | device | threads | steps timed | ours, s/epoch "
        "| public formulation, s/epoch | ratio | bar | extra memory | difference of losses "
        f"| our steps/s / bare{' / both compiled' * args.compile} |\n" + "|---" * 14 + "|",
        flush=True,
    )
    for name in args.sets:
        print(epoch_row(name, args), flush=True)
    if args.time_to_target:
        time_to_target(args)


if __name__ == "__main__":
    main()
