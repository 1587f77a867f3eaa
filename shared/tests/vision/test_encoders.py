"""Image encoders: torchvision's networks without their head, and ResNets for small images."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torchvision import models

from hmc_shared.vision.encoders import image_encoder


@pytest.mark.parametrize(
    ("name", "shape", "options", "features"),
    [
        ("resnet8", (3, 32, 32), {}, 64),
        ("resnet20", (1, 8, 8), {"width": 4}, 16),
        ("resnet18", (3, 32, 32), {"stem": "cifar", "max_pool": False}, 512),
        ("mobilenet_v3_small", (1, 32, 32), {}, 1024),
        ("lite0", (3, 40, 40), {}, 1280),
        ("timm:mobilenetv3_small_050", (1, 32, 32), {}, 1024),
        ("timm:vit_tiny_patch16_224", (3, 32, 48), {"size": (32, 48)}, 192),
    ],
)
def test_encoders_give_a_row_of_features(
    name: str, shape: tuple[int, ...], options: dict[str, Any], features: int
) -> None:
    encoder, size = image_encoder(name, shape[0], **options)
    assert size == features
    assert encoder.eval()(torch.zeros(2, *shape)).shape == (2, features)


def test_features_are_what_the_last_layer_of_torchvision_takes() -> None:
    torch.manual_seed(0)
    whole = models.resnet18().eval()
    encoder, _ = image_encoder("resnet18", 3)
    encoder[1].load_state_dict({k: v for k, v in whole.state_dict().items() if not k.startswith("fc.")})
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(whole.fc(encoder.eval()(images)), whole(images))
    grey = images[:, :1]
    torch.testing.assert_close(encoder(grey), encoder(torch.cat([grey] * 3, dim=1)))


def test_the_stem_for_small_images_keeps_their_size() -> None:
    images = torch.zeros(1, 3, 32, 32)
    sides = {}
    for stem, max_pool in (("imagenet", True), ("imagenet", False), ("cifar", True), ("cifar", False)):
        network: Any = image_encoder("resnet18", 3, stem=stem, max_pool=max_pool)[0].eval()[1]
        sides[stem, max_pool] = network.maxpool(network.conv1(images)).shape[-1]
    assert sides == {
        ("imagenet", True): 8,
        ("imagenet", False): 16,
        ("cifar", True): 16,
        ("cifar", False): 32,
    }


def test_resnet20_has_the_size_of_the_paper_that_introduced_it() -> None:
    """0.27 million parameters (He et al. 2016, Table 6), the linear layer and 1x1 shortcuts apart."""
    encoder, _ = image_encoder("resnet20", 3)
    without = sum(p.numel() for name, p in encoder.named_parameters() if "downsample" not in name)
    assert without + 64 * 10 + 10 == 269_722


@pytest.mark.parametrize(
    ("name", "channels", "options", "message"),
    [
        ("resnet19", 3, {}, "Found 'resnet19'"),
        ("resnet18", 4, {}, "1 or 3 channels. Found 4"),
        ("mobilenet_v3_small", 3, {"stem": "cifar"}, "options of the ResNets"),
        ("squeezenet1_0", 3, {}, "end in one linear layer"),
        ("lite0", 3, {"max_pool": False}, "options of the ResNets"),
        ("timm:resnet19", 3, {}, "a network of timm behind timm:. Found 'timm:resnet19'"),
        ("timm:hf-hub:somebody/network", 3, {}, "a network of timm behind timm:"),
        ("timm:vit_tiny_patch16_224", 3, {"size": (8, 8)}, "for images of 8 x 8 pixels"),
    ],
)
def test_encoders_that_do_not_exist_or_fit_are_refused(
    name: str, channels: int, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        image_encoder(name, channels, **options)


def test_networks_of_timm_without_timm_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    for name in ("lite0", "timm:resnet18"):
        with pytest.raises(ValueError, match=rf"{name} needs timm: pip install 'hmc-shared\[timm\]'"):
            image_encoder(name, 3)


def test_only_vision_needs_torchvision() -> None:
    code = (
        "import sys\n"
        "sys.modules['torchvision'] = None  # to import it is now an error\n"
        "import importlib, pkgutil, hmc_shared\n"
        "for module in pkgutil.walk_packages(hmc_shared.__path__, 'hmc_shared.'):\n"
        "    extras = map('hmc_shared.study.{}'.format, ('cluster', 'search', 'spaces'))\n"
        "    needs = ('hmc_shared.vision.', *extras)\n"
        "    if not module.name.startswith(needs) and 'main' not in module.name:\n"
        "        importlib.import_module(module.name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
