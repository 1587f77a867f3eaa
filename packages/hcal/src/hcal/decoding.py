"""From logits (n, C), one softmax for each level, to scores: level by level, or by the best whole path.

Scores are log-odds, ln p / (1 - p), so that 0 is the threshold of probability 1/2 and large probabilities
keep their order in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_descendants

LARGEST = 1e4  # stands for the infinite log-odds of an only class, so that sums and differences stay finite


def log_odds(logits: Tensor) -> Tensor:
    """Log-odds of the softmax over dimension 1, (n, P), exact also where a probability rounds to 1.

    ln p/(1 - p) = z_j - ln(sum of exp(z_i), i != j). Where p <= 1/2, 1 - p loses nothing; only for the
    largest entry the sum is made without it.
    """
    log_p = logits.log_softmax(1)
    odds = log_p - torch.log1p(-log_p.exp().clamp(max=0.5))
    best, at = logits.max(1, keepdim=True)
    others = logits.scatter(1, at, -torch.inf).logsumexp(1, keepdim=True)
    return odds.scatter(1, at, best - others).clamp(-LARGEST, LARGEST)


def level_log_odds(logits: Tensor, hierarchy: Hierarchy) -> Tensor:
    """``decode=independent``: log-odds of each node in the softmax of its level, (n, C)."""
    return torch.cat([log_odds(logits[:, level.start : level.stop]) for level in hierarchy.levels], dim=1)


def path_matrix(hierarchy: Hierarchy) -> Tensor:
    """(C, leaves) float32: what the node's log-probability counts in the score of the path to each leaf.

    1 on a path that reaches the last level. A shorter path of n nodes counts each L / n times: it is scored
    by its mean over nodes, or it would be favoured for having fewer terms.
    """
    on_path = hierarchy.ancestors[hierarchy.leaves].T.float()
    return on_path * (hierarchy.num_levels / on_path.sum(0))


def path_scores(logits: Tensor, hierarchy: Hierarchy) -> Tensor:
    """Score of the path from root to each leaf, (n, leaves): the sum of its level log-probabilities."""
    levels = [logits[:, level.start : level.stop].log_softmax(1) for level in hierarchy.levels]
    return torch.cat(levels, dim=1) @ path_matrix(hierarchy).to(logits.dtype)


def path_log_odds(logits: Tensor, hierarchy: Hierarchy) -> Tensor:
    """``decode=path``: log-odds of the best path through each node, in the softmax over all paths, (n, C).

    These max-marginals rise from leaf to root, and the best node of each level is the one on the best path
    (below the end of a short path it is some other node, which means nothing). Where paths tie, the first
    one's score is raised by one unit in the last place: else the levels could take sides differently.
    """
    odds = log_odds(path_scores(logits, hierarchy)).float()
    best, at = odds.max(1, keepdim=True)
    odds = odds.scatter(1, at, torch.nextafter(best, torch.full_like(best, torch.inf)))
    scores = odds.new_full(logits.shape, -torch.inf)
    scores[:, hierarchy.leaves] = odds
    return max_over_descendants(scores, hierarchy)


def best_paths(scores: Tensor, hierarchy: Hierarchy) -> Tensor:
    """The path of ``decode=path``: (n, C) scores of :func:`path_log_odds` to (n, L) ids, -1 below its end."""
    leaf = hierarchy.leaves[scores[:, hierarchy.leaves].argmax(1)]
    on_path = hierarchy.ancestors[leaf]  # (n, C)
    ids = torch.arange(len(hierarchy), device=scores.device)
    return torch.stack(
        [torch.where(on_path, ids, -1)[:, level.start : level.stop].amax(1) for level in hierarchy.levels],
        dim=1,
    )


def best_nodes(scores: Tensor, hierarchy: Hierarchy) -> Tensor:
    """The best node of each level by itself: (n, C) scores to (n, L) ids."""
    best = [scores[:, level.start : level.stop].argmax(1) + level.start for level in hierarchy.levels]
    return torch.stack(best, dim=1)


def level_nll(logits: Tensor, paths: Tensor, hierarchy: Hierarchy) -> Tensor:
    """-ln p of the true node of each level, mean over the samples that reach it, summed over levels."""
    total = logits.new_zeros(())
    for depth, level in enumerate(hierarchy.levels):
        rows = paths[:, depth] >= 0
        labels = paths[rows, depth] - level.start
        if len(labels):
            total = total + F.cross_entropy(logits[rows, level.start : level.stop], labels)
    return total


def path_nll(logits: Tensor, paths: Tensor, hierarchy: Hierarchy) -> Tensor:
    """-ln p of the true path, mean over samples; one that ends above a leaf is all paths that begin so."""
    log_p = path_scores(logits, hierarchy).log_softmax(1)  # (n, leaves)
    deepest = paths.amax(1)  # ids rise with depth
    through = hierarchy.ancestors[hierarchy.leaves].T[deepest.clamp(min=0)]  # (n, leaves)
    return -log_p.masked_fill(~through, -torch.inf).logsumexp(1)[deepest >= 0].mean()
