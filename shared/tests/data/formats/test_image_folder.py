"""Nested folders of images as a data set."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from hmc_shared.data import HierarchicalDataset, load_dataset

Encode = Callable[..., bytes]
Plant = Callable[..., Path]
TREE = {"animal/cat": 10, "animal/dog": 10, "animal": 5, "plant": 20, "plant/tree/oak": 5}


@pytest.fixture
def plant(tmp_path: Path, encode: Encode) -> Plant:
    """A function that writes so many images of each class; the number of a picture is its height."""
    numbers = iter(range(1, 1000))

    def write(classes: dict[str, int], below: str = "") -> Path:
        for name, count in classes.items():
            (tmp_path / "things" / below / name).mkdir(parents=True, exist_ok=True)
            for _ in range(count):
                number = next(numbers)
                path = tmp_path / "things" / below / name / f"{number}.PNG"
                path.write_bytes(encode((number, 3)))
        return tmp_path / "things"

    return write


def load(folder: Path) -> HierarchicalDataset:
    return load_dataset(f"folder:{folder}")


def classes_of(dataset: HierarchicalDataset, names: Iterable[str] = ("train", "validation", "test")) -> dict:
    """Image number to its most specific class, by the targets."""
    class_of = {}
    for name in names:
        split = dataset.splits[name]
        assert dataset.hierarchy.has_ancestors(split.targets)
        for row, target in enumerate(dataset.hierarchy.most_specific(split.targets)):
            (node,) = target.nonzero().flatten().tolist()
            class_of[split.inputs[row].shape[1]] = dataset.hierarchy.names[node]
            assert split.ids[row].endswith(
                f"{dataset.hierarchy.names[node]}/{split.inputs[row].shape[1]}.PNG"
            )
    return class_of


def test_the_nesting_is_the_tree(plant: Plant) -> None:
    dataset = load(plant(TREE))
    assert (dataset.name, dataset.kind) == ("things", "image")
    assert set(dataset.hierarchy.names) == {*TREE, "plant/tree"}
    assert dataset.hierarchy.num_levels == 3
    expected = [name for name, count in TREE.items() for _ in range(count)]
    assert classes_of(dataset) == dict(enumerate(expected, start=1))


def test_splits_are_sampled_from_each_class(plant: Plant) -> None:
    folder = plant(TREE)
    dataset = load(folder)
    sizes = {"train": 0.6, "validation": 0.2, "test": 0.2}
    for name, share in sizes.items():
        classes = list(classes_of(dataset, [name]).values())
        assert {c: classes.count(c) for c in TREE} == {c: round(share * count) for c, count in TREE.items()}
    ids = [name for split in dataset.splits.values() for name in split.ids]
    assert len(set(ids)) == len(ids) == 50
    assert dataset.notes == (
        "splits: 60 % training, 20 % validation and 20 % test, stratified by class, seed 0",
    )
    assert load(folder).test.ids == dataset.test.ids


@pytest.mark.parametrize("validation", ["validation", "val", None])
def test_given_splits_are_kept(plant: Plant, validation: str | None) -> None:
    plant({"a": 10, "b/c": 10}, "train")
    folder = plant({"a": 2, "b": 1}, "test")
    if validation:
        plant({"d": 3, "b/c": 1}, validation)
        (folder / "train" / "d").mkdir()  # a class may be missing in a split, or have an empty folder there
    (folder / "README.md").write_text("about")
    dataset = load(folder)
    assert set(dataset.hierarchy.names) == {"a", "b", "b/c", *(["d"] if validation else [])}
    assert sorted(classes_of(dataset, ["test"]).values()) == ["a", "a", "b"]
    assert all(name.startswith("test/") for name in dataset.test.ids)
    if validation:
        assert (len(dataset.train), dataset.notes) == (20, ("classes without training samples: d",))
        assert sorted(classes_of(dataset, ["validation"]).values()) == ["b/c", "d", "d", "d"]
    else:
        assert sorted(classes_of(dataset, ["validation"]).values()) == ["a", "a", "b/c", "b/c"]
        assert dataset.notes == ("validation: 20% of the training images, stratified by class, seed 0",)
    assert len(classes_of(dataset)) == sum(map(len, dataset.splits.values()))


def test_the_words_train_and_test_may_be_classes(plant: Plant) -> None:
    dataset = load(plant({"train": 5, "car": 5}))
    assert dataset.hierarchy.names == ("car", "train")


def test_hidden_and_other_files_are_left_out(plant: Plant, encode: Encode) -> None:
    folder = plant({"a": 5, "b": 5})
    expected = load(folder)
    (folder / "__MACOSX" / "a").mkdir(parents=True)
    for name in (".DS_Store", "a/._1.png", "a/notes.txt", "Thumbs.db", "__MACOSX/a/1.png"):
        (folder / name).write_text("no image")
    (folder / ".git").mkdir()
    (folder / ".git" / "1.png").write_bytes(encode((2, 2)))
    dataset = load(folder)
    assert dataset.hierarchy == expected.hierarchy
    assert dataset.train.ids == expected.train.ids
    assert dataset.checksum == expected.checksum
    assert dataset.notes[1:] == (
        "the folder __MACOSX was left out",
        "2 files without the suffix of an image were left out",
    )


def test_the_checksum_is_of_names_and_contents(plant: Plant, encode: Encode) -> None:
    folder = plant({"a": 5, "b": 5})
    first = load(folder).checksum
    image = folder / "a" / "1.PNG"
    content = image.read_bytes()
    image.write_bytes(encode(np.zeros((1, 3, 3), np.uint8)))
    assert load(folder).checksum != first
    image.write_bytes(content)
    assert load(folder).checksum == first
    image.rename(folder / "a" / "0.PNG")
    assert load(folder).checksum != first


def test_a_short_path_and_a_link_will_do(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = plant({"a": 5, "b": 5})
    (tmp_path / "elsewhere").mkdir()
    (folder / "b").rename(tmp_path / "elsewhere" / "b")
    (folder / "b").symlink_to(tmp_path / "elsewhere" / "b")
    monkeypatch.chdir(folder)
    assert load_dataset("folder:.").name == "things"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_dataset("folder:~/things").train) == 6


def test_what_is_no_tree_of_images_is_refused(plant: Plant, tmp_path: Path, encode: Encode) -> None:
    with pytest.raises(ValueError, match=r"folder:PATH should name a folder. Found none at .*nowhere"):
        load(tmp_path / "nowhere")
    folder = tmp_path / "things"
    folder.mkdir()
    for make in (lambda: None, (folder / "a").mkdir, lambda: (folder / "a" / "text.txt").write_text("")):
        make()
        with pytest.raises(ValueError, match=r"things should hold a folder of images for each class"):
            load(folder)
    plant({"a": 5})
    with pytest.raises(ValueError, match=r"things should hold two classes or more. Found 'a' only"):
        load(folder)
    plant({"b": 5})
    (folder / "x.png").write_bytes(encode((2, 2)))
    with pytest.raises(ValueError, match=r"x\.png should lie in the folder of a class"):
        load(folder)


def test_an_empty_folder_is_a_class(plant: Plant) -> None:
    dataset = load(plant({"a": 5, "b": 5, "c/d": 0}))
    assert dataset.hierarchy.names == ("a", "b", "c", "c/d")
    assert dataset.notes[1:] == ("classes without training samples: c, c/d",)


@pytest.mark.parametrize("names", [["train", "test_tube", "eval"], ["train_station", "test", "val"]])
def test_names_of_splits_may_be_classes_beside_others(plant: Plant, names: list[str]) -> None:
    assert set(load(plant(dict.fromkeys([*names, "car"], 5))).hierarchy.names) == {*names, "car"}


def test_a_class_beside_splits_is_refused(plant: Plant) -> None:
    with pytest.raises(ValueError, match=r"things: the splits should be called .* Found 'car'"):
        load(plant({"train/a": 5, "train/b": 5, "val/a": 5, "car": 5}))


def test_too_few_images_for_three_splits(plant: Plant) -> None:
    with pytest.raises(ValueError, match=r"things: the \w+ split should have images. Found none in 2 images"):
        load(plant({"a": 1, "b": 1}))


@pytest.mark.parametrize(
    ("link", "target", "first"),
    [
        ("animal/cat/again", "animal", "animal"),  # for ever
        ("animal/cat/up", ".", "things"),
        ("animal/cat/out", "..", r"test_\S+"),
        ("pet", "animal/dog", "animal/dog"),  # twice
        ("aardvark", "animal/dog", "aardvark"),
    ],
)
def test_a_folder_is_read_once(plant: Plant, link: str, target: str, first: str) -> None:
    folder = plant({"animal/cat": 5, "animal/dog": 5})
    (folder / link).symlink_to(folder / target)
    with pytest.raises(ValueError, match=rf"/things/\S+ is \S*{first} once more, by a link: remove the link"):
        load(folder)


def test_names_in_two_cases_of_letters_are_said(plant: Plant) -> None:
    dataset = load(plant({"Cat": 5, "cat": 5, "dog": 5}))
    assert len(dataset.hierarchy) == 3
    assert dataset.notes[1:] == ("classes that differ only in the case of letters: Cat, cat",)


def test_names_that_are_no_text_are_refused(plant: Plant) -> None:
    folder = plant({"a": 5, "b": 5})
    os.mkdir(os.fsencode(folder) + b"/caf\xe9")
    with pytest.raises(ValueError, match=r"things: a name should be UTF-8 text. Found 'caf\\udce9'"):
        load(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_named(plant: Plant) -> None:
    folder = plant({"a": 5, "b": 5})
    (folder / "b").chmod(0)
    with pytest.raises(ValueError, match=r"things/b cannot be read: Permission denied"):
        load(folder)
    (folder / "b").chmod(0o700)
