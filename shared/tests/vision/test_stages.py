"""Stages of encoders: what is frozen, and what step sizes the others take."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hmc_shared import Hierarchy
from hmc_shared.model import HierarchicalModel
from hmc_shared.vision.encoders import image_encoder, without_colour
from hmc_shared.vision.stages import encoder_groups, encoder_stages, freeze


class Model(HierarchicalModel):
    def __init__(self, encoder: nn.Module, features: int) -> None:
        super().__init__(Hierarchy.from_edges([], nodes="ab"), (3, 32, 32))
        self.encoder, self.head = encoder, nn.Linear(features, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.encoder(inputs))


def starts(encoder: nn.Module) -> list[str]:
    """Where the first parameter of each stage is."""
    names = {id(value): name for name, value in without_colour(encoder).named_parameters()}
    return [names[id(stage[0])].removesuffix(".weight") for stage in encoder_stages(encoder)]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("resnet8", ["conv1", *(f"layer{i}.0.conv1" for i in (1, 2, 3))]),
        ("resnet18", ["conv1", *(f"layer{i}.0.conv1" for i in (1, 2, 3, 4))]),
        ("lite0", ["conv_stem", "blocks.0.0.conv_dw", *(f"blocks.{i}.0.conv_pw" for i in range(1, 7))]),
        ("timm:vit_tiny_patch16_224", ["cls_token", *(f"blocks.{i}.norm1" for i in range(12))]),
        ("vit_b_16", ["class_token", *(f"encoder.layers.encoder_layer_{i}.ln_1" for i in range(12))]),
        (
            "regnet_y_400mf",
            ["stem.0", *(f"trunk_output.block{i}.block{i}-0.proj.0" for i in (1, 2, 3, 4))],
        ),
    ],
)
def test_stages_are_the_stem_and_the_numbered_blocks(name: str, first: list[str]) -> None:
    encoder, _ = image_encoder(name, 3)
    assert starts(encoder) == first
    together = [parameter for stage in encoder_stages(encoder) for parameter in stage]
    assert [id(p) for p in together] == [id(p) for p in encoder.parameters()]


def test_layers_without_blocks_are_one_stage() -> None:
    assert len(encoder_stages(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3)))) == 1


@pytest.mark.parametrize(("which", "left"), [("none", 4), ("stages:1", 3), ("stages:3", 1), ("all", 0)])
def test_frozen_stages_change_neither_weights_nor_statistics(which: str, left: int) -> None:
    torch.manual_seed(0)
    model = Model(*image_encoder("resnet8", 3, width=4))
    freeze(model, [model.encoder], which)
    assert model.training
    groups = encoder_groups(model.encoder, 0.1, 0.5)
    assert [group["lr"] for group in groups] == [0.05, 0.025, 0.0125, 0.00625][:left]
    before = copy.deepcopy(model.encoder.state_dict())
    optimizer = torch.optim.SGD([*groups, {"params": model.head.parameters(), "lr": 0.1}])
    for _ in range(2):
        model.eval()
        model.train()  # as after each validation
        model(torch.randn(8, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    stage = {"conv1": 1, "bn1": 1, "layer1": 2, "layer2": 3, "layer3": 4}
    for name, value in model.encoder.state_dict().items():
        is_frozen = stage[name.partition(".")[0]] <= 4 - left
        assert torch.equal(value, before[name]) == is_frozen, name
    twin = copy.deepcopy(model).train()
    assert [m.training for m in twin.modules()] == [m.training for m in model.modules()]
    assert twin.head.training


def test_without_a_decay_all_stages_are_one_group() -> None:
    encoder, _ = image_encoder("resnet8", 3)
    (group,) = encoder_groups(encoder, 0.1, 1.0)
    assert (len(group["params"]), group["lr"]) == (len(list(encoder.parameters())), 0.1)


@pytest.mark.parametrize("which", ["stages:0", "stages:5", "stages:", "some", "stages:-1"])
def test_other_stages_are_refused(which: str) -> None:
    model: Any = Model(*image_encoder("resnet8", 3))
    with pytest.raises(ValueError, match=rf"stages:N, with N of 1 to 4 for this encoder\. Found '{which}'"):
        freeze(model, [model.encoder], which)
