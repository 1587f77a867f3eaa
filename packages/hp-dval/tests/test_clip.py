"""CLIP by open_clip: our way through the text tower beside the unmodified one; files, tags, refusals."""

import copy
import pickle

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from hp_dval.clip import Clip
from hp_dval.clip_files import load_clip
from hp_dval.students import Student

TEXTS = ["two", "a photo of a cat.", "a small nine at the top left and a large zero at the bottom right"]


@pytest.fixture(scope="module")
def clip(clip_json, clip_file):
    return load_clip(clip_json, clip_file)


@pytest.mark.parametrize("custom", [False, True], ids=["CLIP", "CustomTextCLIP"])
def test_texts_are_embedded_as_by_the_unmodified_encode_text(clip_config, custom):
    torch.manual_seed(0)
    clip = Clip(clip_config | {"custom_text": custom})
    assert isinstance(clip.model, open_clip.CustomTextCLIP if custom else open_clip.CLIP)
    tokens = clip.tokenizer(TEXTS)
    assert tokens.shape == (3, 77)
    theirs = clip.model.encode_text(tokens)
    assert (theirs[0] - theirs[1]).abs().max() > 0.1
    torch.testing.assert_close(clip.encode_text(TEXTS), theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(clip.encode_embeddings(clip.embed(tokens), tokens), theirs)


def test_sequences_end_with_the_longest_text(clip):
    tokens = clip.tokenize(TEXTS)
    full = clip.tokenizer(TEXTS)
    assert tokens.shape[1] == (full != 0).sum(1).max() < 77
    assert torch.equal(tokens, full[:, : tokens.shape[1]])
    assert (tokens.max(1).values == full.max(1).values).all()  # every end of text is there


def test_a_text_of_any_length_fits_the_context(clip):
    assert clip.tokenize(["word " * 200]).shape == (1, 77)


def test_what_stands_behind_the_end_changes_nothing_and_what_stands_before_does(clip):
    tokens = clip.tokenize(TEXTS)
    embeddings, ends = clip.embed(tokens), tokens.argmax(1)
    noise = torch.randn_like(embeddings)
    behind = torch.arange(tokens.shape[1]) > ends[:, None]
    base = clip.encode_embeddings(embeddings, tokens)
    assert torch.equal(
        clip.encode_embeddings(torch.where(behind[..., None], noise, embeddings), tokens), base
    )
    before = clip.encode_embeddings(torch.where(behind[..., None], embeddings, noise), tokens)
    assert (before - base).abs().amax(1).min() > 1e-3


def test_gradients_reach_the_embeddings_and_no_weight(clip):
    tokens = clip.tokenize(TEXTS)
    embeddings = clip.embed(tokens).requires_grad_()
    clip.encode_embeddings(embeddings, tokens).sum().backward()
    assert embeddings.grad is not None
    assert embeddings.grad.abs().sum() > 0
    assert not clip.training
    assert not any(parameter.requires_grad for parameter in clip.parameters())


def test_preprocessing_is_open_clips_own(clip):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    theirs = open_clip.image_transform(clip.image_tower.image_size, is_train=False)(Image.fromarray(pixels))
    ours = clip.preprocess(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    torch.testing.assert_close(ours[0], theirs, atol=1e-6, rtol=0)


def test_grey_images_of_another_size_are_brought_to_the_models(clip):
    image = torch.full((1, 1, 20, 24), 128, dtype=torch.uint8)
    ours = clip.preprocess(image)
    assert ours.shape == (1, 3, 32, 32)
    expected = (128 / 255 - clip.image_tower.mean) / clip.image_tower.std
    torch.testing.assert_close(ours[0], expected.expand(3, 32, 32), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["pt", "training.pt", "safetensors", "half.safetensors"])
def test_checkpoints_that_open_clip_writes_are_read(tmp_path, clip, clip_json, kind):
    state, path = clip.model.state_dict(), tmp_path / f"clip.{kind}"
    if kind.endswith("safetensors"):
        save_file({k: v.half() if kind[0] == "h" else v for k, v in state.items()}, path)
    else:
        torch.save({"epoch": 1, "state_dict": state} if kind[0] == "t" else state, path)
    loaded = load_clip(clip_json, str(path)).model.state_dict()
    for name, value in state.items():
        expected = value.half().float() if kind[0] == "h" else value
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], expected), name


class Evil:
    def __reduce__(self):
        return (print, ("code of a checkpoint was run",))


def test_a_checkpoint_cannot_run_code(tmp_path, clip_json, capsys):
    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps({"state_dict": Evil()}))
    with pytest.raises(ValueError, match=r"evil\.pt"):
        load_clip(clip_json, str(path))
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(ValueError, match=r"evil\.pt"):
        load_clip(clip_json, str(path))
    assert "code" not in capsys.readouterr().out


def test_weights_that_do_not_fit_are_refused(tmp_path, clip, clip_config):
    path = tmp_path / "other.safetensors"
    save_file(clip.model.state_dict(), path)
    other = copy.deepcopy(clip_config)
    other["text_cfg"]["width"] = 32
    with pytest.raises(ValueError, match=r"other\.safetensors"):
        Clip(other, path)


