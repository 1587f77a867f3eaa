"""Networks by name: images through Lite0 and CLIP, texts through sentence-transformers, what is missing."""

import sys
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from hmc_shared.cli.commands import PredictOptions
from hmc_shared.cli.embed import Embed
from hmc_shared.data import load_dataset
from hmc_shared.embed import folder as of_folder
from hmc_shared.embed.command import command
from hmc_shared.embed.embedder import Embedder, load_embedder
from hmc_shared.embed.networks import digest_of, open_network
from hmc_shared.predict.inputs import predict
from hmc_shared.vision.encoders import image_encoder, without_colour
from hmc_shared.vision.image_files import read_image
from hmc_shared.vision.weights import pretrained_encoder

SIZE = 32


@pytest.fixture
def photos(tmp_path, encode):
    """A folder of 24 random images of several sizes in three classes."""
    rng = np.random.default_rng(0)
    for i in range(24):
        file = tmp_path / "photos" / ("a/b", "a/c", "d")[i % 3] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(rng.integers(0, 256, (30 + i, 40, 3), dtype=np.uint8)))
    return tmp_path / "photos"


def test_photographs_get_the_features_of_the_network(tmp_path, photos, toy):
    command(Embed(f"folder:{photos}", tmp_path / "v", image_size=SIZE, batch_size=5, workers=0))
    dataset = load_dataset(f"table:{tmp_path / 'v'}")
    source = load_dataset(f"folder:{photos}")
    assert dataset.hierarchy == source.hierarchy
    assert any("features: vectors of images, by lite0" in note for note in dataset.notes)
    network, features, pixels, _ = pretrained_encoder("lite0")
    for part, split in source.splits.items():
        found = dataset.splits[part]
        assert found.ids == split.ids
        assert torch.equal(found.targets, split.targets)
        images = torch.stack([read_image(photos / name, (3, SIZE, SIZE), "imagenet") for name in split.ids])
        normal = (images - pixels.mean.view(3, 1, 1)) / pixels.std.view(3, 1, 1)
        with torch.no_grad():
            expected = network(normal)
        torch.testing.assert_close(found.inputs, expected.half().float(), rtol=2e-3, atol=2e-3)

    model = toy.LinearModel(features, dataset.hierarchy)
    model.learn_statistics(dataset)
    model.save_pretrained(tmp_path / "run")
    files = [str(photos / name) for name in dataset.test.ids]
    result = predict(PredictOptions(str(tmp_path / "run"), files))
    assert result.ids == files
    torch.testing.assert_close(
        result.probabilities, model.predict_proba(dataset.test.inputs), rtol=1e-2, atol=1e-2
    )
    (tmp_path / "broken.png").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"broken\.png"):
        predict(PredictOptions(str(tmp_path / "run"), [str(tmp_path / "broken.png")]))


def test_deep_images_are_seen_through_a_window_in_the_table_and_in_new_files(tmp_path, toy):
    rng = np.random.default_rng(0)
    for i in range(12):
        file = tmp_path / "deep" / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 500, (30, 40)).astype(np.uint16)).save(file)
    given = {"image_size": SIZE, "workers": 0, "window": "5,95"}
    command(Embed(f"folder:{tmp_path / 'deep'}", tmp_path / "v", **given))
    dataset = load_dataset(f"table:{tmp_path / 'v'}")
    assert dataset.embedder.window == (5, 95)
    files = [tmp_path / "deep" / name for name in dataset.train.ids]
    images = torch.stack([read_image(file, (3, SIZE, SIZE), "imagenet", (5.0, 95.0)) for file in files])
    assert torch.equal(dataset.train.inputs, torch.from_numpy(dataset.embedder.of_images(images)).float())
    model = toy.LinearModel(1280, dataset.hierarchy)
    model.learn_statistics(dataset)
    model.save_pretrained(tmp_path / "run")
    result = predict(PredictOptions(str(tmp_path / "run"), [str(file) for file in files]))
    expected = model.predict_proba(dataset.train.inputs)
    torch.testing.assert_close(result.probabilities, expected, rtol=1e-2, atol=1e-2)
    with pytest.raises(ValueError, match="`--window` should be two rising percentiles"):
        command(Embed(f"folder:{tmp_path / 'deep'}", tmp_path / "w", **given | {"window": "95,5"}))


