"""The losses of HCAL, Eq. (2)-(11), and cross-entropy by level for the baselines.

The paper counts levels from the finest, here they are depths: 0 is the top. Labels are ``paths`` (B, L): the
id of the sample's node at each depth, -1 where its path has ended (or it has no label at all). Nothing here
loops over classes or waits for the device.

With several processes the losses are those of the global batch. What a process computes from its own rows
alone is multiplied by the number of processes, so that the average of the processes' losses and gradients is
the loss and the gradient of one process that holds all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from hcal.processes import num_processes, over_processes


def perturb(prototypes: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    """Eq. (3), (4): prototypes (P, d) plus uniform noise, on the sphere again.

        p~ = (p + u) / |p + u|,  u uniform in (-epsilon, epsilon)^d

    The paper adds the noise to raw prototypes, its code to normalised ones: epsilon then means the same angle
    for every prototype. All processes draw the same noise from equal generators.
    """
    noise = torch.empty_like(prototypes).uniform_(-epsilon, epsilon, generator=generator)
    return F.normalize(prototypes + noise)


def info_nce(features: Tensor, labels: Tensor, prototypes: Sequence[Tensor], temperature: float) -> Tensor:
    """Eq. (6) without the mean: one loss a row, (rows,); 0 where the label is -1.

        -ln [ exp(z . p_y / tau) / sum_j exp(z . p_j / tau) ]

    ``prototypes`` are one or more versions, (P, d) unit vectors each, of the same P prototypes: [perturbed],
    or [original, perturbed] for the paper's double positive. Every version of the row's prototype is a
    positive with a term of its own; all versions of the others are negatives. One version: cross-entropy.

    >>> features, prototypes = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.eye(2)
    >>> info_nce(features, torch.tensor([0, 1]), [prototypes], temperature=0.5)  # ln(1 + e^-2), ln(1 + e^2)
    tensor([0.1269, 2.1269])
    """
    similarities = features @ torch.cat(list(prototypes)).T / temperature
    log_shares = similarities.log_softmax(1).unflatten(1, (len(prototypes), -1))  # (rows, versions, P)
    return F.nll_loss(log_shares.sum(1), labels, ignore_index=-1, reduction="none")


def group_means(features: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. (2): mean feature of each group, (G, d), and its size |G|, (G,), over the global batch.

        z_G = 1 / |G| sum_{i in G} z_i

    ``members`` is (B, G): bool, or the weight of each member, whose sum is then the size. The mean of an
    empty group is 0.
    """
    members = members.to(features.dtype)
    with_ones = F.pad(features, (0, 1), value=1.0)
    sums = over_processes(members.T @ with_ones)  # (G, d + 1): the last column counts
    size = sums[:, -1].detach()
    return sums[:, :-1] / or_one(size).unsqueeze(1), size


def or_one(size: Tensor) -> Tensor:
    """What to divide by: a size, or 1 where it is 0."""
    return torch.where(size > 0, size, 1.0)


def level_losses(
    features: Tensor,
    paths: Tensor,
    prototypes: Sequence[Sequence[Tensor]],
    levels: Sequence[range],
    *,
    temperature: float,
    aggregation: bool = True,
    renormalise: bool = False,
    every_label: bool = False,
    weights: Tensor | None = None,
) -> Tensor:
    """L_k of Eq. (6), (7) for each depth, (L,).

        L_k = 1/B sum_i l(z_i, y_i^k) where all leaves are at depth k;  above,
        L_k = 1/|G_k| sum_{G in G_k} l(z_G, y_G),  with l of :func:`info_nce` and the labels' groups G_k

    Where a sample's path ends it is contrasted with the prototypes by itself, Eq. (6). Above, the samples of
    one label are contrasted as one, by their mean feature, and the loss is the mean over the labels that
    occur, Eq. (7). If all leaves are equally deep, these are the deepest level and all others, as in the
    paper. In an unbalanced tree both kinds occur in one level; they weigh as many samples as they stand for.

    The paper as printed is ``renormalise``, ``every_label`` and prototypes in two versions.

    Args:
        features: (B, d) unit vectors, or (B, L, d) if each level has its own.
        paths: (B, L) int64.
        prototypes: for each depth, the versions that :func:`info_nce` takes.
        levels: the ids of each depth, as in ``Hierarchy.levels``.
        temperature: tau.
        aggregation: False: every sample by itself at every level (Table 2, without FA).
        renormalise: scale group means to length 1, as Eq. (5) divides by their norm (its code does not).
        every_label: divide by all labels of the level, the |C^k| of Eq. (7), not by those that occur.
        weights: (B,) of the samples, default 1: one of weight 2 counts as two of weight 1 do.
    """
    reached = (paths >= 0).to(features.dtype)
    if weights is not None:
        reached = reached * weights.unsqueeze(1)
    goes_on = F.pad(reached[:, 1:], (0, 1)) if aggregation else torch.zeros_like(reached)
    ends = reached - goes_on
    ending, going_on = over_processes(torch.stack([ends, goes_on]).sum(1))  # (L,) each
    share = 1 / or_one(ending + going_on)
    of_samples, of_groups = ends * (share * num_processes()), going_on * share  # (B, L), (L,)
    losses = []
    for depth, level in enumerate(levels):
        rows = features if features.ndim == 2 else features[:, depth]
        labels = paths[:, depth] - level.start
        shares = of_samples[:, depth]
        if aggregation and depth < len(levels) - 1:
            every = torch.arange(len(level), device=paths.device)
            means, size = group_means(rows, (labels.unsqueeze(1) == every) * goes_on[:, depth : depth + 1])
            occurs = (size > 0).to(size.dtype)
            rows = torch.cat([rows, F.normalize(means) if renormalise else means])
            labels = torch.cat([labels, every])
            divisor = len(level) if every_label else occurs.sum().clamp(min=1)
            shares = torch.cat([shares, of_groups[depth] / divisor * occurs])
        losses.append(shares @ info_nce(rows, labels.clamp(min=-1), prototypes[depth], temperature))
    return torch.stack(losses)


