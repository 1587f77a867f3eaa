"""MCLoss, LHLoss, their hybrid, DHN's loss, and HMCN's violation loss, on logits.

The papers write the losses with probabilities. Max and min commute with the sigmoid, so the constraints
act on logits here and ``-ln(sigmoid(z))`` is softplus(-z): exact where a probability would round to 0 or 1.

All functions take logits (batch, C), closed 0/1 targets (batch, C) and ``class_weight`` (C,), which is
1/E for the E evaluated classes and 0 for the others, or (batch, C), which is also 0 where a label is not
known, and return one loss a sample, (batch,). The papers
sum over classes; the public code of MCLoss takes the mean, and so do we.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_ancestors, max_over_descendants, min_over_parents


def mean_class_weight(evaluated: Tensor) -> Tensor:
    """(C,) bool to (C,) float: the weights that turn a sum over classes into a mean over evaluated ones."""
    return evaluated.float() / evaluated.sum()


def weighted_sum(terms: Tensor, weight: Tensor) -> Tensor:
    """(batch, K) to (batch,), with weights (K,) of columns or (batch, K) of entries."""
    return terms @ weight if weight.ndim == 1 else (terms * weight).sum(1)


def bce(logits: Tensor, targets: Tensor, class_weight: Tensor) -> Tensor:
    """Binary cross-entropy: -ln(p) for positives, -ln(1 - p) for negatives."""
    return weighted_sum(F.softplus(torch.where(targets, -logits, logits)), class_weight)


def mc_loss(logits: Tensor, targets: Tensor, hierarchy: Hierarchy, class_weight: Tensor) -> Tensor:
    """MCLoss (Giunchiglia and Lukasiewicz 2020, Eq. 3; Section II-B of Qi and Chelmis).

    A positive class is scored by the best positive one among itself and its descendants, max(y_B h_B), a
    negative one by the best among itself and its descendants, MCM. With y_B = 0 the product is probability
    0, the logit -inf.

    >>> chain = Hierarchy.from_paths(["a/b"])
    >>> logits, targets = torch.tensor([[0.0, 2.0]]), torch.tensor([[True, False]])
    >>> mc_loss(logits, targets, chain, torch.ones(2))  # ln 2 for a by itself, ln(1 + e^2) for b
    tensor([2.8201])
    """
    of_positives = logits.masked_fill(~targets, -torch.inf)
    both = max_over_descendants(torch.cat([of_positives, logits]), hierarchy)  # one walk over the levels
    positive, negative = both.chunk(2)
    return bce(torch.where(targets, positive, negative), targets, class_weight)


def lh_loss(
    logits: Tensor,
    targets: Tensor,
    hierarchy: Hierarchy,
    class_weight: Tensor,
    *,
    mask_positive_parent: bool = False,
) -> Tensor:
    """LHLoss (Eq. 1-4): each class is scored by LMC, the smallest among itself and its parents.

    For a positive class the factors y of Eq. (2) are all 1, because targets are closed. A negative class
    takes the plain minimum, so its term pushes a positive parent that scores below it *down* (Appendix A,
    Example 2). ``mask_positive_parent`` leaves positive parents out of that minimum.

    >>> chain = Hierarchy.from_paths(["a/b"])
    >>> logits = torch.tensor([[0.0, 2.0]], requires_grad=True)
    >>> lh_loss(logits, torch.tensor([[True, False]]), chain, torch.ones(2)).sum().backward()
    >>> logits.grad  # a scores below b and stands for both: b's term undoes a's, and b does not move
    tensor([[0., 0.]])
    """
    constrained = min_over_parents(logits, hierarchy)
    if mask_positive_parent:
        spared = min_over_parents(logits.masked_fill(targets, torch.inf), hierarchy)
        constrained = torch.where(targets, constrained, spared)
    return bce(constrained, targets, class_weight)


def hybrid_loss(
    global_logits: Tensor,
    local_logits: Tensor,
    targets: Tensor,
    hierarchy: Hierarchy,
    class_weight: Tensor,
    *,
    global_weight: float,
    mask_positive_parent: bool = False,
) -> Tensor:
    """Eq. (5): HL = (1 - b_r) LHLoss + b_r MCLoss, the first on local, the second on global logits."""
    local = lh_loss(local_logits, targets, hierarchy, class_weight, mask_positive_parent=mask_positive_parent)
    return (1 - global_weight) * local + global_weight * mc_loss(
        global_logits, targets, hierarchy, class_weight
    )


def negative_mc_loss(logits: Tensor, targets: Tensor, hierarchy: Hierarchy, class_weight: Tensor) -> Tensor:
    """MCLoss turned upside down (DHN), for logits of "is not of this class", which descendants inherit.

    m_A is the best among a class and its ancestors; for a class that is absent only absent ones count, which
    answer for it. The loss is the binary cross-entropy of 1 - m_A.

    >>> chain = Hierarchy.from_paths(["a/b"])
    >>> logits, targets = torch.tensor([[0.0, 2.0]]), torch.tensor([[True, False]])
    >>> negative_mc_loss(logits, targets, chain, torch.ones(2))  # ln 2 for a by itself, ln(1 + e^-2) for b
    tensor([0.8201])
    """
    of_absent = logits.masked_fill(targets, -torch.inf)
    absent, present = max_over_ancestors(torch.cat([of_absent, logits]), hierarchy).chunk(2)
    return bce(torch.where(targets, present, absent), ~targets, class_weight)


def dhn_loss(
    logits: Tensor,
    negative_logits: Tensor,
    targets: Tensor,
    hierarchy: Hierarchy,
    class_weight: Tensor,
    *,
    global_weight: float,
) -> Tensor:
    """alpha MCLoss of "is of this class" + (1 - alpha) the same of "is not", turned upside down (DHN)."""
    positive = mc_loss(logits, targets, hierarchy, class_weight)
    negative = negative_mc_loss(negative_logits, targets, hierarchy, class_weight)
    return global_weight * positive + (1 - global_weight) * negative


def violation_loss(logits: Tensor, hierarchy: Hierarchy, class_weight: Tensor) -> Tensor:
    """HMCN's penalty: squared excess of a child's probability over its parent's (Wehrmann et al. 2018).

    Edges are weighted by the child's class weight, so that it has the scale of the other losses.
    """
    parents, children = hierarchy.to(logits.device).edges.unbind(1)
    probabilities = logits.sigmoid()
    excess = F.relu(probabilities[:, children] - probabilities[:, parents])
    return weighted_sum(excess.square(), class_weight[..., children])
