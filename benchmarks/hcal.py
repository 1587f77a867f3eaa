"""Training HCAL on images of CIFAR-100's shape beside a bare network, loops and torchvision, in one run.

    python benchmarks/hcal.py [--threads 2] [--batch 32] [--compile]
    python benchmarks/hcal.py --device cuda --mixed-precision bf16 --compile

1. Training images per second. HCAL: the operations of the block "Train" of hcal/train.py, put together from
   the same parts, with batches that lie ready and with the input pipeline. Bare: the same encoder with one
   linear layer and cross-entropy, batches ready; same precision, memory format and SGD.
2. ``level_losses`` beside a loop over the parents that occur in the batch, written from Eq. (2), (6), (7).
3. ``training_batches`` on --images uint8 images, 50,000 by default, beside torchvision's transforms of single
   PIL images in a DataLoader with 2 workers.

Pixels and labels are random. The contenders take turns; the first round is the warm-up. Times are medians of
the rounds, ratios the median of each round's ratio, so that a slow spell of the machine hits both sides.
Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

# This folder last: there, this file hides the package of the same name.
sys.path.sort(key=lambda folder: Path(folder) == Path(__file__).parent)

from common import hardware, random_images, take_turns

from hcal.batches import training_batches
from hcal.build import build_model, method_backward, method_losses
from hcal.config import Config
from hcal.losses import level_losses
from hcal.networks import build_encoder
from hmc_shared.data import HierarchicalDataset
from hmc_shared.data.batches import Batch
from hmc_shared.metrics import level_targets
from hmc_shared.runs.steps import step_factor

FINE, COARSE = 100, 20
STEP_BAR = {"cpu": 0.95, "cuda": 0.9}  # of the bare network's images per second
PIPELINE_BAR = 5  # times torchvision's
ENCODERS = ("resnet18", "resnet20")  # 64 to 512 channels, CIFAR stem, no max-pooling; 16 to 64 channels


class Ours:
    """HCAL in our training loop."""

    def __init__(self, config: Config, dataset: HierarchicalDataset, device: torch.device) -> None:
        self.config = config
        accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=config.mixed_precision)
        self.model = build_model(config, dataset).to(device)
        self.inputs = dataset.train.inputs.to(device)  # type: ignore[union-attr]
        self.paths = torch.from_numpy(level_targets(dataset.train.targets, dataset.hierarchy)).to(device)
        self.losses_of = method_losses(config, self.model)
        self.backward = method_backward(config, self.model, accelerator)
        optimizer = torch.optim.SGD(
            self.model.parameter_groups(config.learning_rate, config.prototype_learning_rate),
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.step_sizes = [group["lr"] for group in optimizer.param_groups]
        network = nn.Sequential(torch.compile(self.model) if config.compile else self.model)  # type: ignore
        self.network, self.optimizer = accelerator.prepare(network, optimizer)
        self.generator = torch.Generator(device)
        self.endless = self.whole_batches()
        self.ready = next(self.endless)

    def batches(self, epoch: int = 0) -> Iterator[Batch]:
        """Those of an epoch."""
        return training_batches(
            self.model, self.inputs, self.paths, self.config, epoch, 0, self.generator, rank=0, world=1
        )

    def whole_batches(self) -> Iterator[Batch]:
        """Of one epoch after the other, without the short one at the end: a round is a part of an epoch."""
        for epoch in count():
            yield from islice(self.batches(epoch), len(self.inputs) // self.config.batch_size)

    def train(self, steps: int, *, ready: bool) -> None:
        self.network.train()
        done = []
        for batch in [self.ready] * steps if ready else islice(self.endless, steps):
            factor = step_factor(self.config, 1 + len(done) / steps, self.config.epochs)
            for group, step_size in zip(self.optimizer.param_groups, self.step_sizes, strict=True):
                group["lr"] = step_size * factor
            losses, weights = self.losses_of(self.network(batch.inputs), batch.labels, self.generator)
            self.backward(losses, weights)
            self.optimizer.step()
            self.optimizer.zero_grad()
            done.append(torch.stack([losses.detach(), weights]))


class Bare:
    """The same encoder, a linear layer and cross-entropy."""

    def __init__(self, config: Config, ready: Batch) -> None:
        self.images, self.labels = ready.inputs, ready.labels[:, -1] - COARSE
        encoder, size = build_encoder(config.encoder, (3, 32, 32), stem=config.stem, max_pool=config.max_pool)
        network = nn.Sequential(encoder, nn.Linear(size, FINE)).to(self.images.device)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(
            network.parameters(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.network = torch.compile(network) if config.compile else network
        self.bf16 = config.mixed_precision == "bf16"

    def train(self, steps: int) -> None:
        for _ in range(steps):
            with torch.autocast(self.images.device.type, dtype=torch.bfloat16, enabled=self.bf16):
                logits = self.network(self.images)
            F.cross_entropy(logits.float(), self.labels).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()


class PILImages(Dataset):
    """What torchvision's CIFAR100 does: arrays, a PIL image of one when it is asked for, its transforms."""

    def __init__(self, images: Tensor, labels: list[int], mean: list[float], deviation: list[float]) -> None:
        self.images, self.labels = images.permute(0, 2, 3, 1).contiguous().numpy(), labels
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.RandomRotation(15),
                transforms.ToTensor(),
                transforms.Normalize(mean, deviation),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[row])), self.labels[row]  # type: ignore