def test_workers_and_a_stop_change_no_byte(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(of_folder, "ROWS", 8)
    whole = Embed(f"folder:{photos}", tmp_path / "whole", image_size=SIZE, batch_size=3, workers=0)
    command(whole)
    table = (tmp_path / "whole" / "table.parquet").read_bytes()
    stopped = Embed(f"folder:{photos}", tmp_path / "v", image_size=SIZE, batch_size=3, workers=2)
    write = of_folder.EmbeddingFolder.write_part

    def stop_at_second(folder, first, vectors):
        if first == 8:
            raise KeyboardInterrupt
        write(folder, first, vectors)

    with monkeypatch.context() as patch:
        patch.setattr(of_folder.EmbeddingFolder, "write_part", stop_at_second)
        with pytest.raises(KeyboardInterrupt):
            command(stopped)
    command(Embed(f"folder:{photos}", tmp_path / "v", image_size=SIZE, batch_size=3, workers=2, resume=True))
    assert (tmp_path / "v" / "table.parquet").read_bytes() == table


def test_small_grey_images(tmp_path):
    command(Embed("digits", tmp_path / "v", image_size=16, workers=0, batch_size=512))
    dataset, digits = load_dataset(f"table:{tmp_path / 'v'}"), load_dataset("digits", view="image")
    assert dataset.num_features == 1280
    assert dataset.test.ids == digits.test.ids
    assert torch.equal(dataset.train.targets, digits.train.targets)


def test_images_that_cannot_be_read(tmp_path, photos):
    (photos / "d" / "x.png").write_bytes(b"none")
    words = {"image_size": SIZE, "workers": 0}
    with pytest.raises(ValueError, match=r"'d/x\.png' is not an image"):
        command(Embed(f"folder:{photos}", tmp_path / "v", **words))
    command(Embed(f"folder:{photos}", tmp_path / "v", on_error="skip", **words))
    assert sum(map(len, load_dataset(f"table:{tmp_path / 'v'}").splits.values())) == 24


def test_other_weights_than_those_of_the_training_vectors(tmp_path):
    Embedder("lite0", "images", 1280, image_size=SIZE, weights="0" * 64).save(tmp_path)
    embedder = load_embedder(tmp_path)
    with pytest.raises(ValueError, match=r"the weights of lite0 should be those .* \(SHA-256 000000000000\)"):
        embedder.of_images(torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8))


def test_weights_in_a_file(tmp_path, photos):
    file = tmp_path / "mine.pt"
    network = without_colour(image_encoder("resnet18", 3)[0])
    torch.save(network.state_dict(), file)
    folder = tmp_path / "v"
    command(Embed(f"folder:{photos}", folder, "resnet18", weights=file, image_size=SIZE, workers=0))
    dataset = load_dataset(f"table:{folder}")
    images = torch.stack(
        [read_image(photos / name, (3, SIZE, SIZE), "imagenet") for name in dataset.test.ids]
    )
    found = load_embedder(folder).of_images(images)
    np.testing.assert_allclose(found, dataset.test.inputs, rtol=1e-2, atol=1e-2)
    assert found.std() > 0
    file.unlink()
    with pytest.raises(ValueError, match=r"mine\.pt"):
        load_embedder(folder).of_images(images)
    with pytest.raises(ValueError, match="`--weights` is for networks of timm and torchvision"):
        open_network("open_clip:a/b", "images", file=str(file))


