"""Columns become features by one rule, in CSV, parquet and `datasets`, for training and for `predict`."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet

from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.formats.cells import MISSING, as_numbers
from hmc_shared.data.formats.features import read_table
from hmc_shared.data.storage.cache import save_quietly

N = 30
COLUMNS = {
    "x": [float(i) for i in range(N)],
    "old": [i % 3 == 0 for i in range(N)],
    "colour": [("red", "blue", "green")[i % 3] for i in range(N)],
    "when": [str(datetime.date(2020, 1, 1 + i)) for i in range(N)],
    "labels": [("cat", "dog")[i % 2] for i in range(N)],
}


def write(folder: Path, form: str, columns: dict[str, list[object]]) -> str:
    """The data set of columns, in one of three forms, and its name."""
    folder.mkdir(exist_ok=True)
    if form == "hf":
        save_quietly(datasets.Dataset.from_dict(columns), folder)
        return f"hf:{folder}"
    (csv.write_csv if form == "csv" else parquet.write_table)(pa.table(columns), folder / f"t.{form}")
    return f"table:{folder / f't.{form}'}"


def load(name: str, **choice: object) -> HierarchicalDataset:
    levels = "labels" if name.startswith("hf") else None
    return load_dataset(name, levels=levels, **choice)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["csv", "parquet", "hf"])
class TestOneRule:
    def test_numbers_and_truths_are_taken_and_the_rest_is_named(self, tmp_path: Path, form: str) -> None:
        dataset = load(write(tmp_path / "t", form, COLUMNS))
        assert dataset.feature_names == ("x", "old")
        assert "'colour' (text, 3 words: `--categorical` takes it), 'when' (text)" in dataset.notes[-1]
        for row in torch.cat([split.inputs for split in dataset.splits.values()]):  # type: ignore[misc]
            assert row[1] == (row[0] % 3 == 0)

    def test_words_become_features(self, tmp_path: Path, form: str) -> None:
        dataset = load(write(tmp_path / "t", form, COLUMNS), categorical=["colour"], drop=["when", "old"])
        assert dataset.feature_names == ("x", "colour=blue", "colour=green", "colour=red")
        assert "left out" not in " ".join(dataset.notes)
        for row in torch.cat([split.inputs for split in dataset.splits.values()]).tolist():  # type: ignore[misc]
            assert row[1:] == [row[0] % 3 == 1, row[0] % 3 == 2, row[0] % 3 == 0]

    def test_chosen_columns_alone(self, tmp_path: Path, form: str) -> None:
        name = write(tmp_path / "t", form, COLUMNS)
        assert load(name, features=["old"]).feature_names == ("old",)
        chosen = load(name, features=["old"], categorical=["colour"])
        assert chosen.feature_names == ("old", "colour=blue", "colour=green", "colour=red")
        for choice, message in (
            ({"features": ["colour"]}, r"row 1|line 2.*'red' is not a number"),
            ({"drop": ["size"]}, r"`--drop` should name columns of .*, x, old.*\. Found 'size'"),
            ({"categorical": ["labels"]}, "`--categorical` should name features. Found 'labels'"),
            (
                {"features": ["x"], "drop": ["x"]},
                "`--drop` should not name a column that is chosen. Found 'x'",
            ),
            ({"drop": ["x", "old"]}, "should have columns of features.*Left out: 'colour'"),
        ):
            with pytest.raises(ValueError, match=message):
                load(name, **choice)

    @pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__", "index"])
    def test_row_numbers_are_left_out(self, tmp_path: Path, form: str, name: str) -> None:
        numbers = [i + 5 for i in range(N)][::-1]  # also of a part of a table, in another order
        dataset = load(write(tmp_path / "t", form, {name: numbers, **COLUMNS}))
        assert dataset.feature_names == ("x", "old")
        assert f"{name!r} (row numbers)" in dataset.notes[-1]
        refractive = [1.3 + i % 4 for i in range(N)]  # such a name may be that of a feature
        assert load(write(tmp_path / "u", form, {name: refractive, **COLUMNS})).feature_names[0] == name

    @pytest.mark.parametrize("value", [float("inf"), 1e39, -1e300])
    def test_what_float32_does_not_hold_is_refused_by_row(
        self, tmp_path: Path, form: str, value: float
    ) -> None:
        numbers = [*COLUMNS["x"][:4], value, *COLUMNS["x"][5:]]
        place = "line 6" if form == "csv" else "row 5"
        with pytest.raises(ValueError, match=rf"{place}: features should be finite.*\(column 'x'\)"):
            load(write(tmp_path / "t", form, {**COLUMNS, "x": numbers}))

    def test_one_word_among_numbers_is_refused_by_row(self, tmp_path: Path, form: str) -> None:
        texts = [*map(str, COLUMNS["x"][:4]), "much", *map(str, COLUMNS["x"][5:])]
        place = "line 6" if form == "csv" else "row 5"
        with pytest.raises(ValueError, match=rf"{place}: 'much' is not a number.*`--drop`"):
            load(write(tmp_path / "t", form, {**COLUMNS, "x": texts}))
        texts[4] = "1,5"
        with pytest.raises(ValueError, match=rf"{place}: '1,5' is not .* after a point"):
            load(write(tmp_path / "t", form, {**COLUMNS, "x": texts}))


@pytest.mark.parametrize("form", ["parquet", "hf"])
def test_vectors_in_cells_are_features(tmp_path: Path, form: str) -> None:
    vectors = [[float(i), None, i % 2] for i in range(N)]
    name = write(tmp_path / "t", form, {"v": vectors, **COLUMNS})
    dataset = load(name)
    assert dataset.feature_names == ("v[0]", "v[1]", "v[2]", "x", "old")
    for row in torch.cat([split.inputs for split in dataset.splits.values()]):  # type: ignore[misc]
        assert row[1].isnan()
        assert row[0] == row[3]
        assert row[2] == row[3] % 2
    vectors[3] = [1.0]
    with pytest.raises(ValueError, match=r"row 4: lists in 'v' should be of one length\. Found 3 and 1"):
        load(write(tmp_path / "ragged", form, {"v": vectors, **COLUMNS}))


def test_words_are_those_of_training_rows(tmp_path: Path) -> None:
    splits = ["train", "val", "test"] * 10
    words = [{"train": "old", "val": "new", "test": ""}[split] for split in splits]
    name = write(tmp_path / "t", "csv", {**COLUMNS, "age": words, "split": splits})
    dataset = load_dataset(name, categorical=["age"])
    assert dataset.feature_names == ("x", "old", "age=old")
    assert (dataset.train.inputs[:, 2] == 1).all()
    assert (dataset.validation.inputs[:, 2] == 0).all()  # a word that training does not know
    assert dataset.test.inputs[:, 2].isnan().all()  # no word


def test_the_columns_of_a_model_are_read_from_raw_ones(tmp_path: Path) -> None:
    columns = {**COLUMNS, "v": [[float(i), 0.0] for i in range(N)]}
    name = write(tmp_path / "t", "parquet", columns)
    dataset = load_dataset(name, categorical=["colour"])
    more = {"colour": ["green", "violet", None, "red"], "old": [True, False, None, True]}
    more |= {"v": [[1.0, 2.0], None, [3.0, 4.0], [5.0, None]], "note": list("abcd"), "x": [1, 2, 3, 4]}
    write(tmp_path / "new", "parquet", more)
    _, features = read_table(tmp_path / "new" / "t.parquet", dataset.feature_names)
    nan = np.nan
    by_name = dict(zip(dataset.feature_names, features.T.tolist(), strict=True))
    np.testing.assert_equal(
        by_name,
        {
            "x": [1, 2, 3, 4],
            "old": [1, 0, nan, 1],
            "colour=blue": [0, 0, nan, 0],
            "colour=green": [1, 0, nan, 0],
            "colour=red": [0, 0, nan, 1],
            "v[0]": [1, nan, 3, 5],
            "v[1]": [2, nan, 4, nan],
        },
    )
    write(tmp_path / "less", "parquet", {"x": [1.0], "old": [True], "v": [[1.0, 2.0]]})
    with pytest.raises(ValueError, match=r"should have a column 'colour'\. Found x, old, v"):
        read_table(tmp_path / "less" / "t.parquet", dataset.feature_names)
    write(tmp_path / "short", "parquet", {**{k: v[:1] for k, v in more.items()}, "v": [[1.0]]})
    with pytest.raises(ValueError, match=r"lists in 'v' should hold v\[1\]"):
        read_table(tmp_path / "short" / "t.parquet", dataset.feature_names)


NUMBERS = st.one_of(
    *(st.sampled_from([*MISSING, "NA", "NaN", "True", "FALSE", " 1.5 ", "+2", ".5", "1.", "1e5"]),),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers().map(str),
)


@settings(max_examples=200)
@given(st.lists(NUMBERS))
def test_texts_are_read_as_python_reads_them(cells: list[str]) -> None:
    expected = []
    for cell in cells:
        word = cell.strip().lower()
        expected.append(
            np.nan if word in MISSING else {"true": 1.0, "false": 0.0}.get(word) or float(word == "x")
        )
        if word not in MISSING and word not in ("true", "false"):
            expected[-1] = float(cell)
    numbers = as_numbers(pa.chunked_array([pa.array(cells, pa.string())]))
    assert numbers.wrong is None
    np.testing.assert_array_equal(numbers.values, expected)


def test_a_long_run_of_digits_is_read_at_once() -> None:
    start = time.process_time()
    numbers = as_numbers(pa.chunked_array([["9" * 200_000 + ":", "1"]]))  # in quadratic time: a minute
    assert time.process_time() - start < 2
    assert (numbers.wrong, numbers.values[1]) == (0, 1)


def test_options_are_for_tables(tmp_path: Path) -> None:
    for name in ("digits", "folder:x", "hf:x"):
        with pytest.raises(ValueError, match="`--drop` is for table:PATH, and hf:PATH with --levels, only"):
            load_dataset(name, drop=["x"])
    many = {"labels": ["a"] * 2000, "word": [f"w{i}" for i in range(2000)]}
    name = write(tmp_path / "t", "csv", many)
    with pytest.raises(ValueError, match=r"1 to 1000 different words\. Found 2000 in 'word'"):
        load_dataset(name, categorical=["word"])