def loop_over_parents(
    features: Tensor, paths: Tensor, prototypes: list[Tensor], levels: list[range], temperature: float
) -> Tensor:
    """Eq. (2), (6), (7) as they read, (2,): the fine labels, then one parent after the other."""
    parents, fine = (paths - torch.tensor([level.start for level in levels], device=paths.device)).unbind(1)
    present = parents.unique()
    means = torch.stack([features[parents == parent].mean(0) for parent in present])
    above = F.cross_entropy(means @ prototypes[0].T / temperature, present)
    return torch.stack([above, F.cross_entropy(features @ prototypes[1].T / temperature, fine)])


def verdict(ratio: float, bar: float) -> str:
    return f">= {bar:g}: {'met' if ratio >= bar else 'NOT MET'}"


def training_split(
    config: Config, dataset: HierarchicalDataset, device: torch.device, args: argparse.Namespace
) -> None:
    """Print the rows of one encoder, batch size and way of running."""
    ours = Ours(config, dataset, device)
    bare = Bare(config, ours.ready)
    steps = args.steps or (20 if device.type == "cuda" else 1 if config.encoder == "resnet18" else 10)
    seconds = take_turns(
        [
            lambda: bare.train(steps),
            lambda: ours.train(steps, ready=True),
            lambda: ours.train(steps, ready=False),
        ],
        device,
        args.rounds,
    )
    images = steps * config.batch_size
    rates = images / np.median(seconds, axis=0)
    for column, inputs in ((1, "ready"), (2, "augmented")):
        ratio = float(np.median(seconds[:, 0] / seconds[:, column]))
        network = "compiled" if config.compile else "eager"
        print(
            f"| {config.encoder} | {config.batch_size} | {network} | {inputs} | {steps} | {rates[0]:,.0f} "
            f"| {rates[column]:,.0f} | {ratio:.3f} | {verdict(ratio, STEP_BAR[device.type])} |",
            flush=True,
        )