@pytest.mark.parametrize(
    ("name", "takes", "says"),
    [
        ("word2vec", "texts", r"the encoder of texts should be tfidf, .* Found 'word2vec'"),
        ("lite0", "texts", r"the encoder of texts should be .* Found 'lite0'"),
        ("sentence-transformers:x", "images", r"the encoder of images should be .* Found 'sentence"),
        ("resnet8", "images", "resnet8 has no weights of its own"),
        ("vgg99", "images", "vgg99 has no weights of its own: it should be a network of torchvision"),
        ("timm:vgg99", "images", "timm:vgg99 has no weights of its own"),
    ],
)
def test_unknown_names(name, takes, says):
    with pytest.raises(ValueError, match=says):
        open_network(name, takes)


@pytest.mark.parametrize("encoder", ["resnet8", "timm:vgg99", "sentence-transformers:x"])
def test_an_encoder_is_refused_before_data_are_read(tmp_path, encoder):
    with pytest.raises(ValueError, match=encoder):  # and not the set, which is not there
        command(Embed("folder:nowhere", output=tmp_path / "vectors", encoder=encoder))


@pytest.mark.parametrize(
    ("name", "extra"), [("sentence-transformers:tiny", "sentences"), ("open_clip:a/b", "clip")]
)
def test_what_to_install_is_said(monkeypatch, name, extra):
    for module in ("sentence_transformers", "open_clip"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"{name} needs \w+: pip install 'hmc-shared\[{extra}\]'$"):
        open_network(name, "texts")


def test_sentence_transformers(monkeypatch):
    class SentenceTransformer(nn.Module):
        """As much of the library's class as is used."""

        def __init__(self, name):
            super().__init__()
            if name != "tiny":
                raise OSError(f"{name} is not a model")
            self.layer = nn.Linear(1, 3)

        def encode(self, texts, batch_size, show_progress_bar):
            return np.array([[len(text), 1, 0] for text in texts], np.float32)

    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    network = open_network("sentence-transformers:tiny", "texts")
    assert network.width == 3
    np.testing.assert_array_equal(network.encode(["ab", "abc"])[:, 0], [2, 3])
    with pytest.raises(ValueError, match="weights of sentence-transformers:big cannot be had: big is not"):
        open_network("sentence-transformers:big", "texts")


def test_both_towers_of_a_clip(monkeypatch):
    open_clip = pytest.importorskip("open_clip")
    vision = {"image_size": 16, "patch_size": 8, "width": 64, "layers": 1}
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    torch.manual_seed(0)
    clip = open_clip.CLIP(8, vision, text)
    own = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    pixels = {"size": (16, 16), "mean": own[0], "std": own[1]}  # as create_model does
    import_module("open_clip.model").set_model_preprocess_cfg(clip, pixels)
    monkeypatch.setattr(open_clip, "list_pretrained", lambda: [("tiny", "mine")])
    monkeypatch.setattr(open_clip, "create_model", lambda name, pretrained: clip)
    tokenizer = open_clip.SimpleTokenizer(context_length=16)
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda name: tokenizer)
    texts, images = (
        open_network("open_clip:tiny/mine", "texts"),
        open_network("open_clip:tiny/mine", "images"),
    )
    assert (texts.width, images.width, images.image_size, images.weights) == (8, 8, 16, texts.weights)
    np.testing.assert_allclose(
        texts.encode(["a cat"]), clip.encode_text(tokenizer(["a cat"]), normalize=True).detach(), atol=1e-6
    )
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    found = images.encode(pixels)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in own)
    expected = clip.encode_image((pixels / 255 - mean) / std, normalize=True).detach()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"should be such as tiny/mine\. Found 'ViT-B-32/none'"):
        open_network("open_clip:ViT-B-32/none", "images")
    with pytest.raises(ValueError, match="`--image-size` should be 16, the only one"):
        open_network("open_clip:tiny/mine", "images", 32)


def test_the_digest_is_of_names_and_numbers():
    one, two = nn.Linear(2, 1), nn.Linear(2, 1)
    two.load_state_dict(one.state_dict())
    assert digest_of(one) == digest_of(two)
    with torch.no_grad():
        two.bias += 1
    assert digest_of(one) != digest_of(two)
    assert len(digest_of(nn.BatchNorm1d(1).half())) == 64  # numbers of several types
