"""The texts of classes, fixed and learned prompts."""

import pytest
import torch
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hp_dval.clip_files import load_clip
from hp_dval.prompts import Prompts, class_names, fixed_texts, text_embeddings

TREE = Hierarchy.from_paths(["animal/cat", "animal/polar_bear", "plant"])


@pytest.fixture(scope="module")
def clip(clip_json, clip_file):
    return load_clip(clip_json, clip_file)


def test_names_and_templates_make_texts():
    assert class_names(TREE) == ["animal", "plant", "cat", "polar bear"]
    assert fixed_texts(TREE, ["a photo of a {}."])[3] == "a photo of a polar bear."
    texts = fixed_texts(TREE, ["something {}", "a {} in the wild"])
    assert texts == ["something animal", "something plant", "a cat in the wild", "a polar bear in the wild"]


@pytest.mark.parametrize(
    ("templates", "message"), [(["{}"] * 3, "one for each of 2 levels. Found 3"), (["a photo"], "one {}")]
)
def test_templates_that_do_not_suit_are_refused(templates, message):
    with pytest.raises(ValueError, match=message):
        fixed_texts(TREE, templates)


def test_prompts_of_the_embeddings_of_words_are_these_words(clip):
    """Same tokens in, same embeddings out as open_clip's encode_text on the whole text."""
    names = class_names(TREE)
    contexts, expected = [], []
    for words in ("a photo of a", "one very big old"):
        tokens = clip.tokenize([words])
        assert tokens.shape == (1, 6)
        contexts.append(clip.embed(tokens)[0, 1:5])
        whole = clip.tokenizer([f"{words} {name}." for name in names])
        expected.append(F.normalize(clip.model.encode_text(whole), dim=-1))
    ours = Prompts(clip, names, 4)(torch.stack(contexts))
    assert (expected[0] - expected[1]).abs().max() > 0.01
    torch.testing.assert_close(ours, torch.stack(expected), atol=1e-5, rtol=0)


def test_prompts_cut_sequences_and_reach_the_learned_vectors(clip):
    prompts = Prompts(clip, class_names(TREE), 4)
    longest = clip.tokenize(["polar bear."]).shape[1]
    assert prompts.start.shape[1] + prompts.names.shape[1] == longest < 10
    contexts = torch.nn.Parameter(0.02 * torch.randn(2, 4, clip.text_width))
    prompts(contexts)[0].sum().backward()
    assert contexts.grad is not None
    assert contexts.grad[0].abs().min() > 0
    assert contexts.grad[1].abs().max() == 0  # the other view's


def test_prompts_without_room_are_refused(clip):
    with pytest.raises(ValueError, match=r"the text 'cat\.' should have at most 3 tokens.*`--prompt-length`"):
        Prompts(clip, ["cat"], 74)
    Prompts(clip, ["cat"], 73)
    with pytest.raises(ValueError, match=r"the text 'cat\.' should have at most 0 tokens"):
        Prompts(clip, ["cat"], 99)


@pytest.mark.parametrize("words", range(68, 76))
def test_a_text_is_read_to_its_end_or_refused(clip, words):
    """With start, full stop and end, a text of 74 words fills the context of 77 tokens."""
    names = ["cat " * (words - 1) + last for last in ("cat", "dog")]
    texts = [f"{name}." for name in names]
    if words <= 74:
        first, second = text_embeddings(clip, texts)
        assert not torch.equal(first, second)
        Prompts(clip, names, 74 - words)
    else:
        with pytest.raises(ValueError, match=r"the text 'cat cat .* should have at most 77 tokens"):
            text_embeddings(clip, texts)
    with pytest.raises(ValueError, match=r"the text 'cat cat .* should have at most \d+ tokens"):
        Prompts(clip, names, 75 - words if words < 75 else 0)


@pytest.mark.parametrize(
    ("hierarchy", "expected"),
    [
        (
            Hierarchy.from_paths(["person/other", "animal/other"]),
            ["person", "animal", "person other", "animal other"],
        ),
        (
            Hierarchy.from_paths(["a/x/other", "b/x/other"]),
            ["a", "b", "a x", "b x", "a x other", "b x other"],
        ),
        (Hierarchy.from_paths(["person/person"]), ["person", "person person"]),
        (Hierarchy.from_edges([], nodes=["TV/monitor", "N/A"]), ["TV/monitor", "N/A"]),
        (Hierarchy.from_edges([("office", "TV/monitor")]), ["office", "TV/monitor"]),
        (
            Hierarchy.from_edges([], nodes=["t-shirt", "t_shirt", "t shirt"]),
            ["t-shirt", "t_shirt", "t shirt"],
        ),
        (Hierarchy.from_edges([], nodes=["polar_bear", " big__cat"]), ["polar bear", "big cat"]),
        (Hierarchy.from_edges([("a", "a/c"), ("b", "a/c")]), ["a", "b", "c"]),
    ],
)
def test_classes_have_texts_of_their_own(clip, hierarchy, expected):
    assert class_names(hierarchy) == expected
    embeddings = text_embeddings(clip, fixed_texts(hierarchy, ["a photo of a {}."]))
    contexts = torch.randn(1, 2, clip.text_width, generator=torch.Generator().manual_seed(0))
    for of_class in (embeddings, Prompts(clip, expected, 2)(contexts)[0]):
        assert torch.cdist(of_class, of_class).fill_diagonal_(1).min() > 1e-4


@pytest.mark.parametrize(
    "names", [["Turkey", "turkey"], ["a &amp; b", "a & b"], ["big  cat ", "big_Cat", "big cat"]]
)
def test_classes_that_a_clip_cannot_tell_apart_are_refused(clip, names):
    hierarchy = Hierarchy.from_edges([], nodes=names)
    with pytest.raises(ValueError, match=rf"reads two texts alike: .*{names[0]}"):
        text_embeddings(clip, fixed_texts(hierarchy, ["a photo of a {}."]))
    with pytest.raises(ValueError, match=rf"reads two texts alike: .*{names[0]}"):
        Prompts(clip, class_names(hierarchy), 2)


@pytest.mark.parametrize("name", ["_", "- -", " ", "a/_"])
def test_a_name_of_which_nothing_is_left_is_refused(name):
    hierarchy = Hierarchy.from_edges([("a", name), ("a", "b")])
    with pytest.raises(ValueError, match=rf"a class should have a name .* Found '{name}'"):
        fixed_texts(hierarchy, ["a photo of a {}."])


def test_text_embeddings_do_not_depend_on_the_batch(clip):
    texts = [f"a photo of {i} cats" for i in range(5)]
    whole = text_embeddings(clip, texts)
    torch.testing.assert_close(text_embeddings(clip, texts, batch_size=2), whole)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(5))