def losses_row(batch: int, coarse: int, fine: int, device: torch.device, rounds: int, d: int = 256) -> str:
    generator = torch.Generator().manual_seed(0)
    levels = [range(coarse), range(coarse, coarse + fine)]
    leaf = torch.randint(fine, (batch,), generator=generator)
    paths = torch.stack([leaf * coarse // fine, leaf + coarse], dim=1).to(device)
    features, *prototypes = (
        F.normalize(torch.randn(n, d, generator=generator)).to(device).requires_grad_()
        for n in (batch, coarse, fine)
    )
    leaves = [features, *prototypes]

    def ours() -> tuple[Tensor, ...]:
        losses = level_losses(features, paths, [[p] for p in prototypes], levels, temperature=0.1)
        return losses, *torch.autograd.grad(losses.sum(), leaves)

    def theirs() -> tuple[Tensor, ...]:
        losses = loop_over_parents(features, paths, prototypes, levels, 0.1)
        return losses, *torch.autograd.grad(losses.sum(), leaves)

    difference = max(float((a - b).detach().abs().max()) for a, b in zip(ours(), theirs(), strict=True))
    repeats = 5
    seconds = take_turns(
        [lambda: [ours() for _ in range(repeats)], lambda: [theirs() for _ in range(repeats)]], device, rounds
    )
    ours_ms, theirs_ms = 1e3 / repeats * np.median(seconds, axis=0)
    ratio = statistics.median(seconds[:, 1] / seconds[:, 0])
    return (
        f"| {batch} x {d} | {coarse} / {fine} | {ours_ms:.2f} ms | {theirs_ms:.2f} ms | {ratio:.1f}x "
        f"| {difference:.0e} |"
    )


def pipeline_row(config: Config, dataset: HierarchicalDataset, device: torch.device, rounds: int) -> str:
    ours = Ours(config, dataset, device)
    mean, deviation = (
        (statistic.flatten() / 255).tolist() for statistic in (ours.model.input_mean, ours.model.input_scale)
    )
    peer = PILImages(dataset.train.inputs, ours.paths[:, -1].tolist(), mean, deviation)  # type: ignore
    loader = DataLoader(
        peer, batch_size=config.batch_size, shuffle=True, num_workers=2, persistent_workers=True
    )

    def consume(source) -> None:
        for _ in source:
            pass

    seconds = take_turns([lambda: consume(ours.batches()), lambda: consume(loader)], device, rounds)
    ratio = float(np.median(seconds[:, 1] / seconds[:, 0]))
    ours_rate, their_rate = len(peer) / np.median(seconds, axis=0)
    return (
        f"| {len(peer):,} | {config.batch_size} | {ours_rate:,.0f} | {their_rate:,.0f} | {ratio:.1f}x "
        f"| {verdict(ratio, PIPELINE_BAR)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="fewer where cores are shared"
    )
    parser.add_argument("--batch", type=int, nargs="+", help="default: 32; 32 and 512 on a GPU")
    parser.add_argument("--mixed-precision", choices=["no", "bf16"], default="no")
    parser.add_argument("--compile", action="store_true", help="also time both steps with torch.compile")
    parser.add_argument("--steps", type=int, help="training steps in a round; default: about a second's")
    parser.add_argument("--rounds", type=int, default=9, help="of the training steps")
    parser.add_argument("--images", type=int, default=50_000, help="of the training split")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)

    print(f"HCAL; torch {torch.__version__}, {hardware(device)}, mixed precision {args.mixed_precision}\n")

    print("Training, 32x32 images\n")
    print("| encoder | batch | network | inputs of HCAL | steps a round | bare, images/s ", end="")
    print("| HCAL, images/s | ratio | bar |")
    print("|---" * 9 + "|", flush=True)
    dataset = random_images(args.images)
    recipe = Config(
        dataset="cifar100", stem="cifar", max_pool=False, rotation=15.0, mixed_precision=args.mixed_precision
    )
    for batch in args.batch or ([32, 512] if device.type == "cuda" else [32]):
        for encoder in ENCODERS:
            config = replace(recipe, encoder=encoder, batch_size=batch)
            training_split(config, dataset, device, args)
            if args.compile:
                training_split(replace(config, compile=True), dataset, device, args)

    print("\nLevel losses, forward and backward\n")
    print("| features | coarse / fine | level_losses | loop over parents | ratio | largest difference |")
    print("|---" * 6 + "|", flush=True)
    for shape in ((32, 20, 100), (512, 20, 100), (512, 30, 70), (512, 300, 2000)):
        print(losses_row(*shape, device, rounds=20), flush=True)

    print("\nInput pipeline: crop, mirror image, rotation, normalisation\n")
    print("| images | batch | training_batches, images/s | torchvision, 2 workers, images/s | ratio | bar |")
    print("|---" * 6 + "|", flush=True)
    print(pipeline_row(replace(recipe, batch_size=128), dataset, device, rounds=3), flush=True)


if __name__ == "__main__":
    main()
