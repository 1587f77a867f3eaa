"""A data set: vectors with a stripe, whose place is the class."""

import torch

from hmc_shared import Hierarchy
from hmc_shared.data import HierarchicalDataset, Split


def load() -> HierarchicalDataset:
    hierarchy = Hierarchy.from_paths(["left/outer", "left/inner", "right/inner", "right/outer"])
    generator = torch.Generator().manual_seed(0)
    splits = {}
    for name, size in {"train": 200, "validation": 50, "test": 50}.items():
        place = torch.randint(4, (size,), generator=generator)
        inputs = torch.rand(size, 8, generator=generator)
        inputs[torch.arange(size), 2 * place] += 2.0
        targets = hierarchy.ancestors[hierarchy.leaves[place]]
        splits[name] = Split(inputs, targets, tuple(f"{name}-{row}" for row in range(size)))
    evaluated = torch.ones(len(hierarchy), dtype=torch.bool)
    return HierarchicalDataset("toy-stripes", hierarchy, evaluated, "vector", **splits)
