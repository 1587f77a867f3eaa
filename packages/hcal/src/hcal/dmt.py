"""DMT for images: the cells of a feature map as a sequence, a query for each level, a mixture of experts."""

# Annotations must be types here: see model.py.
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torchvision.models import ResNet

from hcal.baselines import level_gates, logits_of_mixtures
from hcal.config import Decode
from hcal.model import CARD, LevelClassifier
from hcal.networks import build_encoder
from hmc_shared import Hierarchy
from hmc_shared.resizing import Resize
from hmc_shared.vision.encoders import SmallResNet

WIDTH, HEADS, HIDDEN, DROPOUT = 80, 4, 320, 0.1
"""Of the transformer."""
EXPERTS, EXPERT_SIZES, TOWER_SIZE = 4, (512, 256, 128), 32


class DMT(LevelClassifier, **CARD):
    """Deep multifaceted transformers (Gu et al. 2020), an adaptation to images.

    The original reads sequences of a user's actions, with the item in question as the query of a transformer
    of one encoder and one decoder block; what it finds and other features go into MMoE. An image has no such
    sequence, and HCAL does not say what took its place. Here the sequence is the feature map of a ResNet,
    cell by cell, and each level has a learned query:

        u_1, ..., u_L = Transformer(cells + positions, queries),    x = [mean of the cells, u_1, ..., u_L]

    Level k sees sum_i softmax(G_k x + g_k)_i expert_i(x) through its tower. The sizes are the paper's. Its
    bias network, which is about places in a list of results, has no counterpart. Arguments as for
    :class:`hcal.HCAL`.

    Raises ValueError for an encoder that is no ResNet.
    """

    method = "dmt"

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        encoder: str = "resnet18",
        stem: str = "imagenet",
        max_pool: bool = True,
        width: int | None = None,
        decode: Decode = "independent",
        resize: Resize = "crop",
    ) -> None:
        super().__init__(hierarchy, input_shape, decode, resize)
        levels = hierarchy.num_levels
        self.encoder, size = build_encoder(encoder, input_shape, stem=stem, max_pool=max_pool, width=width)
        _leave_out_pooling(self.encoder, encoder)
        with torch.no_grad():
            cells = self.encoder.eval()(torch.zeros(1, *input_shape)).numel() // size
        self.encoder.train()
        self.embedding = nn.Linear(size, WIDTH)
        self.positions = nn.Parameter(0.02 * torch.randn(cells, WIDTH))
        self.queries = nn.Parameter(0.02 * torch.randn(levels, WIDTH))
        self.transformer = nn.Transformer(WIDTH, HEADS, 1, 1, HIDDEN, DROPOUT, batch_first=True)
        known = size + levels * WIDTH
        self.experts = nn.ModuleList(_perceptron(known, *EXPERT_SIZES) for _ in range(EXPERTS))
        self.gates = level_gates(known, levels, EXPERTS)
        self.heads = nn.ModuleList(
            nn.Sequential(_perceptron(EXPERT_SIZES[-1], TOWER_SIZE), nn.Linear(TOWER_SIZE, len(level)))
            for level in hierarchy.levels
        )

    def backbones(self) -> list[nn.Module]:
        return [self.encoder]

    def cells(self, inputs: Tensor) -> Tensor:
        """The places of the feature map, row by row, (B, cells, features)."""
        maps = self.encoder(inputs).flatten(1)  # (B, features x cells)
        return maps.unflatten(1, (-1, len(self.positions))).transpose(1, 2)

    def seen(self, cells: Tensor) -> Tensor:
        """x: what the experts get, (B, features + L x 80)."""
        queries = self.queries.expand(cells.shape[0], -1, -1)  # `len` would fix the batch of an export
        found = self.transformer(self.embedding(cells) + self.positions, queries)  # (B, L, 80)
        return torch.cat([cells.mean(1), found.flatten(1)], dim=1)

    def forward(self, inputs: Tensor) -> Tensor:
        x = self.seen(self.cells(inputs))
        experts = torch.stack([expert(x) for expert in self.experts], dim=1)
        return logits_of_mixtures(self.gates(x), experts, self.heads)

    def logits_of_outputs(self, outputs: Tensor) -> Tensor:
        return outputs


def _perceptron(*sizes: int) -> nn.Sequential:
    return nn.Sequential(*[nn.Sequential(nn.Linear(*pair), nn.ReLU()) for pair in pairwise(sizes)])


def _leave_out_pooling(encoder: nn.Module, name: str) -> None:
    """Make a ResNet give its whole feature map, flattened or not. Raises ValueError for another network."""
    resnet = encoder if isinstance(encoder, SmallResNet) else list(encoder.children())[-1]
    if not isinstance(resnet, SmallResNet | ResNet):
        raise ValueError(
            f"`--encoder` should be a ResNet with dmt, such as resnet8 or resnet18. Found {name!r}."
        )
    resnet.avgpool = nn.Identity()  # type: ignore[assignment]
