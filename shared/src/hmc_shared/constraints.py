"""Coherence constraints along the edges of a hierarchy: exact, differentiable, O(batch x edges).

Both operators take one score for each node, logits or probabilities alike: max and min commute with the
sigmoid. They work on a (C, batch) copy, where one index moves a whole row of samples, and never build a
(batch, C, C) tensor. Each result is one of the given scores, so the backward pass is a single scatter of
the incoming gradient to the node that the score came from (a sub-gradient where scores tie: the node
itself if it attains the result, else the tied node of the largest id among its next neighbours).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hmc_shared.hierarchy import Hierarchy


def max_over_descendants(scores: Tensor, hierarchy: Hierarchy) -> Tensor:
    """Raise each score to the largest among the node and its descendants.

    This is the max constraint module, MCM (Giunchiglia and Lukasiewicz 2020, Eq. 1): no class scores above
    its parent in the result.

    Args:
        scores: (batch, C) floating point, any real values including -inf.
        hierarchy: tree or DAG over the C nodes.

    Returns:
        (batch, C), dtype and device of ``scores``.

    Raises:
        ValueError: for another shape or a dtype that is not floating point.

    >>> chain = Hierarchy.from_paths(["a/b"])
    >>> max_over_descendants(torch.tensor([[0.1, 0.3], [0.5, 0.2]]), chain)
    tensor([[0.3000, 0.3000],
            [0.5000, 0.2000]])
    """
    _check(scores, hierarchy)
    return _MaxOverDescendants.apply(scores, hierarchy.to(scores.device))


def min_over_parents(scores: Tensor, hierarchy: Hierarchy) -> Tensor:
    """Lower each score to the smallest among the node and its direct parents.

    This is the local constraint module, LMC (Qi and Chelmis, Eq. 1); in a DAG all parents count. One round
    does not make scores coherent: a grandparent is not looked at.

    Args, returns and errors as in :func:`max_over_descendants`.

    >>> chain = Hierarchy.from_paths(["a/b"])
    >>> min_over_parents(torch.tensor([[0.1, 0.3], [0.5, 0.2]]), chain)
    tensor([[0.1000, 0.1000],
            [0.5000, 0.2000]])
    """
    _check(scores, hierarchy)
    return _MinOverParents.apply(scores, hierarchy.to(scores.device))


def _check(scores: Tensor, hierarchy: Hierarchy) -> None:
    if scores.ndim != 2 or scores.shape[1] != len(hierarchy):
        raise ValueError(f"`scores` should have shape (batch, {len(hierarchy)}). Found {tuple(scores.shape)}.")
    if not scores.is_floating_point():
        raise ValueError(f"`scores` should be floating point. Found {scores.dtype}.")


class _MaxOverDescendants(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, hierarchy: Hierarchy) -> Tensor:
        own = scores.detach().T.contiguous()  # (C, batch)
        best = own.clone()
        for parents, children in hierarchy.edges_bottom_up:
            best.scatter_reduce_(0, _rows(parents, best), best[children], "amax")
        if ctx.needs_input_grad[0]:
            parents, children = hierarchy.edges.unbind(1)
            source = _attained_by(best, own, to=parents, via=children, neighbour=best)
            for _ in range((hierarchy.num_levels - 2).bit_length()):
                source = source.gather(0, source)  # follow the chain, twice as far each time
            ctx.save_for_backward(source)
        return best.T.contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _scatter_back(grads[0], ctx.saved_tensors[0]), None


class _MinOverParents(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, hierarchy: Hierarchy) -> Tensor:
        own = scores.detach().T.contiguous()  # (C, batch)
        parents, children = hierarchy.edges.unbind(1)
        least = own.scatter_reduce(0, _rows(children, own), own[parents], "amin")
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(_attained_by(least, own, to=children, via=parents, neighbour=own))
        return least.T.contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _scatter_back(grads[0], ctx.saved_tensors[0]), None


def _attained_by(result: Tensor, own: Tensor, *, to: Tensor, via: Tensor, neighbour: Tensor) -> Tensor:
    """(C, batch) ids: the node itself where its own score is the result, else the neighbour that has it."""
    nodes = torch.arange(len(own), device=own.device).unsqueeze(1)
    passed = torch.where(neighbour[via] == result[to], via.unsqueeze(1), -1)
    attained = torch.full_like(nodes, -1).repeat(1, own.shape[1])
    attained.scatter_reduce_(0, _rows(to, attained), passed, "amax")
    # A NaN equals nothing, so it stays with its node.
    return torch.where((own == result) | (attained < 0), nodes, attained)


def _scatter_back(grad: Tensor, source: Tensor) -> Tensor:
    grad = grad.T.contiguous()
    return torch.zeros_like(grad).scatter_add_(0, source, grad).T.contiguous()


def _rows(ids: Tensor, like: Tensor) -> Tensor:
    return ids.unsqueeze(1).expand(-1, like.shape[1])