def cross_entropies(
    logits: Tensor, paths: Tensor, levels: Sequence[range], weights: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy of each level, (L,), of logits (B, C), over the samples whose path reaches it.

    ``weights`` (B,) are those of the samples in that mean, by default 1.
    """
    weights = torch.ones(len(paths), device=paths.device) if weights is None else weights
    count = over_processes((weights.unsqueeze(1) * (paths >= 0)).sum(0).to(logits.dtype))
    sums = []
    for depth, level in enumerate(levels):
        labels = (paths[:, depth] - level.start).clamp(min=-1)
        of_level = logits[:, level.start : level.stop]
        sums.append((weights * F.cross_entropy(of_level, labels, ignore_index=-1, reduction="none")).sum())
    return num_processes() * torch.stack(sums) / or_one(count)


def coupling_losses(
    logits: Tensor, paths: Tensor, levels: Sequence[range], parents: Tensor, shares: Tensor
) -> Tensor:
    """What CMT (Kollias 2024) adds to the cross-entropies: by the finer level of each pair, (L,), first 0.

        L_DM = -sum_c p(c | x) ln q(c | x),  q(c | x) = sum_f p(f | x) p(c | f)    distribution matching
        L_SCA = -sum_f q(f | x) ln p(f | x),  q = softmax_f sum_c y_c p(f | c)     soft co-annotation

    for classes c of a level and f of the next one, p(c | f) = 1 for the parent of f and p(f | c) the share of
    the samples of c that are of f. A mean over the samples whose path reaches f. Where some classes of a
    level are leaves, p(c | x) is the softmax over the others: q has no mass on leaves.

    Args:
        logits: (B, C).
        paths: (B, L) int64.
        levels: the ids of each depth, as in ``Hierarchy.levels``.
        parents: (C,) int64, the parent of each class; anything for the top ones.
        shares: (C,) p(f | c) of each class and its parent.
    """
    count = over_processes((paths >= 0).sum(0).to(logits.dtype))
    losses = [logits.new_zeros(())]
    for depth, (coarse, fine) in enumerate(pairwise(levels), 1):
        above = parents[fine.start : fine.stop] - coarse.start  # (F,)
        log_fine = logits[:, fine.start : fine.stop].log_softmax(1)
        is_leaf = torch.ones(len(coarse), dtype=torch.bool, device=logits.device).index_fill(0, above, False)
        of_coarse = logits[:, coarse.start : coarse.stop].masked_fill(is_leaf, -torch.inf).softmax(1)
        matched = torch.zeros_like(of_coarse).index_add(1, above, log_fine.exp())
        matching = -(of_coarse * matched.clamp(min=torch.finfo(logits.dtype).tiny).log()).sum(1)
        is_below = paths[:, depth - 1].unsqueeze(1) - coarse.start == above
        annotation = -((is_below * shares[fine.start : fine.stop]).softmax(1) * log_fine).sum(1)
        total = ((matching + annotation) * (paths[:, depth] >= 0)).sum()
        losses.append(num_processes() * total / count[depth].clamp(min=1))
    return torch.stack(losses)


def adaptive_weights(losses: Tensor, paths: Tensor, gamma: float) -> Tensor:
    """Eq. (11): the weights of the levels, (L,), a constant for the gradient.

        w_k = exp(L_k / gamma) / sum_l exp(L_l / gamma)

    The losses are averaged over the processes first. A level that no sample of the batch reaches, by
    ``paths`` (B, L), takes no share; one whose loss is 0, as that of an only class, takes its own.

    >>> paths = torch.tensor([[0, 1, -1]])
    >>> adaptive_weights(torch.tensor([0.0, 0.5, 0.0]), paths, gamma=0.5)  # 1 and e, over their sum
    tensor([0.2689, 0.7311, 0.0000])
    """
    reached = over_processes((paths >= 0).sum(0).to(losses.dtype)) > 0
    losses = over_processes(losses.detach()) / num_processes()
    return torch.where(reached, losses / gamma, -torch.inf).softmax(0).nan_to_num()
