"""What ``mulsupcon-ld explain`` shows, logical labels and recovered label distributions, and says of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmc_shared import Hierarchy
from hmc_shared.compare.align import align

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
        return np.stack([self.degrees[:, list(level)].sum(1) for level in self.hierarchy.levels], axis=1)

    def shown_labels(self, row: int) -> list[int]:
        """A sample's own labels and those of the highest degrees, by falling degree."""
        order = self.degrees[row].argsort(kind="stable")[::-1].tolist()
        return [label for place, label in enumerate(order) if place < OTHERS or self.labels[row, label]]


def summarize(explanation: Explanation) -> dict[str, float]:
    """Means over samples: how far the distributions keep to the logical labels, and how even they are.

    ``mass_on_labels`` and ``top_is_label`` (the share of samples whose highest degree is a logical label's)
    count samples with labels only; ``mass_if_even`` is that of the uniform distribution. ``entropy`` is in
    nats, between 0 and ``entropy_at_most``. On a hierarchy, ``mass_level_<depth>`` add up to 1.
    """
    labels, degrees = explanation.labels, explanation.degrees.astype(np.float64)
    with_labels = labels.any(1)
    on_labels, top = (degrees * labels).sum(1), degrees.argmax(1)
    logs = np.log(degrees, out=np.zeros_like(degrees), where=degrees > 0)
    result = {
        "samples": float(len(labels)),
        "mass_on_labels": _mean(on_labels[with_labels]),
        "mass_if_even": _mean(labels[with_labels].mean(1)),
        "top_is_label": _mean(labels[np.arange(len(top)), top][with_labels]),
        "entropy": _mean(-(degrees * logs).sum(1)),
        "entropy_at_most": float(np.log(labels.shape[1])),
    }
    if explanation.hierarchy.num_levels > 1:
        mass = explanation.level_mass()
        result |= {f"mass_level_{depth}": _mean(column) for depth, column in enumerate(mass.T)}
    return result


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def to_text(explanation: Explanation, *, each: bool) -> str:
    """The summary, after the labels of each sample if ``each``: by degree, the logical ones marked ``*``."""
    names, parts = explanation.hierarchy.names, []
    mass = explanation.level_mass()
    for row, sample in enumerate(explanation.ids if each else ()):
        is_label, degrees = explanation.labels[row], explanation.degrees[row]
        shown = explanation.shown_labels(row)
        table = [["  *" if is_label[i] else "   ", names[i], f"{degrees[i]:.4f}"] for i in shown]
        if len(shown) < len(names):
            rest = 1 - degrees[shown].sum()
            table.append(["   ", f"{len(names) - len(shown)} more", f"{abs(rest):.4f}"])
        if mass.shape[1] > 1:
            table += [["   ", f"level {depth}", f"{of:.4f}"] for depth, of in enumerate(mass[row])]
        parts.append(f"{sample}\n{align(table, left=2)}")
    summary = summarize(explanation)
    lines = [
        f"{name:28} {value:.0f}" if name == "samples" else f"{name:28} {value:.4f}"
        for name, value in summary.items()
    ]
    return "\n\n".join([*parts, "\n".join(lines)])
