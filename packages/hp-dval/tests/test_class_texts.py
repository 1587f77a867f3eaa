"""The texts of classes: names in words, and files."""

import json

import pytest
import torch

from hmc_shared import Hierarchy
from hp_dval.build import build_model, build_prompter
from hp_dval.class_texts import class_names, class_texts
from hp_dval.clip_files import load_clip
from hp_dval.config import Config
from hp_dval.prompts import Prompts, text_embeddings

TREE = Hierarchy.from_paths(["animal/cat", "animal/dog"])
TEXTS = {"animal": ["an animal"], "animal/cat": ["a cat", "a pet, which purrs"], "animal/dog": ["a dog"]}


@pytest.mark.parametrize(
    ("hierarchy", "expected"),
    [
        (Hierarchy.from_paths(["animal/cat", "animal/polar_bear"]), ["animal", "cat", "polar bear"]),
        (
            Hierarchy.from_paths(["person/other", "animal/other"]),
            ["person", "animal", "person other", "animal other"],
        ),
        (
            Hierarchy.from_paths(["a/x/other", "b/x/other"]),
            ["a", "b", "a x", "b x", "a x other", "b x other"],
        ),
        (  # all of the path, not only what tells them apart
            Hierarchy.from_paths(["home/cat/other", "home/dog/other"]),
            ["home", "cat", "dog", "home cat other", "home dog other"],
        ),
        (Hierarchy.from_paths(["person/person"]), ["person", "person person"]),
        (Hierarchy.from_edges([], nodes=["TV/monitor", "N/A"]), ["TV/monitor", "N/A"]),
        (Hierarchy.from_edges([("office", "TV/monitor")]), ["office", "TV/monitor"]),
        (Hierarchy.from_edges([], nodes=["t-shirt", "t_shirt"]), ["t-shirt", "t shirt"]),
        (Hierarchy.from_edges([], nodes=["t_shirt", "t shirt"]), ["t_shirt", "t shirt"]),
        (Hierarchy.from_edges([], nodes=["polar_bear", " big__cat"]), ["polar bear", "big cat"]),
        (Hierarchy.from_edges([("a", "a/c"), ("b", "a/c")]), ["a", "b", "c"]),
    ],
)
def test_names_are_words_and_differ(hierarchy, expected):
    assert class_names(hierarchy) == expected
    assert class_texts(hierarchy) == {
        name: (text,) for name, text in zip(hierarchy.names, expected, strict=True)
    }


@pytest.mark.parametrize("name", ["_", "_ _", " ", "a/_"])
def test_a_name_of_which_nothing_is_left_is_refused(name):
    hierarchy = Hierarchy.from_edges([("a", name), ("a", "b")])
    with pytest.raises(ValueError, match=rf"a class should have a text .* Found '{name}'"):
        class_texts(hierarchy)


CSV = 'class,text\nanimal/cat,a cat\nanimal,an animal\nanimal/cat,"a pet,\nwhich purrs"\n\nanimal/dog,a dog\n'
YAML = "animal: an animal\nanimal/dog: a  dog\nanimal/cat:\n- a cat\n- a pet, which purrs\n"


@pytest.mark.parametrize(
    ("name", "content"), [("t.json", json.dumps(TEXTS)), ("t.yaml", YAML), ("t.csv", CSV)]
)
def test_a_file_gives_texts_in_the_order_of_the_classes(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    texts = class_texts(TREE, tmp_path / name)
    assert list(texts.items()) == [(name, tuple(of_class)) for name, of_class in TEXTS.items()]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.json", TEXTS | {"cow": "a cow"}, r"no other classes than the data set\. Found cow"),
        ("t.json", {"animal": "an animal"}, r"all classes\. It lacks animal/cat, animal/dog"),
        ("t.json", TEXTS | {"animal": []}, r"a text, or a list of texts, for 'animal'"),
        ("t.json", TEXTS | {"animal": 3}, r"a text, or a list of texts, for 'animal'\. Found 3"),
        ("t.json", TEXTS | {"animal": ["an animal", " "]}, r"t\.json: .* blanks and _\. Found 'animal'"),
        ("t.csv", "animal,an animal,more\n", r"t\.csv:1 should have two cells, .* Found 3"),
        ("t.txt", "animal", r"should be a \.yaml, \.json or \.csv file"),
        ("t.yaml", "- animal", "mapping"),
    ],
)
def test_a_file_that_does_not_suit_is_refused_by_the_name_of_the_class(tmp_path, name, content, message):
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=message):
        class_texts(TREE, tmp_path / name)


def test_fixed_and_learned_prompts_take_the_texts_of_the_file(tmp_path, scenes, clip_json, clip_file):
    texts = {name: [f"digit {name}", f"{name} or so"] for name in scenes.hierarchy.names}
    (tmp_path / "t.json").write_text(json.dumps(texts))
    config = Config(method="coop", class_texts=str(tmp_path / "t.json"), templates=["a {}"])
    clip = load_clip(clip_json, clip_file)
    model = build_model(config, scenes, clip)
    expected = {name: [f"a {text}" for text in of_class] for name, of_class in texts.items()}
    assert torch.equal(model.fixed_text, text_embeddings(clip, expected))
    first = Prompts(clip, {name: of_class[:1] for name, of_class in texts.items()}, 4)
    assert torch.equal(build_prompter(config, model, clip)(model.contexts), first(model.contexts))
