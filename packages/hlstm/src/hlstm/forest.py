"""A forest of predictive clustering trees as a model: which training rows share a leaf with a new one."""

# Annotations must be types here: see model.py.
import torch
from torch import Tensor

from hlstm.model import CARD, CoherentModel
from hmc_shared import Hierarchy

SMALLEST = 1e-7
"""Probability that is taken for 0 or, below 1, for 1, which have no log-odds."""


class Forest(CoherentModel, **CARD):
    """CLUS-Ens (Schietgat et al. 2010): a class is as probable as its share among rows in the same leaves.

    A tree gives each training row a weight, its share of the leaf that it has in common with the new row, or
    0. The mean of the trees' weights times the targets is the probability of each class: coherent, as targets
    are. So the model keeps the rows of each leaf and their targets, not the shares of all classes in it.

    Args:
        num_features: F, width of an input row.
        hierarchy: the C classes.
        trees: T.
        nodes: of the largest tree.
        rows: n, of the training.
        depth: of the deepest leaf.
        leaf_size: rows of the largest leaf.
    """

    method = "clus-ens"
    feature: Tensor
    """(T, nodes) int64: what a node asks about."""
    threshold: Tensor
    """(T, nodes) float32: a row goes left where the feature is at most this."""
    branches: Tensor
    """(2, T, nodes) int64: left and right; a leaf is its own."""
    row: Tensor
    """(T, n) int64: the training rows, leaf by leaf, those that were not drawn for the tree at the end."""
    share: Tensor
    """(T, n) float32: how often each of these was drawn, over how often all of its leaf were."""
    first: Tensor
    """(T, nodes) int64: where in ``row`` those of a leaf begin."""
    size: Tensor
    """(T, nodes) int64: how many they are."""
    targets: Tensor
    """(n, C) bool."""

    def __init__(
        self,
        num_features: int,
        hierarchy: Hierarchy,
        trees: int,
        nodes: int,
        rows: int,
        depth: int,
        leaf_size: int,
    ) -> None:
        super().__init__(num_features, hierarchy)
        self.depth, self.leaf_size = depth, leaf_size
        self.batch_size = min(4096, max(1, 2**22 // (trees * leaf_size)))
        self.register_buffer("feature", torch.zeros(trees, nodes, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(trees, nodes))
        self.register_buffer("branches", torch.zeros(2, trees, nodes, dtype=torch.int64))
        self.register_buffer("row", torch.zeros(trees, rows, dtype=torch.int64))
        self.register_buffer("share", torch.zeros(trees, rows))
        self.register_buffer("first", torch.zeros(trees, nodes, dtype=torch.int64))
        self.register_buffer("size", torch.zeros(trees, nodes, dtype=torch.int64))
        self.register_buffer("targets", torch.zeros(rows, len(hierarchy), dtype=torch.bool))

    def leaves(self, features: Tensor) -> Tensor:
        """The leaf of each tree, (batch, T), that standardised features (batch, F) fall into."""
        node = torch.zeros(features.shape[0], len(self.feature), dtype=torch.int64, device=features.device)
        tree = torch.arange(len(self.feature), device=features.device)
        for _ in range(self.depth):
            value = features.gather(1, self.feature[tree, node])
            is_left = value <= self.threshold[tree, node]
            node = torch.where(is_left, self.branches[0, tree, node], self.branches[1, tree, node])
        return node

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised features (batch, F) to the log-odds (batch, C) of each class, twice."""
        leaf, tree = self.leaves(features), torch.arange(len(self.feature), device=features.device)
        place = torch.arange(self.leaf_size, device=features.device)
        is_inside = place < self.size[tree, leaf].unsqueeze(2)  # (batch, T, leaf_size)
        at = tree[:, None], torch.where(is_inside, self.first[tree, leaf].unsqueeze(2) + place, 0)
        weights = features.new_zeros(features.shape[0], len(self.targets)).scatter_add(
            1, self.row[at].flatten(1), (self.share[at] * is_inside).flatten(1)
        ) / len(tree)
        logits = (weights @ self.targets.float()).clamp(SMALLEST, 1 - SMALLEST).logit()
        return logits, logits
