"""Fixed and learned prompts of the texts of classes."""

import pytest
import torch
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hp_dval.class_texts import class_texts
from hp_dval.clip_files import load_clip
from hp_dval.prompts import Prompts, fixed_texts, text_embeddings

TREE = Hierarchy.from_paths(["animal/cat", "animal/polar_bear", "plant"])


@pytest.fixture(scope="module")
def clip(clip_json, clip_file):
    return load_clip(clip_json, clip_file)


def named(*names):
    """Classes whose texts are their names."""
    return {name: [name] for name in names}


def test_templates_hold_the_texts():
    texts = class_texts(TREE)
    assert fixed_texts(TREE, ["a photo of a {}."], texts)["animal/polar_bear"] == ["a photo of a polar bear."]
    of_levels = fixed_texts(TREE, ["something {}", "a {} in the wild"], texts)
    expected = [
        ["something animal"],
        ["something plant"],
        ["a cat in the wild"],
        ["a polar bear in the wild"],
    ]
    assert list(of_levels.values()) == expected


@pytest.mark.parametrize(
    ("templates", "message"), [(["{}"] * 3, "one for each of 2 levels. Found 3"), (["a photo"], "one {}")]
)
def test_templates_that_do_not_suit_are_refused(templates, message):
    with pytest.raises(ValueError, match=message):
        fixed_texts(TREE, templates, class_texts(TREE))


def test_prompts_of_the_embeddings_of_words_are_these_words(clip):
    """Same tokens in, same embeddings out as open_clip's encode_text on the whole text."""
    names = [text for (text,) in class_texts(TREE).values()]
    contexts, expected = [], []
    for words in ("a photo of a", "one very big old"):
        tokens = clip.tokenize([words])
        assert tokens.shape == (1, 6)
        contexts.append(clip.embed(tokens)[0, 1:5])
        whole = clip.tokenizer([f"{words} {name}." for name in names])
        expected.append(F.normalize(clip.model.encode_text(whole), dim=-1))
    ours = Prompts(clip, class_texts(TREE), 4)(torch.stack(contexts))
    assert (expected[0] - expected[1]).abs().max() > 0.01
    torch.testing.assert_close(ours, torch.stack(expected), atol=1e-5, rtol=0)


def test_prompts_cut_sequences_and_reach_the_learned_vectors(clip):
    prompts = Prompts(clip, class_texts(TREE), 4)
    longest = clip.tokenize(["polar bear."]).shape[1]
    assert prompts.texts.shape[1] == longest < 10
    contexts = torch.nn.Parameter(0.02 * torch.randn(2, 4, clip.text_width))
    prompts(contexts)[0].sum().backward()
    assert contexts.grad is not None
    assert contexts.grad[0].abs().min() > 0
    assert contexts.grad[1].abs().max() == 0  # the other view's


def test_every_class_can_have_vectors_of_its_own(clip):
    prompts = Prompts(clip, class_texts(TREE), 4)
    shared = torch.randn(2, 4, clip.text_width)
    of_classes = shared.unsqueeze(1).repeat(1, 4, 1, 1)
    torch.testing.assert_close(prompts(of_classes), prompts(shared))
    of_classes[1, 2, :, 0] += 3
    changed = (prompts(of_classes) - prompts(shared)).abs().amax(2) > 1e-4
    assert changed.nonzero().tolist() == [[1, 2]]


def test_prompts_without_room_are_refused(clip):
    with pytest.raises(ValueError, match=r"the class 'a/cat' has a text of more than 3 tokens.*'cat\.'"):
        Prompts(clip, {"a/cat": ["cat"]}, 74)
    Prompts(clip, named("cat"), 73)
    with pytest.raises(ValueError, match=r"the class 'cat' has a text of more than 0 tokens"):
        Prompts(clip, named("cat"), 99)


@pytest.mark.parametrize("words", range(68, 76))
def test_a_text_is_read_to_its_end_or_refused(clip, words):
    """With start, full stop and end, a text of 74 words fills the context of 77 tokens."""
    texts = {last: ["cat " * (words - 1) + last] for last in ("cat", "dog")}
    sentences = {name: [f"{text}."] for name, (text,) in texts.items()}
    if words <= 74:
        first, second = text_embeddings(clip, sentences)
        assert not torch.equal(first, second)
        Prompts(clip, texts, 74 - words)
    else:
        with pytest.raises(ValueError, match=r"the class 'cat' has a text of more than 77 tokens"):
            text_embeddings(clip, sentences)
    with pytest.raises(ValueError, match=r"the class 'cat' has a text of more than \d+ tokens"):
        Prompts(clip, texts, 75 - words if words < 75 else 0)


def test_several_texts_are_the_mean_of_their_unit_embeddings(clip):
    texts = {"cat": ["a cat", "a furry pet that purrs"], "dog": ["a dog"], "other": ["a cat", "else"]}
    cat, dog, _ = text_embeddings(clip, texts)
    of_texts = F.normalize(clip.encode_text(texts["cat"]), dim=1)
    torch.testing.assert_close(cat, F.normalize(of_texts.sum(0), dim=0))
    torch.testing.assert_close(dog, F.normalize(clip.encode_text(["a dog"]), dim=1)[0])
    contexts = torch.randn(1, 2, clip.text_width)
    first = {name: of_class[:1] for name, of_class in texts.items() if name != "other"}
    whole = {name: of_class for name, of_class in texts.items() if name != "other"}
    assert torch.equal(Prompts(clip, whole, 2)(contexts), Prompts(clip, first, 2)(contexts))


@pytest.mark.parametrize(
    "names", [["Turkey", "turkey"], ["a &amp; b", "a & b"], ["big  cat ", "big_Cat", "big cat"]]
)
def test_classes_that_a_clip_cannot_tell_apart_are_refused(clip, names):
    texts = class_texts(Hierarchy.from_edges([], nodes=names))
    message = rf"reads the texts of two classes alike, '{names[0]}' and '{names[-1]}'"
    with pytest.raises(ValueError, match=message):
        text_embeddings(clip, texts)
    with pytest.raises(ValueError, match=message):
        Prompts(clip, texts, 2)


def test_text_embeddings_do_not_depend_on_the_batch(clip):
    texts = {str(i): [f"a photo of {i} cats", "cats"] for i in range(5)}
    whole = text_embeddings(clip, texts)
    torch.testing.assert_close(text_embeddings(clip, texts, batch_size=2), whole)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(5))
