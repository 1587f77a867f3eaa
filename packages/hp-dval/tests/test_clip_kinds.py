"""Every kind of text tower that open_clip has an architecture of, beside its own ``encode_text``.

Towers are shrunken, what else a configuration says is kept. Tokenisers of Hugging Face are not at hand: words
get numbers in their order of appearance, with the start, end and padding of the real ones.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field

import open_clip
import pytest
import torch
from torch.nn import functional as F

from hp_dval.clip import Clip
from hp_dval.prompts import Prompts, check_texts

TEXTS = ["two", "a photo of a cat", "a small nine at the top left and a large zero at the bottom right"]
SIZES = {"width": 16, "heads": 2, "layers": 2}
VISION = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}
SPECIAL = {  # start, end, padding
    "siglip": (None, 1, 1),
    "bert": (101, 0, 0),  # its end is taken off
    "xlm": (0, 2, 1),
    "mt5": (None, 1, 0),
}


@dataclass
class Words:
    """A tokeniser as HFTokenizer is one, of words between blanks."""

    context_length: int
    special: tuple
    numbers: dict = field(default_factory=dict)

    def __call__(self, texts, context_length=None):
        length, (start, end, padding) = context_length or self.context_length, self.special
        rows = []
        for text in texts:
            ids = [self.numbers.setdefault(word, 200 + len(self.numbers)) for word in text.split()]
            ids = [start] * (start is not None) + ids
            ids = [*ids[: length - 1], end]
            rows.append(ids + [padding] * (length - len(ids)))
        return torch.tensor(rows)


def shrunken(name):
    config = open_clip.get_model_config(name)
    config["embed_dim"], config["vision_cfg"] = 24, VISION
    config["text_cfg"] |= SIZES
    if config["text_cfg"].get("proj_type") == "none":
        config["text_cfg"] |= {"width": 24}
    return config


def kind_of(name):
    config = shrunken(name)
    text = config["text_cfg"]
    text.pop("tokenizer_kwargs", None)
    text.pop("mlp_ratio", None)
    is_own = text.pop("hf_tokenizer_name", None) is None
    return json.dumps([config.get("custom_text", False), config.get("quick_gelu", False), is_own, text])


def kinds():
    found = defaultdict(list)
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        is_shipped = not name.startswith("hp-dval-")  # others are registered by Clip
        if is_shipped and "multimodal_cfg" not in config and "hf_model_name" not in config["text_cfg"]:
            found[kind_of(name)].append(name)
    return list(found.values())


KINDS = kinds()


def small_clip(name, monkeypatch):
    config = shrunken(name)
    text = config["text_cfg"]
    tokenizer = text.pop("hf_tokenizer_name", None)
    text.pop("tokenizer_kwargs", None)
    if tokenizer is not None:
        special = next(value for part, value in SPECIAL.items() if part in tokenizer.lower())
        words = Words(text.get("context_length", 77), special)
        monkeypatch.setattr(open_clip, "get_tokenizer", lambda name: words)
    torch.manual_seed(0)
    return Clip(config)


def check_tower(clip):
    tokens = clip.tokenizer(TEXTS)
    theirs = clip.model.encode_text(tokens)
    assert (theirs[0] - theirs[1]).abs().max() > 1e-3
    torch.testing.assert_close(clip.encode_text(TEXTS), theirs, atol=1e-5, rtol=1e-5)
    is_short = clip.tokenize(TEXTS).shape[1] < tokens.shape[1]
    is_causal = getattr(clip.text, "attn_mask", None) is not None
    assert is_short == (is_causal and clip.pooling != "last")

    # Learned vectors that are the embeddings of words give what these words give.
    names = ["cat", "polar bear"]
    first = int(clip.has_start)
    words = clip.embed(clip.tokenize(["one very old"]))[0, first : first + 3]
    whole = clip.model.encode_text(clip.tokenizer([f"one very old {name}." for name in names]))
    ours = Prompts(clip, {name: [name] for name in names}, 3)(words[None])[0]
    torch.testing.assert_close(ours, F.normalize(whole, dim=1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("names", KINDS, ids=[names[0] for names in KINDS])
def test_texts_of_every_kind_are_embedded_as_by_open_clip(names, monkeypatch):
    check_tower(small_clip(names[0], monkeypatch))


def test_the_kinds_are_those_of_nearly_all_architectures():
    """All but CoCa and text towers of Hugging Face: 131 of 144 in open_clip 3.3."""
    shipped = [name for name in open_clip.list_models() if not name.startswith("hp-dval-")]
    assert sum(map(len, KINDS)) / len(shipped) > 0.9


@pytest.mark.parametrize(
    ("family", "pooler", "options", "special"),
    [
        ("roberta", "mean_pooler", {"hidden_size": 16, "num_hidden_layers": 2}, (0, 2, 1)),
        ("mt5", "mean_pooler", {"d_model": 16, "d_kv": 8, "num_layers": 2}, (None, 1, 0)),
        ("m2m_100", "cls_pooler", {"d_model": 16, "encoder_layers": 2, "decoder_layers": 1}, (5, 2, 1)),
    ],
)
def test_text_towers_of_hugging_face_are_read_with_their_mask(
    tmp_path, monkeypatch, family, pooler, options, special
):
    transformers = pytest.importorskip("transformers", reason="needs hp-dval[transformers]")
    heads = {
        "num_attention_heads": 2,
        "num_heads": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    }
    transformers.AutoConfig.for_model(family, vocab_size=400, **options, **heads).save_pretrained(tmp_path)
    text = {"hf_model_name": str(tmp_path), "hf_proj_type": "mlp", "hf_pooler_type": pooler}
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda name: Words(77, special))
    torch.manual_seed(0)
    clip = Clip({"embed_dim": 24, "vision_cfg": VISION, "text_cfg": text})
    assert clip.pooling == "masked"
    check_tower(clip)


@pytest.mark.parametrize("name", ["ViT-B-16", "ViT-B-16-SigLIP", "ViT-L-14-CLIPA", "ViT-H-14-worldwide"])
def test_a_text_fits_to_its_last_token(name, monkeypatch):
    clip = small_clip(name, monkeypatch)
    room = clip.context_length - 1 - int(clip.has_start)
    longest = " ".join(["word"] * room)
    assert clip.fits([longest, f"{longest} word"], clip.context_length).tolist() == [True, False]
    check_texts(clip, {"a": [longest]})
    with pytest.raises(ValueError, match=f"'b' has a text of more than {clip.context_length} tokens"):
        check_texts(clip, {"a": [longest], "b": ["a", f"{longest} word"]})


@pytest.mark.parametrize("name", ["coca_ViT-B-32", "coca_roberta-ViT-B-32"])
def test_coca_is_refused_by_name(name):
    with pytest.raises(ValueError, match="no CoCa"):
        Clip(shrunken(name))
