"""The network."""

from pathlib import Path

from torch import Tensor, nn

from hmc_shared import Hierarchy
from hmc_shared.model import HierarchicalModel, load_pretrained, model_card

CARD = model_card("toy-method", "# A linear classifier\n", ["hierarchical-multi-label-classification"])


class Linear(HierarchicalModel, **CARD):
    """One linear layer."""

    library = "toy_method"
    method = "toy-linear"

    def __init__(self, num_features: int, hierarchy: Hierarchy) -> None:
        super().__init__(hierarchy, (num_features,))
        self.layer = nn.Linear(num_features, len(hierarchy))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs)

    def logits(self, inputs: Tensor) -> Tensor:
        return self.constrained(self(inputs))


def load_model(folder: str | Path) -> HierarchicalModel:
    """Load what ``save_pretrained`` wrote."""
    return load_pretrained(folder, {Linear.method: Linear})
