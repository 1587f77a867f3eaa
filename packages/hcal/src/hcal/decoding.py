"""From logits (n, C), one softmax for each level, to scores and probabilities.

Scores are log-odds, ln p / (1 - p), level by level or by the best whole path or leaf, so that 0 is the
threshold of probability 1/2 and large probabilities keep their order in float32. Probabilities come from one
distribution over the complete paths, from a root to a leaf at whatever depth.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_descendants
from hmc_shared.metrics import level_targets
from hmc_shared.predict.calibration import minimise

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


def path_scores(logits: Tensor, hierarchy: Hierarchy) -> Tensor:
    """Score of the path to each leaf of a tree, (n, leaves): the sum of its level log-probabilities.

    A path that ends above the last level, of n nodes, counts L / n times: it is scored by its mean over
    nodes, or it would be favoured for having fewer terms.
    """
    levels = [logits[:, level.start : level.stop].log_softmax(1) for level in hierarchy.levels]
    sums = torch.cat(levels, dim=1).T  # (C, n); one index moves a row of samples
    for parents, children in reversed(hierarchy.edges_bottom_up):  # each sum ends before it goes down
        sums = sums.index_add(0, children, sums.index_select(0, parents))
    nodes = (hierarchy.depth[hierarchy.leaves] + 1).to(logits.dtype)  # of each path
    return sums.index_select(0, hierarchy.leaves).T * (hierarchy.num_levels / nodes)


def leaf_scores(logits: Tensor, hierarchy: Hierarchy) -> Tensor:
    """Score of each leaf of a tree, (n, leaves): its log-probability in its own level, whatever is above it.

    By it ``decode=leaf`` is Section 3.5 with predicted groups: Eq. (2) groups samples by the parent of their
    best leaf, and we take the group's class to be that parent, as it is where prototypes are the means of
    their groups. Nothing depends on the other samples of a batch.
    """
    levels = [logits[:, level.start : level.stop].log_softmax(1) for level in hierarchy.levels]
    return torch.cat(levels, dim=1).index_select(1, hierarchy.leaves)


def best_through(scores: Tensor, hierarchy: Hierarchy) -> Tensor:
    """``decode=path`` and ``leaf``: log-odds of the best path through each node, (n, C).

    In the softmax over all paths, whose ``scores`` (n, leaves) are those of :func:`path_scores` or
    :func:`leaf_scores`. These max-marginals rise from leaf to root, and the best node of each level is the
    one on the best path (below the end of a short path it is some other node, which means nothing). Where
    paths tie, the first one's score is raised by one unit in the last place: else the levels could take sides
    differently.
    """
    odds = log_odds(scores).float()
    best, at = odds.max(1, keepdim=True)
    odds = odds.scatter(1, at, torch.nextafter(best, torch.full_like(best, torch.inf)))
    of_classes = odds.new_full((len(odds), len(hierarchy)), -torch.inf)
    of_classes[:, hierarchy.leaves] = odds
    return max_over_descendants(of_classes, hierarchy)


def path_probabilities(scores: Tensor, hierarchy: Hierarchy) -> Tensor:
    """Probability of each class, (n, C): of all complete paths through it, summed from the leaves upwards.

    The paths' probabilities are the softmax of ``scores`` (n, leaves), as of :func:`path_scores`. So no class
    exceeds its parent, exactly, and the children of a class add up to it.
    """
    mass = scores.new_zeros(len(hierarchy), scores.shape[0])  # (C, n); len() would fix n in an export
    mass = mass.index_copy(0, hierarchy.leaves, scores.softmax(1).T)
    for parents, children in hierarchy.edges_bottom_up:
        mass = mass.index_add(0, parents, mass.index_select(0, children))
    return mass.T.contiguous().clamp(max=1.0)  # a sum may round to just above 1


def path_labels(scores: Tensor, hierarchy: Hierarchy) -> Tensor:
    """``decode=path`` and ``leaf``: the classes on the path of the best score, (n, C) bool."""
    return hierarchy.ancestors_of(hierarchy.leaves[scores.argmax(1)])


def level_labels(scores: Tensor, hierarchy: Hierarchy) -> Tensor:
    """``decode=independent``: the node of each level with the best score, (n, C) bool."""
    labels = torch.zeros_like(scores, dtype=torch.bool)
    for level in hierarchy.levels:
        best = scores[:, level.start : level.stop].argmax(1, keepdim=True) + level.start
        labels.scatter_(1, best, True)
    return labels


class PathCalibration(nn.Module):
    """One temperature T of the distribution over paths (Guo et al. 2017): it changes no decision.

    Attributes:
        temperature: () float32; 1 as made.
    """

    temperature: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.ones(()))

    def reset(self) -> None:
        self.temperature.fill_(1.0)

    def forward(self, logits: Tensor, hierarchy: Hierarchy) -> Tensor:
        """Calibrated probabilities (n, C) of uncalibrated logits."""
        return path_probabilities(
            path_scores(logits, hierarchy) / self.temperature.to(logits.device), hierarchy
        )

    def fit(
        self, logits: Tensor, targets: Tensor, hierarchy: Hierarchy, evaluated: Tensor | None = None
    ) -> None:
        """Take the T with the least negative log-likelihood of the true paths of held-out samples.

        As in :class:`~hmc_shared.predict.calibration.Calibration` to their sum comes (ln T)^2 / 2, a normal
        prior that keeps T above 0 for a split without a mistake. ``targets`` are (n, C) bool; ``evaluated``
        is not used, as all paths compete.
        """
        deepest = torch.from_numpy(level_targets(targets.cpu(), hierarchy)).amax(1)  # ids rise with depth
        labelled = deepest >= 0
        if not labelled.any():
            return
        scores = path_scores(logits.cpu()[labelled].double(), hierarchy)
        through = leaves_below(deepest[labelled], hierarchy)

        def objective(log_t: Tensor) -> Tensor:
            nll = path_nll(scores / log_t.exp(), through).sum()
            return (nll + log_t.square() / 2) / len(scores)  # a mean, as there

        (log_t,) = minimise(objective, scores.new_zeros(()))
        self.temperature.copy_(log_t.exp())


def leaves_below(nodes: Tensor, hierarchy: Hierarchy) -> Tensor:
    """(n, leaves) bool: which leaves are a node of ``nodes`` (n,) int64, or below it; for -1 none."""
    below = torch.zeros(len(hierarchy), len(nodes), dtype=torch.bool)
    below[nodes.clamp(min=0), torch.arange(len(nodes))] = nodes >= 0
    for parents, children in reversed(hierarchy.edges_bottom_up):
        below[children] |= below[parents]
    return below[hierarchy.leaves].T.contiguous()


def path_nll(scores: Tensor, through: Tensor) -> Tensor:
    """-ln p of the true path, one a sample, (n,), of path scores (n, leaves).

    ``through`` (n, leaves) bool are the paths that begin with the true one, at least one for each sample: a
    path that ends above a leaf is all of them.
    """
    return -scores.log_softmax(1).masked_fill(~through, -torch.inf).logsumexp(1)
