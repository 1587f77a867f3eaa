"""What ``mulsupcon-ld explain`` shows: logical labels and recovered label distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from hmc_shared import Hierarchy

OTHERS = 5  # labels with the highest degrees that are shown, beside a sample's own


@dataclass(frozen=True)
class Explanation:
    """Of n samples, the labels that the data set gives and the degrees that were recovered."""

    ids: tuple[str, ...]
    hierarchy: Hierarchy
    labels: np.ndarray
    """(n, C) bool."""
    degrees: np.ndarray
    """(n, C) float32: label distributions, rows that sum to 1."""

    def level_mass(self) -> np.ndarray:
        """(n, L): what of each distribution lies in each level of the hierarchy."""
        import numpy as np

        return np.stack([self.degrees[:, list(level)].sum(1) for level in self.hierarchy.levels], axis=1)

    def shown_labels(self, row: int) -> list[int]:
        """A sample's own labels and those of the highest degrees, by falling degree."""
        order = self.degrees[row].argsort(kind="stable")[::-1].tolist()
        return [label for place, label in enumerate(order) if place < OTHERS or self.labels[row, label]]
