"""A linear layer and binary cross-entropy for each class."""

from pathlib import Path

from hmc_shared.model import HierarchicalModel, load_pretrained
from toy_method.model import Linear


def load_model(folder: str | Path) -> HierarchicalModel:
    """Load what ``save_pretrained`` wrote."""
    return load_pretrained(folder, {Linear.method: Linear})
