"""What the queries are contrasted with: the batch's keys, the queue of earlier ones, the momentum network.

He et al. 2020 (MoCo), with two more rings beside the one of embeddings: logical labels and label
distributions (Q_ll and Q_ld of the paper).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F


class Keys(NamedTuple):
    """K keys; all without gradient."""

    embeddings: Tensor  # (K, d) float32, unit vectors
    labels: Tensor  # (K, C) bool
    distributions: Tensor  # (K, C) float32, rows that sum to 1

    def concatenate(self, *others: Keys) -> Keys:
        """These keys, then those of the others, in one copy."""
        return Keys(*(torch.cat(parts) for parts in zip(self, *others, strict=True)))


class KeyQueue(nn.Module):
    """A ring of the last ``capacity`` keys.

    ``state_dict`` is all of its state: three buffers and, as extra state, the number of keys ever pushed.
    That number is a Python integer otherwise, so that nothing waits for the device.

    Args:
        capacity: any number of keys; 0 is a queue that stays empty.
        dim: d, the size of an embedding.
        num_labels: C.

    Raises:
        ValueError: for a negative capacity.
    """

    embeddings: Tensor
    labels: Tensor
    distributions: Tensor

    def __init__(self, capacity: int, dim: int, num_labels: int) -> None:
        super().__init__()
        if capacity < 0:
            raise ValueError(f"`capacity` should be 0 or more. Found {capacity}.")
        self.capacity = capacity
        self.pushed = 0
        self.register_buffer("embeddings", torch.zeros(capacity, dim))
        self.register_buffer("labels", torch.zeros(capacity, num_labels, dtype=torch.bool))
        self.register_buffer("distributions", torch.zeros(capacity, num_labels))

    def __len__(self) -> int:
        return min(self.pushed, self.capacity)

    def contents(self) -> Keys:
        """The keys that are there, as views, in the order of the ring and not of age.

        A later ``push`` changes them, so run the backward pass of what was computed with them first.
        """
        filled = len(self)
        return Keys(self.embeddings[:filled], self.labels[:filled], self.distributions[:filled])

    @torch.no_grad()
    def push(self, keys: Keys) -> None:
        """Put any number of keys in, the oldest go; of more than ``capacity`` the last ones stay.

        Raises:
            ValueError: if the three do not have as many rows as each other.
        """
        rows = len(keys.embeddings)
        if not rows == len(keys.labels) == len(keys.distributions):
            raise ValueError(f"`keys` should have as many rows each. Found {[len(part) for part in keys]}.")
        kept = min(rows, self.capacity)
        start = (self.pushed + rows - kept) % max(1, self.capacity)
        to_end = min(kept, self.capacity - start)
        for ring, values in zip((self.embeddings, self.labels, self.distributions), keys, strict=True):
            values = values[rows - kept :]
            ring[start : start + to_end].copy_(values[:to_end])
            ring[: kept - to_end].copy_(values[to_end:])
        self.pushed += rows

    def push_all(self, batches: Sequence[Keys]) -> None:
        """Put the keys of several batches in, one after another."""
        for keys in batches:
            self.push(keys)

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.pushed)  # a tensor, so that formats without pickle can hold it

    def set_extra_state(self, state: Tensor) -> None:
        self.pushed = int(state)


@torch.no_grad()
def update_key_network(key: nn.Module, query: nn.Module, momentum: float) -> None:
    """key <- momentum * key + (1 - momentum) * query, parameter by parameter.

    Buffers are not touched: the statistics of the key network's batch normalisation are those of its own
    passes, as in MoCo and in MulSupCon's code.
    """
    lerp = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
    lerp(list(key.parameters()), list(query.parameters()), 1 - momentum)


def gather_keys(keys: Keys, size: int, accelerator: Accelerator) -> tuple[Keys, Tensor]:
    """The keys of the global batch, the same on all processes, and which are this one's, (B,) int64.

    Row ``i`` of process ``r`` is number ``i * world + r`` of the global batch, as
    :func:`hmc_shared.data.batches` deals them out; rows beyond its ``size`` (they have weight 0) are left
    out, and a row without a key of its own is given the last one.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    rows = len(keys.labels)
    own_keys = (torch.arange(rows, device=keys.labels.device) * world + rank).clamp(max=size - 1)
    share = -(-size // world)  # rows of the process that has most
    parts = []
    for values in keys:
        values = F.pad(values[:share], (0, 0, 0, max(0, share - rows)))
        if world > 1:
            # (world * share, ...), process by process
            gathered: Any = accelerator.gather(values.contiguous())
            values = gathered.unflatten(0, (world, share)).transpose(0, 1).flatten(0, 1)
        parts.append(values[:size])
    return Keys(*parts), own_keys
