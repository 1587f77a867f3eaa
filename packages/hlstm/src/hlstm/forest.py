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

    A tree gives each training row a weight, 1 / size of the leaf that it shares with the new row, or 0. The
    mean of the trees' weights times the targets is the probability of each class: coherent, as targets are.
    So the model keeps the training rows' targets and leaves, not the shares of all classes in each leaf.

    Args:
        num_features: F, width of an input row.
        hierarchy: the C classes.
        trees: T.
        nodes: of the largest tree.
        rows: n, of the training.
        depth: of the deepest leaf.
    """

    method = "clus-ens"
    feature: Tensor
    """(T, nodes) int64: what a node asks about."""
    threshold: Tensor
    """(T, nodes) float32: a row goes left where the feature is at most this."""
    branches: Tensor
    """(2, T, nodes) int64: left and right; a leaf is its own."""
    leaf_of_row: Tensor
    """(T, n) int64."""
    weight_of_row: Tensor
    """(T, n) float32: how often a row was drawn for the tree, over how often all of its leaf were."""
    targets: Tensor
    """(n, C) bool."""

    def __init__(
        self, num_features: int, hierarchy: Hierarchy, trees: int, nodes: int, rows: int, depth: int
    ) -> None:
        super().__init__(num_features, hierarchy)
        self.depth = depth
        self.batch_size = max(1, 2**23 // (trees * rows))
        self.register_buffer("feature", torch.zeros(trees, nodes, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(trees, nodes))
        self.register_buffer("branches", torch.zeros(2, trees, nodes, dtype=torch.int64))
        self.register_buffer("leaf_of_row", torch.zeros(trees, rows, dtype=torch.int64))
        self.register_buffer("weight_of_row", torch.zeros(trees, rows))
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
        shares_leaf = self.leaves(features).unsqueeze(2) == self.leaf_of_row  # (batch, T, n)
        weights = (shares_leaf * self.weight_of_row).sum(1) / len(self.feature)
        logits = (weights @ self.targets.float()).clamp(SMALLEST, 1 - SMALLEST).logit()
        return logits, logits
