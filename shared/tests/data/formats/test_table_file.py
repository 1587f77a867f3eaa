"""Tables of raw features."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from hmc_shared.data.formats.features import feature_blocks, read_table
from hmc_shared.data.formats.table_file import open_table, read_array, table_blocks
from hmc_shared.predict.write import write_table

NUMBERS = st.one_of(st.just(math.nan), st.floats(-1e6, 1e6, width=32))
ROWS = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(NUMBERS, min_size=width, max_size=width), min_size=1, max_size=5)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(rows=ROWS)
def test_what_is_written_reads_back(tmp_path, rows):
    file = tmp_path / "t.csv"
    names = [f'sample "{i}", é' for i in range(len(rows))]
    cells = [
        [name, *("?" if math.isnan(x) else x for x in row)] for name, row in zip(names, rows, strict=True)
    ]
    write_table(file, ["id", *(f"f{i}" for i in range(len(rows[0])))], cells)
    ids, features = read_table(file)
    assert ids == names
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, np.asarray(rows, dtype=np.float32))
    np.save(tmp_path / "t.npy", np.asarray(rows))
    ids, from_array = read_table(str(tmp_path / "t.npy"))
    assert ids == [str(i) for i in range(len(rows))]
    np.testing.assert_array_equal(from_array, features)


def test_the_column_of_ids_stands_anywhere_or_nowhere(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,id,b\n1,x,\n?,y,2.5\n")
    ids, features = read_table(table)
    assert ids == ["x", "y"]
    np.testing.assert_array_equal(features, np.asarray([[1, np.nan], [np.nan, 2.5]], dtype=np.float32))
    table.write_text("a,b\n1,2\n")
    assert read_table(table)[0] == ["0"]
    table.write_text("a,id\n")
    with pytest.raises(ValueError, match=r"t\.csv should have rows"):
        read_table(table)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,b\n1,2\n3\n", r"t\.csv, line 3: 1 cells"), ("a,b\n1,2\n3,two\n", r"t\.csv, line 3: 'two' is no")],
)
def test_wrong_lines_are_named(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n3,\xe9\n", r"line 3 is not UTF-8 \(byte 0xe9\).*Save the file as UTF-8.* latin-1"),
        ("a,b\n1,2\n".encode("utf-16")[:-1], "line 2 is not UTF-16"),
        (b"", "should begin with a line of names"),
        (b"a,b\n1," + b"2" * 2**25 + b"\n", "is not readable as a table"),
    ],
)
def test_what_is_no_text_table_is_named(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"t\.csv .*{message}"):
        read_table(tmp_path / "t.csv")


def test_what_is_no_array_of_numbers_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.csv should be .* Found no file"):
        read_table(tmp_path / "gone.csv")
    file = tmp_path / "t.npy"
    file.write_bytes(b"\x93NUMPY and no more")
    with pytest.raises(ValueError, match=r"t\.npy is not readable"):
        read_array(file)
    np.save(file, np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"t\.npy is not readable"):
        read_array(file)
    for wrong in (np.array(["a"]), np.array(1.0)):
        np.save(file, wrong)
        with pytest.raises(ValueError, match=r"t\.npy should hold an array of numbers"):
            read_table(file)


def test_a_parquet_file_reads_as_the_csv_file_does(tmp_path):
    cells = {"id": ["x", "y"], "a": [1.5, None], "b": [3, 4], "c": [True, False]}
    parquet.write_table(pa.table(cells), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("id,a,b,c\nx,1.5,3,1\ny,,4,0\n")
    ids, features = read_table(tmp_path / "t.parquet")
    assert ids == ["x", "y"]
    np.testing.assert_array_equal(features, np.array([[1.5, 3, 1], [np.nan, 4, 0]], dtype=np.float32))
    np.testing.assert_array_equal(features, read_table(tmp_path / "t.csv")[1])
    parquet.write_table(pa.table({"a": ["one"]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"t\.parquet, row 1: 'one' is not a number"):
        read_table(tmp_path / "t.parquet", ["a"])
    (tmp_path / "t.parquet").write_text("no table")
    with pytest.raises(ValueError, match=r"t\.parquet is not readable"):
        read_table(tmp_path / "t.parquet")


def test_columns_are_found_by_their_names(tmp_path):
    (tmp_path / "t.csv").write_bytes(
        "\ufeffb,note,a\n1,hello,2\n".encode()
    )  # a mark as spreadsheets write it
    ids, features = read_table(tmp_path / "t.csv", ["a", "b"])
    assert ids == ["0"]
    assert features.tolist() == [[2, 1]]
    with pytest.raises(ValueError, match=r"t\.csv should have a column 'c'\. Found b, note, a"):
        read_table(tmp_path / "t.csv", ["a", "c"])
    np.save(tmp_path / "t.npy", np.ones((2, 3)))
    assert read_table(tmp_path / "t.npy", ["a", "b"])[1].shape == (2, 3)


def test_a_column_is_named_once(tmp_path):
    (tmp_path / "t.csv").write_text("a,a\n1,2\n")
    with pytest.raises(ValueError, match=r"one column of each name\. Found 'a' again"):
        read_table(tmp_path / "t.csv")


SAME = {
    "semicolons": b"a;b\n1;2\n3;4\n",
    "tabs": b"a\tb\n1\t2\n3\t4\n",
    "CRLF": b"a,b\r\n1,2\r\n3,4\r\n",
    "CR": b"a,b\r1,2\r3,4",
    "mark": "\ufeffa,b\n1,2\n3,4\n".encode(),
    "UTF-16": "a,b\n1,2\n3,4\n".encode("utf-16"),
    "UTF-16 BE": b"\xfe\xff" + "a,b\n1,2\n3,4\n".encode("utf-16-be"),
    "blank lines": b"a,b\n\n1,2\n  \n3,4\n\n,\n , \n",
    "blanks": b" a, b \n 1, 2\n3 ,4 \n",
    "quotes": b'"a","b"\n"1","2"\n3,"4"\n',
}


@pytest.mark.parametrize("content", SAME.values(), ids=SAME)
def test_one_table_in_many_ways(tmp_path, content):
    for name in ("t.csv", "T.CSV"):
        (tmp_path / name).write_bytes(content)
        assert open_table(tmp_path / name).columns.keys() == {"a", "b"}
        assert read_table(tmp_path / name)[1].tolist() == [[1, 2], [3, 4]]


def test_a_tsv_file_has_tabs(tmp_path):
    (tmp_path / "t.tsv").write_text("a, of x\tb, of y\n1\t2\n")
    assert read_table(tmp_path / "t.tsv")[1].tolist() == [[1, 2]]
    (tmp_path / "t.tsv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"'a'\. Found a,b\. Cells are taken to be separated by a tab"):
        read_table(tmp_path / "t.tsv", ["a"])


@pytest.mark.parametrize(
    ("before", "line"),
    [("1,2\n", 3), ("\n\n1,2\n", 5), ('"1\n",2\n\n', 5), ("1,2\n,\n", 4), ("1,2\r\n\r\n", 4)],
)
def test_lines_are_those_of_the_file(tmp_path, before, line):
    (tmp_path / "t.csv").write_bytes(f"a,b\n{before}3,much\n".encode())
    with pytest.raises(ValueError, match=rf"t\.csv, line {line}: 'much' is not a number"):
        read_table(tmp_path / "t.csv", ["a", "b"])
    (tmp_path / "t.csv").write_bytes(f"a,b\n{before}3,4,5\n".encode())
    with pytest.raises(ValueError, match=rf"line {line}: 3 cells, but the header has 2 \(a comma between"):
        read_table(tmp_path / "t.csv")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    cells=st.lists(st.sampled_from(["1", " 2.5", "", "NA", "true", '"4\n"', "\n"]), max_size=12),
    rows=st.integers(1, 7),
    group=st.integers(1, 5),
)
def test_blocks_are_the_table(tmp_path, cells, rows, group):
    text = "".join("\n" if cell == "\n" else f"r{i},{cell}\n" for i, cell in enumerate(cells))
    (tmp_path / "t.csv").write_text("id,x\n" + text)
    whole = open_table(tmp_path / "t.csv")
    parquet.write_table(pa.table(whole.columns), tmp_path / "t.parquet", row_group_size=group)
    for file in ("t.csv", "t.parquet"):
        blocks = list(table_blocks(tmp_path / file, rows))
        assert [len(block) for block in blocks[:-1]] == [rows] * (len(blocks) - 1)
        assert sum(map(len, blocks)) == len(whole)
        assert [name for block in blocks for name in block.texts("id")] == whole.texts("id")
        places = [block.where(row) for block in blocks for row in range(len(block))]
        assert places == [open_table(tmp_path / file).where(row) for row in range(len(whole))]
        if len(whole):
            ids, features = read_table(tmp_path / file, ["x"])
            parts = list(feature_blocks(tmp_path / file, ["x"], rows))
            assert [name for part in parts for name in part[0]] == ids
            np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), features)


def test_lists_are_of_one_length_in_all_blocks(tmp_path):
    names = ["v[0]", "v[1]"]
    parquet.write_table(pa.table({"v": [None, None, [1.0, 2.0], None, [3.0, 4.0]]}), tmp_path / "t.parquet")
    whole = read_table(tmp_path / "t.parquet", names)[1]
    parts = [part.features for part in feature_blocks(tmp_path / "t.parquet", names, 1)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    parquet.write_table(pa.table({"v": [[1.0, 2.0], None, [1.0, 2.0, 3.0]]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"row 3: lists in 'v' should be of one length\. Found 2 and 3"):
        list(feature_blocks(tmp_path / "t.parquet", names, 1))


@pytest.mark.parametrize("rows", [None, 3])
@pytest.mark.parametrize("place", [0, 1, 5])
def test_a_row_longer_than_a_piece_of_text(tmp_path, monkeypatch, rows, place):
    """It is read, in blocks that are those of any other file; one longer than LONGEST_ROW is refused."""
    monkeypatch.setattr("hmc_shared.data.formats.table_file.TEXT", 64)
    cells = [f"{row}" for row in range(7)]
    cells[place] = "long" * 500
    (tmp_path / "t.csv").write_text("".join(f"{cell},{row}\n" for row, cell in enumerate(["x", *cells])))
    blocks = list(table_blocks(tmp_path / "t.csv", rows))
    assert [cell for block in blocks for cell in block.texts("x")] == cells
    assert [len(block) for block in blocks] == ([7] if rows is None else [3, 3, 1])
    assert blocks[-1].where(0) == f"{tmp_path / 't.csv'}, line {2 if rows is None else 8}"
    monkeypatch.setattr("hmc_shared.data.formats.table_file.LONGEST_ROW", 128)
    with pytest.raises(ValueError, match=r"t\.csv is not readable as a table: straddling object"):
        list(table_blocks(tmp_path / "t.csv", rows))
