"""Coherence constraints along the edges of a hierarchy: exact, differentiable, O(batch x edges).

The operators take one score for each node, logits or probabilities alike: max and min commute with the
sigmoid. They work on a (C, batch) copy, where one index moves a whole row of samples, and never build a
(batch, C, C) tensor. Each result is one of the input scores, so the backward pass is a single scatter of
the incoming gradient to the node that the score came from. Where scores tie this is a sub-gradient: the
node itself if it attains the result, else the tied node nearest to it in id. A NaN among the scores
makes the result NaN; its gradient goes to the NaN (maximum) or stays with the node (minimum).
"""

from __future__ import annotations

from typing import Any, Literal

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
    return _MaxAlongEdges.apply(scores, hierarchy.to(scores.device), "up")


def max_over_ancestors(scores: Tensor, hierarchy: Hierarchy) -> Tensor:
    """Raise each score to the largest among the node and its ancestors.

    The mirror of :func:`max_over_descendants`, for scores of "is not of this class", which descendants
    inherit: no class scores below its parent in the result.

    Args, returns and errors as in :func:`max_over_descendants`.

    >>> chain = Hierarchy.from_paths(["a/b"])
    >>> max_over_ancestors(torch.tensor([[0.1, 0.3], [0.5, 0.2]]), chain)
    tensor([[0.1000, 0.3000],
            [0.5000, 0.5000]])
    """
    _check(scores, hierarchy)
    return _MaxAlongEdges.apply(scores, hierarchy.to(scores.device), "down")


def only_with_ancestors(labels: Tensor, hierarchy: Hierarchy) -> Tensor:
    """Keep the classes, (n, C) bool, all of whose ancestors are there, too: (n, C) bool.

    >>> chain = Hierarchy.from_paths(["a/b"])
    >>> only_with_ancestors(torch.tensor([[False, True], [True, True]]), chain)
    tensor([[False, False],
            [ True,  True]])
    """
    return max_over_ancestors((~labels).float(), hierarchy) == 0


def min_over_parents(scores: Tensor, hierarchy: Hierarchy) -> Tensor:
    """Lower each score to the smallest among the node and its direct parents.

    This is the local constraint module, LMC (Qi and Chelmis, Eq. 1); in a DAG all parents count. One round
    does not make scores coherent: grandparents are not considered.

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
        raise ValueError(
            f"`scores` should have shape (batch, {len(hierarchy)}). Found {tuple(scores.shape)}."
        )
    if not scores.is_floating_point():
        raise ValueError(f"`scores` should be floating point. Found {scores.dtype}.")


class _MaxAlongEdges(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, hierarchy: Hierarchy, direction: Literal["up", "down"]) -> Tensor:
        values = scores.detach().T.clone(memory_format=torch.contiguous_format)  # (C, batch)
        edges, ids = hierarchy.edges_bottom_up, _ids(hierarchy)
        if direction == "up":
            passes = [(children, parents) for parents, children in edges]
            # Score and id in one number: its maximum is the largest score and, among tied ones, the node
            # nearest in id. Descendants have larger ids, so on the way up a node's own score comes first.
            rank = len(hierarchy) - ids
        else:
            passes, rank = list(reversed(edges)), ids
        if not ctx.needs_input_grad[0]:  # no gradient: where each maximum came from does not matter
            for start, end in passes:
                values.scatter_reduce_(0, _rows(end, values), values.index_select(0, start), "amax")
            return values.T.contiguous()
        key = (_order(values) << 32) | rank
        for start, end in passes:
            key.scatter_reduce_(0, _rows(end, key), key.index_select(0, start), "amax")
        source = key & 0xFFFFFFFF
        if direction == "up":
            source = len(hierarchy) - source
        ctx.save_for_backward(source)
        return values.gather(0, source).T.contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _scatter_back(grads[0], ctx.saved_tensors[0]), None, None


class _MinOverParents(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, hierarchy: Hierarchy) -> Tensor:
        values = scores.detach().T.contiguous()  # (C, batch)
        parents, children = hierarchy.edges.unbind(1)
        least = values.scatter_reduce(0, _rows(children, values), values[parents], "amin")
        if ctx.needs_input_grad[0]:
            # The largest id that attains the result. Parents have smaller ids: a node's own comes first.
            no_source = -1
            source = torch.where(values > least, no_source, _ids(hierarchy))
            passed = torch.where(values[parents] == least[children], parents.unsqueeze(1), no_source)
            ctx.save_for_backward(source.scatter_reduce_(0, _rows(children, source), passed, "amax"))
        return least.T.contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _scatter_back(grads[0], ctx.saved_tensors[0]), None


def _order(scores: Tensor) -> Tensor:
    """int64 numbers below 2^31 in size that compare as the scores do, NaN above all others."""
    if scores.dtype == torch.float64:
        ordered = scores.unique(return_inverse=True)[1]
    else:
        bits = (scores.float() + 0.0).view(torch.int32)  # + 0.0 makes -0.0 equal to 0.0
        # The bits of negative floats fall, below the sign, as the value rises: flip them.
        ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return ordered.masked_fill_(scores.isnan(), 0x7FFFFFFF).long()


def _scatter_back(grad: Tensor, source: Tensor) -> Tensor:
    """(batch, C): each gradient added to the one of its source, in float32 at least."""
    wide = grad.T.to(torch.promote_types(grad.dtype, torch.float32)).contiguous()
    return torch.zeros_like(wide).scatter_add_(0, source, wide).T.to(grad.dtype).contiguous()


def _ids(hierarchy: Hierarchy) -> Tensor:
    return torch.arange(len(hierarchy), device=hierarchy.edges.device).unsqueeze(1)


def _rows(ids: Tensor, like: Tensor) -> Tensor:
    return ids.unsqueeze(1).expand(-1, like.shape[1])
