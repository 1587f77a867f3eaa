"""Labels that nobody knew better: what is unknown is not absent, and counts in no loss and no metric."""

from __future__ import annotations

import torch
from torch import Tensor

from hmc_shared.constraints import max_over_ancestors
from hmc_shared.hierarchy import Hierarchy

NEVER = -1e4
"""A logit of probability 0, which ranks below all others; finite, so that no difference of two is NaN."""


def unknown_classes(targets: Tensor, hierarchy: Hierarchy) -> Tensor:
    """The classes below a sample's deepest labels, (n, C) bool, of closed targets (n, C) bool.

    A deepest label is one without a label among its children. A sample without labels has no unknown class.

    >>> tree = Hierarchy.from_paths(["bird/duck", "bird/gull", "fish"])
    >>> unknown = unknown_classes(torch.tensor([[True, False, False, False]]), tree)
    >>> [tree.names[i] for i in unknown[0].nonzero()[:, 0]]
    ['bird/duck', 'bird/gull']
    """
    parents, children = hierarchy.to(targets.device).edges.unbind(1)
    labelled_children = torch.zeros(targets.shape, device=targets.device)
    labelled_children.index_add_(1, parents, targets[:, children].float())
    deepest = targets & (labelled_children == 0)
    return (max_over_ancestors(deepest.float(), hierarchy) > 0) & ~targets


def without_unknown(logits: Tensor, unknown: Tensor | None, rows: Tensor | None = None) -> Tensor:
    """Logits (n, C) in which unknown entries are :data:`NEVER`: they cost nothing, and their gradient is 0.

    The cross-entropy of an absent class with that logit is 0, and so are the losses that weight or focus it;
    in a ranking it is a false positive nowhere. Divisors stay those of all classes.

    Args:
        logits: (n, C).
        unknown: (n, C) bool, of classes that are no targets; or (N, C), of which ``rows`` (n,) int64 are
            meant. None: all is known.
    """
    if unknown is None:
        return logits
    return logits.masked_fill(unknown if rows is None else unknown.index_select(0, rows), NEVER)
