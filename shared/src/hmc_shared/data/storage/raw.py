"""What a reader finds in its files, before any preprocessing; this is cached."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hmc_shared.hierarchy import Hierarchy


@dataclass(frozen=True, eq=False)
class RawPart:
    features: np.ndarray
    """(n, F) float64, NaN where a value is missing."""
    labels: list[list[int]]
    """The class ids of each row, as in the source: without their ancestors."""


@dataclass(frozen=True, eq=False)
class RawSet:
    hierarchy: Hierarchy
    parts: dict[str, RawPart]
    """"train", "test" and perhaps "validation"."""
    notes: tuple[str, ...] = ()
    """On the reading, such as attributes that were left out."""

    def targets(self, part: str) -> np.ndarray:
        """(n, C) bool, ancestors added."""
        return targets_of(self.parts[part].labels, self.hierarchy)

    def digest(self) -> str:
        """SHA-256 over all values."""
        sha = hashlib.sha256(self.hierarchy.checksum.encode())
        for name, part in sorted(self.parts.items()):
            sha.update(f"{name} {part.features.shape} {part.labels}".encode())
            sha.update(np.ascontiguousarray(part.features, dtype="<f8").tobytes())
        return sha.hexdigest()


def targets_of(labels: Sequence[Sequence[int]], hierarchy: Hierarchy) -> np.ndarray:
    """(n, C) bool of the class ids of n rows, ancestors added."""
    targets = np.zeros((len(labels), len(hierarchy)), dtype=bool)
    rows = np.repeat(np.arange(len(labels)), [len(ids) for ids in labels])
    targets[rows, [i for ids in labels for i in ids]] = True
    return hierarchy.add_ancestors(targets)
