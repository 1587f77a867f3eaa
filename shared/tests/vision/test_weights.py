"""Pre-trained weights: what fits is taken, folded normalisation comes back, no code of a file runs."""

from pathlib import Path
from types import ModuleType
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from hmc_shared import Hierarchy
from hmc_shared.vision.encoders import image_encoder
from hmc_shared.vision.weights import load_weights, normalize_as_expected, read_state_dict, with_positions


def fold(network: nn.Module) -> dict[str, Tensor]:
    """Weights and biases of y = W x + b for each convolution and the batch normalisation after it."""
    folded, weight, convolution = {}, torch.empty(0), ""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            convolution, weight = name, module.weight
        elif isinstance(module, nn.BatchNorm2d):
            scale = module.weight / (module.running_var + module.eps).sqrt()
            folded[f"{convolution}.weight"] = (weight * scale[:, None, None, None]).detach()
            folded[f"{convolution}.bias"] = (module.bias - module.running_mean * scale).detach()
    return folded


def test_folded_batch_normalisation_is_given_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = models.resnet18()
    images = torch.randn(16, 3, 32, 32)
    trained.train()(images)  # running statistics that are not 0 and 1
    for module in trained.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    trained.eval().fc = nn.Identity()
    np.savez(tmp_path / "folded.npz", **{name: value.numpy() for name, value in fold(trained).items()})
    encoder, _ = image_encoder("resnet18", 3)
    said = load_weights(encoder, str(tmp_path / "folded.npz"), "resnet18", images)
    assert said.endswith("new: none")
    expected = trained(images)
    torch.testing.assert_close(encoder.eval()(images), expected, atol=1e-3, rtol=1e-3)
    # In training, the batch's statistics are those that were measured: the same output.
    torch.testing.assert_close(encoder.train()(images), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npz"])
def test_state_dicts_are_taken_as_far_as_they_fit(suffix: str, tmp_path: Path) -> None:
    source, _ = image_encoder("resnet8", 1, width=4)
    state = {f"module.{name}": value + 1 for name, value in source.state_dict().items()}
    state["module.linear.weight"] = torch.zeros(10, 16)
    del state["module.layer3.0.conv1.weight"]
    path = tmp_path / f"trained{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": state}, path)
    elif suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in state.items()})
    else:
        save_file(state, path)
    encoder, _ = image_encoder("resnet8", 1, width=4)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    said = load_weights(encoder, str(path), "resnet8", torch.zeros(2, 1, 8, 8))
    assert said == f"Weights from {path}: 26 of 27 tensors; new: layer3.0.conv1.weight"
    for name, value in encoder.state_dict().items():
        key = f"module.{name}"
        assert torch.equal(value, state[key] if key in state else before[name])
    other, _ = image_encoder("resnet8", 1, width=5)
    with pytest.raises(ValueError, match=rf"none that fits in .*trained\{suffix}"):
        load_weights(other, str(path), "resnet8", torch.zeros(2, 1, 8, 8))


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("opened"),)


@pytest.mark.parametrize(
    ("prefix", "name"), [(1, "encoder.pos_embedding"), (5, "pos_embed"), (0, "pos_embed")]
)
def test_position_embeddings_are_resampled_as_by_timm(prefix: int, name: str) -> None:
    old = torch.randn(1, prefix + 49, 8)
    new = with_positions({name: old}, {name: torch.Size([1, prefix + 144, 8])})[name]
    expected = timm.layers.resample_abs_pos_embed(old, [12, 12], num_prefix_tokens=prefix)
    torch.testing.assert_close(new, expected)
    other = {name: torch.Size([1, prefix + 144, 6])}  # of another width
    assert with_positions({name: old}, other)[name] is old


def test_a_vit_of_torchvision_keeps_its_weights_at_another_size(tmp_path: Path) -> None:
    tiny = {"patch_size": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
    trained, larger = (models.VisionTransformer(image_size=size, **tiny) for size in (32, 64))
    nn.init.normal_(trained.encoder.pos_embedding)
    torch.save(trained.state_dict(), tmp_path / "vit.pt")
    assert load_weights(larger, str(tmp_path / "vit.pt"), "vit_b_16").endswith("new: none")
    there, here = trained.encoder.pos_embedding[0], larger.encoder.pos_embedding[0]
    assert torch.equal(there[0], here[0])
    torch.testing.assert_close(there[1:].mean(0), here[1:].mean(0), atol=0.2, rtol=0)


@pytest.mark.parametrize("weights", ["none", "file.pt"])
def test_photographs_are_normalised_as_the_named_network_expects(toy: ModuleType, weights: str) -> None:
    model = toy.ImageModel((3, 8, 8), Hierarchy.from_paths(["a/b"]))
    normalize_as_expected(model, "timm:vit_tiny_patch16_224", weights, [])  # type: ignore[arg-type]
    assert model.input_mean.flatten().tolist() == [127.5] * 3
    small = toy.ImageModel((1, 8, 8), Hierarchy.from_paths(["a/b"]))
    normalize_as_expected(small, "timm:vit_tiny_patch16_224", weights, torch.zeros(1))
    assert small.input_mean.item() == (0 if weights == "none" else 127.5)


def test_no_code_in_a_weight_file_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Evil()}, tmp_path / "evil.pt")
    np.savez(tmp_path / "evil.npz", **{"conv1.weight": np.asarray([Evil()], dtype=object)})
    for name in ("evil.pt", "evil.npz"):
        with pytest.raises(ValueError, match=name):
            read_state_dict(tmp_path / name)
    assert not (tmp_path / "opened").exists()
    with pytest.raises(ValueError, match=r"none, imagenet, lite0, lite1, lite2 or a file\. Found 'nowhere'"):
        read_state_dict(Path("nowhere"))


def test_a_small_file_of_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmc_shared.array_files.FREE_BYTES", 1000)
    repeated, packed = tmp_path / "repeated.pt", tmp_path / "packed.pt"
    torch.save({"conv1.weight": torch.ones(1).expand(10**6, 10**6)}, repeated)
    torch.save({"conv1.weight": torch.zeros(10**6)}, tmp_path / "plain.pt")
    with ZipFile(tmp_path / "plain.pt") as plain, ZipFile(packed, "w", ZIP_DEFLATED) as archive:
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    for path, message in ((repeated, "larger than what is stored"), (packed, "it unpacks to 4000")):
        with pytest.raises(ValueError, match=rf"{path.name} is not readable as a state dict: .*{message}"):
            read_state_dict(path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    encoder, _ = image_encoder("resnet8", 1)
    state = encoder.state_dict()
    state["bn1.running_var"][0] = torch.nan
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"w\.pt holds a number in bn1\.running_var that is not finite"):
        load_weights(
            image_encoder("resnet8", 1)[0], str(tmp_path / "w.pt"), "resnet8", torch.zeros(1, 1, 8, 8)
        )


def test_imagenet_weights_that_cannot_be_downloaded_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **options: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(models.ResNet18_Weights.DEFAULT.__class__, "get_state_dict", offline)
    encoder, _ = image_encoder("resnet18", 3)
    with pytest.raises(ValueError, match=r"could not be downloaded for resnet18 \(no route\)"):
        load_weights(encoder, "imagenet", "resnet18", torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="networks of torchvision and timm"):
        load_weights(image_encoder("resnet8", 1)[0], "imagenet", "resnet8", torch.zeros(1, 1, 8, 8))
