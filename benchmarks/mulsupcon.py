"""Training MulSupCon_LD on vectors of Delicious' size beside the bare network, in one run.

    python benchmarks/mulsupcon.py [--threads 2] [--loss cld]
    python benchmarks/mulsupcon.py --device cuda --mixed-precision bf16 --compile

Ours: the operations of the block "Train" of mulsupcon_ld/train.py, put together from the same parts; batch
128, 983 labels, 4,096 keys in the queue. Bare: the same encoder and the layer above it with cross-entropy of
each label, on a batch that lies ready; same precision and AdamW. The pre-training runs a second network on a
second view, which the bare one has not. Vectors and labels are random. The contenders take turns; the first
round is the warm-up. Steps a second are of the median round, ratios the median of each round's ratio.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice

import numpy as np
import torch
from accelerate import Accelerator
from common import hardware, random_labels, take_turns
from torch import nn
from torch.nn import functional as F

from hmc_shared.data import HierarchicalDataset
from hmc_shared.data.batches import Batch
from mulsupcon_ld.batches import training_batches
from mulsupcon_ld.build import build_model, classification_loss, contrastive_loss
from mulsupcon_ld.config import Config
from mulsupcon_ld.keys import KeyQueue, Keys, gather_keys, update_key_network
from mulsupcon_ld.schedule import build_optimizers


class Ours:
    """A stage of our training loop: the first if the configuration has a pre-training."""

    def __init__(self, config: Config, dataset: HierarchicalDataset, device: torch.device) -> None:
        self.config = config
        self.accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=config.mixed_precision)
        self.inputs, self.targets = dataset.train.inputs.to(device), dataset.train.targets.to(device)  # type: ignore
        self.model = build_model(config, dataset).to(device)
        self.queue = KeyQueue(config.queue_size, config.dim, len(dataset.hierarchy)).to(device)
        network = nn.Sequential(torch.compile(self.model) if config.compile else self.model)  # type: ignore
        optimizer = build_optimizers(config, self.model)[0 if config.is_pretraining(0) else 1]
        self.network, self.optimizer = self.accelerator.prepare(network, optimizer)
        self.key_network = copy.deepcopy(self.model).requires_grad_(False)
        self.generator = torch.Generator(device)
        self.endless = self.batches()

    def batches(self) -> Iterator[Batch]:
        """Of one epoch after the other, without the short one at the end."""
        for epoch in count():
            stage = 0 if self.config.is_pretraining(0) else self.config.stage_epochs[0]
            dealt = training_batches(
                self.model,
                self.inputs,
                self.targets,
                replace(self.config, seed=epoch),
                stage,
                0,
                self.generator,
                rank=0,
                world=1,
            )
            yield from islice(dealt, len(self.inputs) // self.config.batch_size)

    def train(self, steps: int) -> None:
        self.network.train()
        for batch in islice(self.endless, steps):
            z, logits = self.network(batch.inputs[0])
            new_keys = None
            if self.config.is_pretraining(0):
                update_key_network(self.key_network, self.model, self.config.momentum)
                with torch.no_grad(), self.accelerator.autocast():
                    embeddings, _ = self.key_network(batch.inputs[1])
                size = len(batch.labels)
                own = Keys(embeddings, batch.labels, logits.detach().softmax(1))
                new_keys, own_keys = gather_keys(own, size, self.accelerator)
                keys = new_keys.concatenate(self.queue.contents())
                losses = contrastive_loss(self.config, z, logits, batch, keys, own_keys, size)
                loss = batch.weights @ losses + self.config.beta * self.model.fc.weight.square().sum()
            else:
                loss = batch.weights @ classification_loss(self.config, logits, batch.labels)
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
            if new_keys is not None:
                self.queue.push(new_keys)


class Bare:
    """The encoder, the layer above it and cross-entropy."""

    def __init__(self, ours: Ours) -> None:
        model, batch = copy.deepcopy(ours.model), next(ours.batches())
        self.inputs, self.targets = batch.inputs[0], batch.labels.float()
        network = nn.Sequential(model.encoder, model.fc).train()
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
        self.network = torch.compile(network) if ours.config.compile else network
        self.bf16 = ours.config.mixed_precision == "bf16"

    def train(self, steps: int) -> None:
        for _ in range(steps):
            with torch.autocast(self.inputs.device.type, dtype=torch.bfloat16, enabled=self.bf16):
                logits = self.network(self.inputs)
            F.binary_cross_entropy_with_logits(logits.float(), self.targets).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--mixed-precision", choices=["no", "bf16"], default="no")
    parser.add_argument("--compile", action="store_true", help="also time both steps with torch.compile")
    parser.add_argument("--loss", choices=["cld", "rld"], default="cld")
    parser.add_argument("--steps", type=int, default=20, help="in a round")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    machine = f"{hardware(args.device)}, mixed precision {args.mixed_precision}"
    print(f"MulSupCon_LD, training; torch {torch.__version__}, {machine}\n")
    print(
        "| stage | network | steps a round | MulSupCon_LD, steps/s | bare, steps/s | ratio |\n"
        + "|---" * 6
        + "|"
    )
    dataset = random_labels()
    first = Config(loss=args.loss, batch_size=128, mixed_precision=args.mixed_precision)
    for stage, config in (("pre-training", first), ("fine-tuning", replace(first, pretrain_epochs=0))):
        for compiled in (False, True) if args.compile else (False,):
            ours = Ours(replace(config, compile=compiled), dataset, args.device)
            bare = Bare(ours)
            runs = [lambda ours=ours: ours.train(args.steps), lambda bare=bare: bare.train(args.steps)]
            seconds = take_turns(runs, args.device, args.rounds)
            rates = args.steps / np.median(seconds, axis=0)
            ratio = float(np.median(seconds[:, 1] / seconds[:, 0]))
            network = "compiled" if compiled else "eager"
            print(
                f"| {stage} | {network} | {args.steps} | {rates[0]:,.0f} | {rates[1]:,.0f} | {ratio:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
