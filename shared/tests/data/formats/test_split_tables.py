"""Tables called train, val and test in one folder: as one table with their names in the column `split`."""

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from hmc_shared.data import load_dataset

HEADER = "id,a,b,labels"
ROWS = {
    "train": ["t1,1,2,cat", "t2,3,4,dog|cat", "t3,5,6,dog", "t4,0,1,cat"],
    "val": ["v1,7,8,cat", "v2,7,9,dog"],
    "test": ["e1,9,1,dog", "e2,2,2,cat"],
}


def write(folder, name, lines, header=HEADER):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join([header, *lines, ""]))
    return folder / name


@pytest.fixture
def pets(tmp_path):
    for name, lines in ROWS.items():
        write(tmp_path / "pets", f"{name}.csv", lines)
    return tmp_path / "pets"


def test_they_are_what_one_table_with_a_column_of_splits_is(pets, tmp_path):
    lines = [f"{line},{name}" for name, of_split in ROWS.items() for line in of_split]
    one = load_dataset(f"table:{write(tmp_path / 'one', 'one.csv', lines, f'{HEADER},split')}")
    dataset = load_dataset(f"table:{pets}")
    assert dataset.name == "pets"
    assert set(dataset.sources) == {"train.csv", "val.csv", "test.csv"}
    assert dataset.hierarchy == one.hierarchy
    for name, split in one.splits.items():
        assert dataset.splits[name].ids == split.ids
        assert torch.equal(dataset.splits[name].targets, split.targets)
        assert torch.equal(dataset.splits[name].inputs, split.inputs)
    alone = load_dataset(f"table:{pets / 'train.csv'}")  # a file that is named is read alone
    assert sum(map(len, alone.splits.values())) == 4


def test_files_of_two_kinds_go_together(pets):
    columns = {"id": ["v1", "v2"], "a": [7.5, None], "b": [8, 9], "labels": ["cat", "dog"]}
    parquet.write_table(pa.table(columns), pets / "val.parquet")
    (pets / "val.csv").unlink()
    dataset = load_dataset(f"table:{pets}")
    assert dataset.validation.ids == ("v1", "v2")
    assert dataset.validation.inputs[0].tolist() == [7.5, 8]
    assert dataset.validation.inputs[1].isnan().tolist() == [True, False]
    assert dataset.train.inputs[0].tolist() == [1, 2]


def test_hidden_files_are_none_of_the_tables(pets):
    for name in ("._val.csv", "._train.csv", "._go.obo", "._genes.gaf"):  # of an archive made on a Mac
        (pets / name).write_bytes(b"\0\5\x16\7")
    assert set(load_dataset(f"table:{pets}").sources) == {"train.csv", "val.csv", "test.csv"}


def test_images_are_read_by_the_same_rule(tmp_path, encode):
    root = tmp_path / "xray"
    root.mkdir()
    for number, name in enumerate(("a", "b", "c", "d")):
        (root / f"{name}.png").write_bytes(encode((number + 1, 4), "png"))
    header = "path,Edema,Fracture"
    write(root, "Train.csv", ["a.png,1,0", "b.png,0,-1"], header)
    write(root, "valid.csv", ["c.png,0,1"], header)
    write(root, "test.csv", ["d.png,1,1"], header)
    dataset = load_dataset(f"labels:{root}", uncertain="unknown")
    assert dataset.name == "xray"
    assert {name: split.ids for name, split in dataset.splits.items()} == {
        "train": ("a.png", "b.png"),
        "validation": ("c.png",),
        "test": ("d.png",),
    }
    assert dataset.train.unknown.tolist() == [[False, False], [False, True]]
    write(root, "valid.csv", ["c.png,0,7"], header)
    with pytest.raises(ValueError, match=r"xray, line 2 of valid\.csv: the column 'Fracture' should hold 0"):
        load_dataset(f"labels:{root}", uncertain="unknown")
    write(root, "valid.csv", ["a.png,0,1"], header)
    with pytest.raises(ValueError, match=r"valid\.csv: the image 'a.png' stands in line 2 of Train\.csv"):
        load_dataset(f"labels:{root}", uncertain="unknown")


@pytest.mark.parametrize(
    ("name", "header", "message"),
    [
        (
            "more.csv",
            HEADER,
            "one for each split, called train, val and test. Found more.csv, ",
        ),
        ("val.csv", "id,a,labels", r"val\.csv should have the same columns as test\.csv. Found b in one"),
        ("val.csv", "id,a,b,Split,labels", r"its name says the split. Found a column 'Split', too"),
        ("val.csv", None, r"val\.csv should have rows, or not be there. Found its header alone"),
        ("validation.csv", HEADER, "should have one validation split. Found 'val' and 'validation'"),
    ],
)
def test_what_does_not_fit_together_is_named(pets, name, header, message):
    if header is None:
        write(pets, name, [])
    else:
        for file in ("train.csv", "test.csv", name) if "Split" in header else (name,):
            write(pets, file, [",".join(["1"] * len(header.split(",")))], header)
    with pytest.raises(ValueError, match=message):
        load_dataset(f"table:{pets}")


def test_a_wrong_cell_is_named_by_its_file(pets):
    write(pets, "val.csv", ["v1,7,8,cat", "t1,7,9,dog"])
    with pytest.raises(ValueError, match=r"pets, line 3 of val\.csv: each row should have a name of its own"):
        load_dataset(f"table:{pets}")
