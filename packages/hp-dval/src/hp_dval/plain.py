"""A plain classifier: an encoder and a linear layer, no texts: what others have beside it is the CLIP."""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hmc_shared.resizing import Resize
from hmc_shared.vision.encoders import image_encoder
from hmc_shared.vision.stages import encoder_groups
from hp_dval.losses import LDAM_SCALE
from hp_dval.model import CARD, ImageClassifier, Outputs, Prompter
from hp_dval.students import CLIP, SMALL, Student


class PlainClassifier(ImageClassifier, **CARD):
    """The class token of a ViT, or the pooled features of another network, and one linear layer.

    With BCE it is the ERM of Wu et al. 2020 and of HP-DVAL's Table I, which have a ResNet-50.

    Args:
        hierarchy, input_shape, patch_size, width, layers, heads, clip_config, coherent, resize: as of
            :class:`hp_dval.model.HPDVAL`.
        student: as there, or a classification network of torchvision or timm without a class token.
        cosine: logits are 30 x the cosines of features and weights, as LDAM has them.
    """

    method = "plain"

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        student: str = "vit_b_16",
        patch_size: int = 4,
        width: int = 96,
        layers: int = 4,
        heads: int = 4,
        clip_config: dict[str, Any] | None = None,
        cosine: bool = False,
        coherent: bool = True,
        resize: Resize = "squash",
    ) -> None:
        super().__init__(hierarchy, input_shape, coherent=coherent, resize=resize)
        channels, *size = self.input_shape
        self.cosine = cosine
        self.student: nn.Module
        if student in (CLIP, SMALL) or student.startswith("vit"):
            self.student = Student(
                student,
                size[0],
                patch_size=patch_size,
                width=width,
                layers=layers,
                heads=heads,
                clip_config=clip_config,
            )
            self.num_features = self.student.num_features
        else:
            self.student, self.num_features = image_encoder(student, channels, size=size)
        self.head = nn.Linear(self.num_features, len(hierarchy), bias=not cosine)

    @property
    def encoder(self) -> nn.Module:
        return self.student.network if isinstance(self.student, Student) else self.student

    def features(self, images: Tensor) -> Tensor:
        """(B, num_features): the class token, or pooled features."""
        features = self.student(images)
        return features[:, 0] if isinstance(self.student, Student) else features

    def forward(self, inputs: Tensor, prompter: Prompter | None = None) -> Outputs:
        """Normalised images (B, channels, height, width) to logits; there is no ``prompter``."""
        features = self.features(inputs)
        if not self.cosine:
            return Outputs(self.head(features).float(), None, None)
        cosines = F.normalize(features.float(), dim=1) @ F.normalize(self.head.weight.float(), dim=1).T
        return Outputs(LDAM_SCALE * cosines, None, None)

    def alignment_groups(self, learning_rate: float, layer_decay: float) -> list[dict[str, Any]]:
        head = {"params": list(self.head.parameters()), "lr": learning_rate}
        return [*encoder_groups(self.encoder, learning_rate, layer_decay), head]
