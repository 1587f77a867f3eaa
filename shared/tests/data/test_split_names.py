"""Names of splits, alike in folders, tables, data sets of `datasets`, and labels.json."""

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.formats.level_columns import split_rows
from hmc_shared.data.split_names import parts_of, split_of

Encode = Callable[..., bytes]
Load = Callable[[list[str]], HierarchicalDataset]
ROWS = 10


@pytest.mark.parametrize(
    ("split", "names"),
    [
        (
            "train",
            "train Train TRAIN training trn trainval train_images train2017 train-set TrainSet Train.0",
        ),
        ("validation", "val VAL valid validation dev eval val2017 Valid_Images val_1"),
        ("test", "test Testing tst test_data test-2"),
        ("unlabelled", "unlabeled Unlabelled unsupervised unlabeled2017"),
        (None, "extra test_tube train_station valley evaluate tester value devil t 2017 all images"),
    ],
)
def test_the_whole_name_says_which_split(split: str | None, names: str) -> None:
    assert {name: split_of(name) for name in names.split()} == dict.fromkeys(names.split(), split)


@pytest.fixture(params=["folder", "table", "hf", "labels"])
def load(request: pytest.FixtureRequest, tmp_path: Path, encode: Encode) -> Load:
    """A function that writes splits in a format, and loads them: samples 0 to 9, 10 to 19 and so on.

    Classes are a and b in turn.
    """

    def write(names: list[str]) -> HierarchicalDataset:
        samples = [
            (row, name) for place, name in enumerate(names) for row in range(place * 10, place * 10 + 10)
        ]
        root = tmp_path / "things"
        root.mkdir()
        labels: dict[str, dict[str, list[str]]] = {}
        for row, name in samples:
            label = "ab"[row % 2]
            below = f"{name}/{label}" if request.param == "folder" else name
            (root / below).mkdir(parents=True, exist_ok=True)
            (root / below / f"{row}.png").write_bytes(encode((row + 1, 3)))
            labels.setdefault(name, {})[f"{row}.png"] = [label]
        match request.param:
            case "table":
                lines = [f"{row},{row},{'ab'[row % 2]},{name}" for row, name in samples]
                (tmp_path / "t.csv").write_text("\n".join(["id,x,labels,split", *lines]) + "\n")
                return load_dataset(f"table:{tmp_path / 't.csv'}")
            case "hf":
                parts = {}
                for name in names:
                    rows = [row for row, of in samples if of == name]
                    columns = {"x": [float(row) for row in rows], "label": ["ab"[row % 2] for row in rows]}
                    parts[name] = datasets.Dataset.from_dict(columns)
                datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
                return load_dataset(f"hf:{tmp_path / 'saved'}", levels="label")
            case "labels":
                (root / "labels.json").write_text(json.dumps(labels))
        return load_dataset(f"{request.param}:{root}")

    return write


def samples_of(dataset: HierarchicalDataset) -> dict[str, set[int]]:
    """The numbers of the samples of each split: the height of a picture, or the one feature."""
    seen = {}
    for part, split in dataset.splits.items():
        if dataset.kind == "image":
            seen[part] = {split.inputs[row].shape[1] - 1 for row in range(len(split))}
        else:
            seen[part] = {int(value) for value in split.inputs[:, 0]}  # type: ignore[index]
    return seen


@pytest.mark.parametrize(
    "names", [["train", "valid", "test"], ["Training", "DEV", "testing"], ["train2017", "val_images", "tst"]]
)
def test_three_splits_are_kept(load: Load, names: list[str]) -> None:
    dataset = load(names)
    assert dataset.hierarchy.names == ("a", "b")
    assert samples_of(dataset) == {
        "train": {*range(10)},
        "validation": {*range(10, 20)},
        "test": {*range(20, 30)},
    }


@pytest.mark.parametrize("validation", ["val", "valid", "Eval"])
def test_the_validation_split_replaces_a_missing_test_split(load: Load, validation: str) -> None:
    dataset = load(["train", validation])
    seen = samples_of(dataset)
    assert seen["test"] == {*range(10, 20)}
    assert seen["train"] | seen["validation"] == {*range(10)}
    assert "test: the validation split, because there is no test split" in dataset.notes


def test_a_training_split_alone_is_divided(load: Load) -> None:
    dataset = load(["train"])
    assert dataset.hierarchy.names == ("a", "b")
    assert sorted(row for rows in samples_of(dataset).values() for row in rows) == [*range(10)]


def test_an_unlabelled_split_is_left_out_with_a_note(load: Load) -> None:
    dataset = load(["train", "unlabeled", "test"])
    seen = samples_of(dataset)
    assert (seen["train"] | seen["validation"], seen["test"]) == ({*range(10)}, {*range(20, 30)})
    assert "the split 'unlabeled' was left out" in dataset.notes


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train", "extra", "test"], r"[Ff]ound 'extra'"),
        (["train", "val", "validation"], r"should have one validation split\. Found 'val' and 'validation'"),
        (["val", "test"], r"should have a train split\. Found '(val|test)', "),
    ],
)
def test_what_cannot_be_told_is_refused_by_name(load: Load, names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(names)


def test_two_cases_of_letters_are_one_split() -> None:
    assert parts_of(["train", "Train", "TEST"], "x")[0] == {
        "train": "train",
        "Train": "train",
        "TEST": "test",
    }
    rows, _ = split_rows(["test", "Train", "train"], "x")
    assert rows == {"train": [1, 2], "test": [0]}


def test_the_row_of_an_unknown_split_is_named() -> None:
    with pytest.raises(ValueError, match=r"^t\.csv, row 3: the split should .* Found 'later'"):
        split_rows(["train", "test", "later"], "t.csv")
    with pytest.raises(ValueError, match=r"^line 2: the split"):
        split_rows(["", "test"], "t.csv", lambda row: f"line {row + 2}")
