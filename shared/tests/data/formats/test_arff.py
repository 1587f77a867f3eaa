"""The parser of the CLUS format: what it reads, and that it refuses the rest with file and line."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmc_shared.data.formats.arff import Arff, parse_arff
from hmc_shared.data.storage.sources import read_bytes

FILE = Path("toy.train.arff")
TEXT = """@RELATION 'toy'

@ATTRIBUTE first numeric
@attribute 'the second' REAL
@ATTRIBUTE colour {red, blue,green}
@ATTRIBUTE class  hierarchical 01,01/02,01/02,02
% a comment
@DATA
1,?,red,01/02
2, 0.5,blue,02@01
?,-1e3,?,02
"""


def test_reads_values_classes_and_line_numbers() -> None:
    table = parse_arff(TEXT.encode(), FILE)
    assert table.attributes == (("first", None), ("the second", None), ("colour", ("red", "blue", "green")))
    nan = np.nan
    expected = [[1, nan, 1, 0, 0], [2, 0.5, 0, 1, 0], [nan, -1000, 0, 0, 0]]
    np.testing.assert_array_equal(table.features, expected)
    assert table.labels == [["01/02"], ["02", "01"], ["02"]]
    assert table.class_list == ("01", "01/02", "01/02", "02")
    assert table.lines == [9, 10, 11]


def test_line_ends_blank_lines_comments_and_a_missing_last_line_end_change_nothing() -> None:
    plain = parse_arff(TEXT.encode(), FILE)
    variants = [
        TEXT.replace("\n", "\r\n"),
        TEXT.rstrip("\n"),
        TEXT.replace("2, 0.5", "\n% 7\n2, 0.5"),
        TEXT + "\n\n",
    ]
    for variant in variants:
        table = parse_arff(variant.encode(), FILE)
        np.testing.assert_array_equal(table.features, plain.features)
        assert table.labels == plain.labels


def test_gzip_and_plain_files_have_the_same_content(tmp_path: Path) -> None:
    (tmp_path / "a.arff").write_text(TEXT)
    (tmp_path / "a.arff.gz").write_bytes(gzip.compress(TEXT.encode()))
    assert read_bytes(tmp_path / "a.arff") == read_bytes(tmp_path / "a.arff.gz") == TEXT.encode()


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("1,?,red,01/02", "1,?,red", 9, "expected 4 fields, found 3"),
        ("1,?,red,01/02", "1,?,red,0,01/02", 9, "expected 4 fields, found 5"),
        ("1,?,red", "1,x7,red", 9, "'x7' is not a number"),
        ("2, 0.5", "2,inf", 10, "'inf' is not a number"),
        ("2, 0.5", "2,", 10, "'' is not a number"),
        ("-1e3,?,02", "-1e3,pink,02", 11, "'pink' is not a value of the nominal attribute 'colour'"),
        ("@ATTRIBUTE colour {red, blue,green}", "@ATTRIBUTE colour relational", 5, "found 'relational'"),
        ("% a comment", "1,2,red,01", 7, "expected an attribute, then @DATA, found '1,2,red,01'"),
        ("% a comment", "@ATTRIBUTE late numeric", 9, "expected 5 fields, found 4"),
        ("@ATTRIBUTE class  hierarchical 01,01/02,01/02,02", "", 8, "@DATA before"),
        ("@DATA\n", "", 8, "expected an attribute, then @DATA"),
        (TEXT[TEXT.index("% a") :], "", 7, "the file ends before @DATA"),
        (TEXT[TEXT.index("1,?") :], "", 9, "the file ends before its first row"),
    ],
)
def test_malformed_files_are_refused_with_file_and_line(old: str, new: str, line: int, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_arff(TEXT.replace(old, new, 1).encode(), FILE)
    assert str(caught.value).startswith(f"{FILE}:{line}: ")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused_with_file_and_line() -> None:
    with pytest.raises(ValueError, match=r"^toy\.train\.arff:10: not UTF-8 text\.$"):
        parse_arff(TEXT.encode().replace(b"blue,02", b"bl\xff,02"), FILE)


def parsed_or_refused(text: str) -> Arff | None:
    """The table; None after an error that is one line with file and line number."""
    try:
        return parse_arff(text.encode(), FILE)
    except ValueError as error:
        message = str(error)
    assert re.fullmatch(r"toy\.train\.arff:\d+: [^\n]+\.", message)
    return None


@pytest.mark.parametrize("cut", range(0, len(TEXT) - 1, 3))
def test_a_plain_file_cut_anywhere_is_refused_or_read_as_a_prefix(cut: int) -> None:
    # A cut inside the last label, or after a whole row, cannot be told from a complete file.
    table = parsed_or_refused(TEXT[:cut])
    if table is None:
        return
    whole = parse_arff(TEXT.encode(), FILE)
    n = len(table.labels)
    np.testing.assert_array_equal(table.features, whole.features[:n])
    assert table.labels[:-1] == whole.labels[: n - 1]


def test_a_gzip_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)  # random rows, so that the compressed file is long
    rows = [f"{a},{b},red,02" for a, b in rng.integers(0, 10**9, (300, 2))]
    content = gzip.compress((TEXT + "\n".join(rows) + "\n").encode(), mtime=0)
    path = tmp_path / "toy.train.arff.gz"
    lines = []
    for cut in [*range(0, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:cut])
        if cut == 0:  # gzip reads an empty file as empty content
            with pytest.raises(ValueError, match=r"gz:1: the file ends before @DATA"):
                parse_arff(read_bytes(path), path)
            continue
        with pytest.raises(
            ValueError, match=r"toy\.train\.arff\.gz:\d+: the gzip file is truncated"
        ) as caught:
            read_bytes(path)
        lines.append(int(str(caught.value).split(":")[1]))
    assert lines == sorted(lines)
    assert lines[0] < 10
    assert lines[-1] > 300  # the line number says how far the file could be read


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(TEXT.encode(), mtime=0))
    path = tmp_path / "toy.train.arff.gz"
    for position in range(10, len(content)):  # from the end of the gzip header on
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
        with pytest.raises(ValueError, match=r"toy\.train\.arff\.gz:\d+: "):
            read_bytes(path)


@given(st.integers(0, len(TEXT) - 1), st.characters(max_codepoint=0x2FF))
def test_a_changed_character_is_read_or_refused_with_file_and_line(position: int, character: str) -> None:
    table = parsed_or_refused(TEXT[:position] + character + TEXT[position + 1 :])
    if table is not None:
        assert len(table.features) == len(table.labels) == len(table.lines)
