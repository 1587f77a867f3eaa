"""`hf:PATH` with levels: data sets of the `datasets` library with columns of labels."""

import io

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from hmc_shared import Hierarchy
from hmc_shared.data import load_dataset
from hmc_shared.data.formats.hf_export import export
from hmc_shared.data.storage.cache import save_quietly

KINDS = datasets.ClassLabel(names=["animal", "plant"])
SPECIES = datasets.ClassLabel(names=["oak", "cat", "dog"])
TREE = Hierarchy.from_levels([["animal", "cat"], ["plant", "oak"], ["animal", "dog"]])
OF = [(0, 1), (1, 0), (0, 2)]


def picture(i):
    pixels = np.full((6 + i % 2, 6, 3), i, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def build(n=30, **columns):
    labels = {"kind": [OF[i % 3][0] for i in range(n)], "species": [OF[i % 3][1] for i in range(n)]}
    rows = datasets.Dataset.from_dict({**labels, **columns})
    rows = rows.cast_column("kind", KINDS).cast_column("species", SPECIES)
    return rows.cast_column("picture", datasets.Image()) if "picture" in columns else rows


def classes(dataset, split, row):
    return {dataset.hierarchy.names[i] for i in dataset.splits[split].targets[row].nonzero().flatten()}


def test_images_with_class_labels(tmp_path):
    rows = build(picture=[picture(i) for i in range(30)])
    save_quietly(
        datasets.DatasetDict(train=rows.select(range(20)), test=rows.select(range(20, 30))), tmp_path
    )
    dataset = load_dataset(f"hf:{tmp_path}", levels="kind,species", view="image")
    assert dataset.hierarchy == TREE
    assert [len(split) for split in dataset.splits.values()] == [16, 4, 10]
    assert dataset.test.ids == tuple(f"test-{i}" for i in range(10))
    for row in range(10):
        assert dataset.test.inputs[row].unique().tolist() == [20 + row]
        kind, species = OF[(20 + row) % 3]
        assert classes(dataset, "test", row) == {KINDS.names[kind], SPECIES.names[species]}
    assert dataset.is_single_path
    again = load_dataset(f"hf:{tmp_path}", levels=["kind", "species"])
    assert again.checksum == dataset.checksum
    other = load_dataset(f"hf:{tmp_path}", levels="kind")
    assert other.checksum != dataset.checksum
    assert other.hierarchy.names == ("animal", "plant")


def test_features_in_columns_or_in_lists(tmp_path):
    x, y = [float(i) for i in range(30)], [i * i for i in range(30)]
    rows = build(x=x, y=y, note=["a"] * 30, idx=list(range(30)))
    save_quietly(rows, tmp_path / "columns")
    dataset = load_dataset(f"hf:{tmp_path / 'columns'}", levels="kind,species")
    assert dataset.feature_names == ("x", "y")
    assert [len(split) for split in dataset.splits.values()] == [18, 6, 6]
    rows = build(features=[[a, b] for a, b in zip(x, y, strict=True)], z=x)
    save_quietly(rows, tmp_path / "lists")
    lists = load_dataset(f"hf:{tmp_path / 'lists'}", levels="kind,species")
    assert lists.feature_names == ("features[0]", "features[1]", "z")
    assert torch.equal(lists.test.inputs[:, :2], dataset.test.inputs)
    assert torch.equal(lists.test.inputs[:, 2], dataset.test.inputs[:, 0])
    assert torch.equal(lists.test.targets, dataset.test.targets)


def test_texts_missing_labels_and_files_of_parquet(tmp_path):
    columns = {"kind": ["animal", "animal", "plant"] * 10, "species": ["cat", None, ""] * 10}
    rows = datasets.Dataset.from_dict({**columns, "x": [None, *map(float, range(29))]})
    (tmp_path / "data").mkdir()
    for part, numbers in (("train", range(15)), ("validation", range(15, 24)), ("test", range(24, 30))):
        rows.select(numbers).to_pandas().to_parquet(tmp_path / "data" / f"{part}-00000-of-00001.parquet")
    dataset = load_dataset(f"hf:{tmp_path}", levels="kind,species")
    assert set(dataset.hierarchy.names) == {"animal", "plant", "cat"}
    assert [len(split) for split in dataset.splits.values()] == [15, 9, 6]
    assert classes(dataset, "train", 0) == {"animal", "cat"}
    assert classes(dataset, "train", 1) == {"animal"}
    assert dataset.train.inputs[0].isnan()
    assert not dataset.train.inputs[1:].isnan().any()


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_number_is_no_label(tmp_path, missing):
    columns = {"kind": [1, 2] * 10, "species": [10.5, missing] * 10, "x": [float(i) for i in range(20)]}
    rows = datasets.Dataset.from_dict(columns)
    save_quietly(rows, tmp_path / "saved")
    (tmp_path / "table").mkdir()
    rows.to_parquet(tmp_path / "table" / "t.parquet")
    for source in ("hf:saved", "table:table"):
        scheme, folder = source.split(":")
        dataset = load_dataset(f"{scheme}:{tmp_path / folder}", levels="kind,species")
        assert dataset.hierarchy.names == ("1", "2", "10.5")


def test_the_home_folder_may_be_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    digits = load_dataset("digits")
    export(digits, tmp_path / "exported")
    assert load_dataset("hf:~/exported").checksum == digits.checksum
    rows = datasets.Dataset.from_dict({"kind": ["a", "b"] * 5, "x": [float(i) for i in range(10)]})
    (tmp_path / "files").mkdir()
    rows.to_pandas().to_parquet(tmp_path / "files" / "train.parquet")
    assert load_dataset("hf:~/files", levels="kind").hierarchy.names == ("a", "b")


def test_class_labels_in_lists_are_no_features_either(tmp_path):
    rows = build(x=[float(i) for i in range(30)], all=[[0, 1]] * 30)
    save_quietly(rows.cast_column("all", datasets.List(KINDS)), tmp_path)
    dataset = load_dataset(f"hf:{tmp_path}", levels="kind,species")
    assert dataset.feature_names == ("x",)


@pytest.mark.parametrize("text", ['{"splits": ["' + "t" * 10**5 + '"]}', "[" * 10**5])
def test_a_damaged_folder_is_one_short_line(tmp_path, text):
    save_quietly(datasets.DatasetDict(train=build(n=6)), tmp_path)
    (tmp_path / "dataset_dict.json").write_text(text)
    with pytest.raises(ValueError, match="neither a folder of `datasets` nor on the hub") as error:
        load_dataset(f"hf:{tmp_path}", levels="kind")
    assert len(str(error.value)) < 1000
    assert "\n" not in str(error.value)


def test_what_is_wrong_is_named(tmp_path):
    save_quietly(build(n=6, note=["a"] * 6), tmp_path / "none")
    with pytest.raises(ValueError, match=r"none should have a column 'family'\. Found kind, species, note"):
        load_dataset(f"hf:{tmp_path / 'none'}", levels="family,species")
    with pytest.raises(ValueError, match=r"should have columns of features.*'note' \(text, 1 words"):
        load_dataset(f"hf:{tmp_path / 'none'}", levels="kind,species")
    with pytest.raises(ValueError, match=r"it has no dataset\.json.*`--levels`"):
        load_dataset(f"hf:{tmp_path / 'none'}")
    with pytest.raises(ValueError, match=r"gone is neither a folder of `datasets` nor on the hub"):
        load_dataset(f"hf:{tmp_path / 'gone'}", levels="kind")
    save_quietly(build(n=6, lists=[[1.0], [1.0, 2.0]] * 3), tmp_path / "ragged")
    with pytest.raises(ValueError, match=r"row 2: lists in 'lists' should be of one length\. Found 1 and 2"):
        load_dataset(f"hf:{tmp_path / 'ragged'}", levels="kind")
    with pytest.raises(ValueError, match="lists in 'lists' should hold names or ids of classes"):
        load_dataset(f"hf:{tmp_path / 'ragged'}", levels="lists")
    export(load_dataset("digits"), tmp_path / "exported")
    with pytest.raises(ValueError, match="`--levels` should not be given"):
        load_dataset(f"hf:{tmp_path / 'exported'}", levels="kind")


def test_a_split_without_images_is_refused(tmp_path):
    save_quietly(build(n=2, picture=[picture(0), picture(1)]), tmp_path / "few")
    with pytest.raises(ValueError, match=r"few: the \w+ split should have images\. Found none in 2 images"):
        load_dataset(f"hf:{tmp_path / 'few'}", levels="kind,species")


def test_images_of_other_folders_are_not_read(tmp_path):
    """A data set may come from anybody: cells that are paths read nothing outside its folder."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(1)["bytes"])
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    for i in range(30):
        (folder / "images" / f"{i}").write_bytes(picture(i)["bytes"])
    kinds = datasets.Features({"kind": datasets.Value("string"), "picture": datasets.Image()})
    for last, said in (
        (str(secret), r"row 30: an image should lie inside the folder\. Found '.*secret\.png'"),
        ("../secret.png", r"row 30: an image should lie inside the folder\. Found '\.\./secret\.png'"),
        ("images/../../secret.png", "row 30: an image should lie inside"),
        (f"{folder}-b/../secret.png", "row 30: an image should lie inside"),
        ("images/none", r"row 30: .*set/images/none cannot be read"),
        ("images/29", None),
        (str(folder / "images" / "29"), None),
    ):
        paths = [*(f"images/{i}" for i in range(29)), last]
        table = pa.table({"kind": ["a", "b"] * 15, "picture": [{"bytes": None, "path": p} for p in paths]})
        parquet.write_table(table.cast(kinds.arrow_schema), folder / "t.parquet")
        if said:
            with pytest.raises(ValueError, match=said):
                load_dataset(f"hf:{folder}", levels="kind")
        else:
            dataset = load_dataset(f"hf:{folder}", levels="kind")
            seen = {
                int(image.unique())
                for split in dataset.splits.values()
                for image in map(split.inputs.__getitem__, range(len(split)))
            }
            assert seen == set(range(30))


def test_a_row_without_an_image_is_told(tmp_path):
    save_quietly(build(picture=[*map(picture, range(29)), None]), tmp_path)
    with pytest.raises(ValueError, match="'all-29' is not an image"):
        load_dataset(f"hf:{tmp_path}", levels="kind")


def test_a_folder_of_images_that_datasets_reads(tmp_path, monkeypatch):
    for i in range(30):
        path = tmp_path / "set" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(i)["bytes"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "set")
    for name in ("set", "link", "../" + tmp_path.name + "/set"):
        dataset = load_dataset(f"hf:{name}", levels="label")
        assert dataset.hierarchy.names == ("a", "b")
        assert sum(map(len, dataset.splits.values())) == 30
