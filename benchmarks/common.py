"""What the benchmarks share: taking turns, the name of the machine, and data made where there are none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from hmc_shared import Hierarchy
from hmc_shared.data import HierarchicalDataset, Split, load_dataset
from hmc_shared.data.in_memory import from_arrays

GO = 4000  # classes of a made ontology


def take_turns(runs: list[Callable[[], object]], device: torch.device, rounds: int) -> np.ndarray:
    """Seconds, (rounds, runs); a further round before is the warm-up."""
    table = []
    for number in range(rounds + 1):
        row = [0.0] * len(runs)
        for place in range(len(runs)):
            which = (place + number) % len(runs)  # nobody is always first
            start = time.perf_counter()
            runs[which]()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            row[which] = time.perf_counter() - start
        table.append(row)
    return np.array(table[1:])


def hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads"


def real_or_made(
    name: str, data_dir: str | None, make: Callable[[], HierarchicalDataset], **options: Any
) -> HierarchicalDataset:
    """The set from ``data_dir``, or HMC_DATA; what ``make`` gives, "made" in its name, where it is not there.

    Raises ValueError if it is not in a ``data_dir`` that was given.
    """
    try:
        return load_dataset(name, data_dir, **options)
    except ValueError as error:
        if data_dir:
            raise
        print(f"Made data instead of {name}: {error}", file=sys.stderr)
        return replace(make(), name=f"{name}, made")


def random_dag(classes: int, parents: float, seed: int = 0) -> Hierarchy:
    """``parents`` a class on average, 1 to 2, drawn from the classes before it; one root."""
    rng = np.random.default_rng(seed)
    names = [f"c{i}" for i in range(classes)]
    drawn = [
        rng.choice(i, min(i, 1 + int(rng.random() < parents - 1)), replace=False) for i in range(classes)
    ]
    return Hierarchy.from_parents(
        {name: [names[p] for p in of] for name, of in zip(names, drawn, strict=True)}
    )


def random_vectors(hierarchy: Hierarchy, n: int = 2476, features: int = 77) -> HierarchicalDataset:
    """Normal features, and for each of n samples three classes with their ancestors: cellcycle's size."""
    rng = np.random.default_rng(0)
    targets = torch.zeros(n, len(hierarchy), dtype=torch.bool)
    targets[np.arange(n)[:, None], rng.integers(len(hierarchy), size=(n, 3))] = True
    inputs = rng.normal(size=(n, features)).astype(np.float32)
    return from_arrays(inputs, hierarchy.add_ancestors(targets).numpy(), hierarchy, seed=0)


def random_labels(n: int = 12_920, features: int = 500, classes: int = 983) -> HierarchicalDataset:
    """Delicious' size: normal features, 19 labels a row, few of them frequent."""
    rng = np.random.default_rng(0)
    frequency = np.arange(1, classes + 1) ** -0.7
    frequency = (min(19, classes / 4) / frequency.sum() * frequency).clip(max=0.4)
    hierarchy = Hierarchy.from_edges([], nodes=[f"label {i}" for i in range(classes)])
    inputs = rng.normal(size=(n, features)).astype(np.float32)
    return from_arrays(inputs, rng.random((n, classes)) < frequency, hierarchy, seed=0)


def random_images(n: int, coarse: int = 20, fine: int = 100) -> HierarchicalDataset:
    """CIFAR-100's shape: n RGB images of 32x32, 100 classes below 20; the other splits are a tenth of it."""
    generator = torch.Generator().manual_seed(0)
    parents, children = [f"c{i}" for i in range(coarse)], [f"f{i}" for i in range(fine)]
    edges = [(parents[i * coarse // fine], name) for i, name in enumerate(children)]
    hierarchy = Hierarchy.from_edges(edges, nodes=[*parents, *children])
    targets = torch.zeros(n, len(hierarchy), dtype=torch.bool)
    targets[torch.arange(n), coarse + torch.randint(fine, (n,), generator=generator)] = True
    images = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)
    train = Split(images, hierarchy.add_ancestors(targets), tuple(map(str, range(n))))
    few = max(2, n // 10)
    held = Split(images[:few], train.targets[:few], train.ids[:few])
    every = torch.ones(len(hierarchy), dtype=torch.bool)
    return HierarchicalDataset("random", hierarchy, every, "image", train, held, held)
