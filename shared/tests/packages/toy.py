"""A package with models as small as can be, as ``hmc_shared`` sees the package of a method."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from hmc_shared.hierarchy import Hierarchy
from hmc_shared.methods import Method
from hmc_shared.model import HierarchicalModel, load_pretrained, model_card
from hmc_shared.resizing import Resize

CARD = model_card("toy", "# A toy\n", ["toys"])


class LinearModel(HierarchicalModel, **CARD):
    """One layer on feature vectors."""

    library, method = "toy", "linear"

    def __init__(self, num_features: int, hierarchy: Hierarchy, coherent: bool = True) -> None:
        super().__init__(hierarchy, (num_features,), coherent=coherent)
        self.dropout = nn.Dropout(0.5)
        self.layer = nn.Linear(num_features, len(hierarchy))

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(self.dropout(features))

    def logits(self, inputs: Tensor) -> Tensor:
        return self.constrained(self(inputs).float())


class ImageModel(HierarchicalModel, **CARD):
    """A convolution and the mean of its output."""

    library, method, batch_size = "toy", "image", 4

    def __init__(self, input_shape: Sequence[int], hierarchy: Hierarchy, resize: Resize = "crop") -> None:
        super().__init__(hierarchy, input_shape, resize=resize)
        self.layer = nn.Conv2d(self.input_shape[0], len(hierarchy), 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images).mean((2, 3))

    def logits(self, inputs: Tensor) -> Tensor:
        return self.constrained(self(inputs).float())


METHODS = (Method("linear", "toy train", "toy:LinearModel"), Method("image", "toy train", "toy:ImageModel"))
MODELS = {"linear": LinearModel, "image": ImageModel}


def load_model(folder: str | Path) -> HierarchicalModel:
    return load_pretrained(folder, MODELS)