def test_a_failed_download_says_what_to_fetch_and_how_to_pass_it(monkeypatch):
    def offline(tag):
        raise OSError("Name or service not known")

    monkeypatch.setattr(open_clip, "download_pretrained", offline)
    with pytest.raises(ValueError, match="could not be downloaded") as caught:
        load_clip("ViT-B-16", "openai")
    message = str(caught.value)
    assert "\n" not in message
    assert "https://huggingface.co/timm/vit_base_patch16_clip_224.openai," in message
    assert "open_clip_model.safetensors" in message
    assert "--clip ViT-B-16-quickgelu --pretrained" in message  # what OpenAI trained with
    with pytest.raises(ValueError, match="--clip ViT-B-16 --pretrained"):
        load_clip("ViT-B-16", "laion2b_s34b_b88k")


def test_a_tag_brings_the_activation_it_was_trained_with(monkeypatch, tmp_path, clip, clip_config):
    path = tmp_path / "clip.pt"
    torch.save(clip.model.state_dict(), path)
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: copy.deepcopy(clip_config))
    monkeypatch.setattr(open_clip, "download_pretrained", lambda tag: path)
    activations = [
        {type(module).__name__ for module in load_clip("ViT-B-16", tag).modules()} & {"GELU", "QuickGELU"}
        for tag in ("openai", "laion400m_e32")
    ]
    assert activations == [{"QuickGELU"}, {"GELU"}]


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("ViT-Z-16", None, r"`--clip` should be tiny, .* Found 'ViT-Z-16'"),
        ("ViT-B-16", "opnai", r"`--pretrained` should be a file, or a tag of ViT-B-16 .*openai.* 'opnai'"),
        ("tiny", "openai", r"`--pretrained` should be a file, or a tag of tiny .* none\)\. Found 'openai'"),
        ("nowhere.json", None, r"nowhere\.json cannot be read"),
    ],
)
def test_unknown_names_are_refused(name, pretrained, message):
    with pytest.raises(ValueError, match=message):
        load_clip(name, pretrained)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "damaged JSON"),
        ("[]", "should hold a mapping"),
        ('{"embed_dim": 2}', "text_cfg, vision_cfg"),
        ('{"embed_dim": 2, "vision_cfg": {"depth": 2}, "text_cfg": {}}', "does not make a CLIP"),
    ],
)
def test_damaged_configurations_are_refused(tmp_path, content, message):
    (tmp_path / "clip.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        load_clip(str(tmp_path / "clip.json"))


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("text_cfg", {"hf_model_name": "owner/model"}),
        ("text_cfg", {"hf_tokenizer_name": "owner/model"}),
        ("text_cfg", {"tokenizer_kwargs": {"bpe_path": "/dev/zero"}}),
        ("text_cfg", {"tokenizer_kwargs": {"trust_remote_code": True}}),
        ("vision_cfg", {"timm_model_name": "hf-hub:owner/model"}),
    ],
)
def test_a_configuration_names_nothing_that_lies_elsewhere(clip_config, part, change):
    config = clip_config | {part: clip_config[part] | change}
    with pytest.raises(ValueError, match="does not make a CLIP: it should not name what lies elsewhere"):
        Clip(config)
    if part == "vision_cfg":  # a student needs no text
        with pytest.raises(ValueError, match="should be small, clip,"):
            Student("clip", 32, clip_config=config)


@pytest.mark.parametrize(
    ("part", "name"),
    [("text_cfg", "context_length"), ("text_cfg", "vocab_size"), ("vision_cfg", "image_size")],
)
def test_a_tower_that_embeds_nothing_is_refused(clip_config, part, name):
    with pytest.raises(ValueError, match="the CLIP configuration does not make a CLIP"):
        Clip(clip_config | {part: clip_config[part] | {name: 0}})


def test_a_student_comes_from_no_hub():
    with pytest.raises(ValueError, match="no such name"):
        Student("timm:hf-hub:owner/model", 32)


@pytest.mark.parametrize(("part", "name"), [("text_cfg", "width"), ("vision_cfg", "layers")])
def test_a_tower_that_is_too_large_for_its_weights_is_refused(tmp_path, clip, clip_config, part, name):
    path = tmp_path / "w.safetensors"
    save_file(clip.model.state_dict(), path)
    config = clip_config | {part: clip_config[part] | {name: 10**7}}
    with pytest.raises(ValueError, match=r"w\.safetensors does not make a CLIP"):
        Clip(config, path)


def test_weights_that_are_not_finite_or_in_another_format_are_refused(tmp_path, clip, clip_config):
    state = {name: value.clone() for name, value in clip.model.state_dict().items()}
    state["positional_embedding"][0, 0] = torch.inf
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"w\.safetensors holds a number in positional_embedding"):
        Clip(clip_config, tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz", **{name: value.numpy() for name, value in state.items()})
    with pytest.raises(ValueError, match=r"w\.npz should be a \.safetensors file"):
        Clip(clip_config, tmp_path / "w.npz")
