"""ARFF files of CLUS and of Mulan are read as Weka reads them, by one reader, or refused by line."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmc_shared.data.benchmarks.mulan import parse_mulan
from hmc_shared.data.formats.arff import Arff, parse_arff

FILE = Path("toy.arff")
DIALECTS = ("CLUS", "Mulan")


def parse(attributes: list[str], rows: list[str], dialect: str = "CLUS", data: str = "@data\n") -> Arff:
    """A table of these attributes and rows, and of a last column for the labels, 1 in every row."""
    label = {"CLUS": "@attribute class hierarchical 0,1", "Mulan": "@attribute class {0,1}"}[dialect]
    header = "@relation toy\n" + "".join(f"@attribute {line}\n" for line in attributes) + label + "\n"
    text = header + data + "\n".join(rows) + "\n"
    return {"CLUS": parse_arff, "Mulan": parse_mulan}[dialect](text.encode(), FILE)


def columns(table: Arff, count: int) -> list[list[float]]:
    return table.values[:, :count].tolist()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("attribute", "name", "values"),
    [
        ("x numeric", "x", None),
        ("x REAL", "x", None),
        ("x\tInteger", "x", None),
        ("x integer [0,5]", "x", None),
        ("x real [0.0,1.0] % of old Weka", "x", None),
        ("x numeric % a note", "x", None),
        ("x numeric%", "x", None),
        ("'my attr' numeric", "my attr", None),
        ('"my, {attr}" numeric', "my, {attr}", None),
        (r"'it\'s \t\\\u00e9' numeric", "it's \t\\é", None),
        (r"m\'usica numeric", r"m\'usica", None),
        ("0.2%_MMS numeric", "0.2%_MMS", None),
        ("x{1,2}", "x", ("1", "2")),
        ("'x'{1,2}", "x", ("1", "2")),
        ("x { 1 ,\t2 }", "x", ("1", "2")),
        ("x {1,2} %{<=50K, >50K}", "x", ("1", "2")),
        ("x {1,2}%comment", "x", ("1", "2")),
        ("x {'a,b',\"c}d\",'e%f'}", "x", ("a,b", "c}d", "e%f")),
        (r"x {'\'B1of3\'','\'B2of3\''}", "x", ("'B1of3'", "'B2of3'")),
        ("x {a b c}", "x", ("a", "b", "c")),
        ("x { 'a b' \"c\" }", "x", ("a b", "c")),
        ("x {dark red, blue}", "x", ("dark red", "blue")),
        ("x {<50%,>=50%}", "x", ("<50%", ">=50%")),
        ("x {only}", "x", ("only",)),
        (r"x {'\ud83d\ude00'}", "x", ("😀",)),
    ],
)
def test_declarations(dialect: str, attribute: str, name: str, values: tuple[str, ...] | None) -> None:
    table = parse([attribute], ["?,1"], dialect)
    assert table.attributes[0] == (name, values)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("numeric", "expected the type numeric, {values} or hierarchical, found ''"),
        ("x nummeric", "expected the type numeric, {values} or hierarchical, found 'nummeric'"),
        ("x relational", "expected the type numeric, {values} or hierarchical, found 'relational'"),
        ("x numeric {0.5}", "expected the type numeric, {values} or hierarchical, found 'numeric {0.5}'"),
        ("my attr numeric", "expected the type numeric, {values} or hierarchical, found 'attr numeric'"),
        ("a,b numeric", "expected the type numeric, {values} or hierarchical, found ',b numeric'"),
        ("'x numeric", 'expected @ATTRIBUTE, a name and a type, found "@attribute \'x numeric"'),
        ("%age numeric", "expected @ATTRIBUTE, a name and a type, found '@attribute %age numeric'"),
        ("x {1,2", "expected values and a closing brace, found ''"),
        ("x {1,2}}", "expected values and a closing brace, found '}}'"),
        ("x {1,{2}", "expected values and a closing brace, found '{2}'"),
        ("x {<50, %x}", "expected values and a closing brace, found ''"),
        ("x {1,2} 3", "expected values and a closing brace, found '} 3'"),
        ("x {1,,2}", "'' is no value"),
        ("x {}", "'' is no value"),
        ("x {?,1}", "'?' is no value"),
        ("x {a,'a',b}", "the value 'a' is declared again"),
        ("x {'a'b,c}", "expected a value, and quotes around the whole of it, found \"'a'b,c}\""),
        ("x {'a,b}", 'expected a value, and quotes around the whole of it, found "\'a,b}"'),
    ],
)
def test_bad_declarations_are_refused_by_line(dialect: str, attribute: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"toy.arff:2: {message}.")):
        parse([attribute], ["?,1"], dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("row", "number", "position"),
    [
        ("2,red,1", 2, 0),
        ("'2', \"red\" ,1", 2, 0),
        ("2\t,'a,b'\t,1", 2, 1),
        ("2 red 1", 2, 0),
        ("2\t'a,b'\t1", 2, 1),
        ("2,red,1 % gene", 2, 0),
        ("{0 2, 1 'a,b',2 1}", 2, 1),
        ("{ 1 '50%' , 2 1 } % sparse", 0, 2),
        ("{0 2 2 1}", 2, 0),
        ("-.5e+1,50%,1", -5, 2),
        ("+3.,?,1", 3, np.nan),
        ("?,'red',1", np.nan, 0),
        ("NaN,red,1", np.nan, 0),
        ("{0 ?,1 ?,2 1}", np.nan, np.nan),
    ],
)
def test_rows(dialect: str, row: str, number: float, position: float) -> None:
    table = parse(["x numeric", "c {red,'a,b',50%}"], [row], dialect)
    np.testing.assert_array_equal(columns(table, 2), [[number, position]])
    if dialect == "CLUS":
        assert table.labels == [["1"]]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"{cell},red,1", f"'{cell}' is not a number (attribute 'x')")
        for cell in ("0x1F", "1_000", "Infinity", "-inf", "1e", "1d", "٣", "--1", "", "1 2")
    ]
    + [
        ("9" * 200000 + "x,red,1", f"'{'9' * 40}' is not a number (attribute 'x')"),  # in linear time
        ("1e39,red,1", "'1e39' is too large for float32 (attribute 'x')"),
        ("1,Red,1", "'Red' is not a value of the nominal attribute 'c'"),
        ("1,red", "expected 3 fields, found 2"),
        ("1,red,1,", "expected 3 fields, found 4"),
        ("1,%red,1", "expected 3 fields, found 2"),
        ("1,'red,1", 'expected a value, and quotes around the whole of it, found "\'red,1"'),
        ("1,red,1,{0.5}", "expected the end of the row, found '{0.5}': instance weights are not read"),
        ("{0 1,0 2}", "expected ascending indices below 3, each once, found 0 behind 0"),
        ("{3 1}", "expected ascending indices below 3, each once, found 3"),
        ("{-1 1}", "expected {index value, ...}, found '-1 1}'"),
        ("{0 1_0}", "'1_0' is not a number (attribute 'x')"),
        ("{0 1},{0.5}", "expected {index value, ...}, found '},{0.5}'"),
    ],
)
def test_bad_rows_are_refused_by_line(dialect: str, row: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"toy.arff:7: {message}.")):
        parse(["x numeric", "c {red,blue}"], ["1,red,1", row, "1,red,1"], dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "data",
    ["@data 7,1\n", "@DATA\t7,1\n", "@data % rows\n7,1\n", "@Data\n\n% a row\n  7,1\n", "@data\n{0 7,1 1}\n"],
)
def test_the_first_row_may_stand_in_the_line_of_data(dialect: str, data: str) -> None:
    assert columns(parse(["x numeric"], ["8,1"], dialect, data), 1) == [[7], [8]]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_byte_order_mark_and_all_line_ends_are_read(dialect: str) -> None:
    label = {"CLUS": "hierarchical 0,1", "Mulan": "{0,1}"}[dialect]
    text = f"@RELATION toy\n@ATTRIBUTE x NUMERIC\n@ATTRIBUTE class {label}\n@DATA\n7,1\n"
    read = {"CLUS": parse_arff, "Mulan": parse_mulan}[dialect]
    for variant in (text, "\ufeff" + text, text.replace("\n", "\r\n"), text.replace("\n", "\r")):
        table = read(variant.encode(), FILE)
        assert (columns(table, 1), table.lines) == ([[7]], [5])
    with pytest.raises(ValueError, match=r"toy\.arff:1: not UTF-8 text"):
        read(text.encode("utf-16"), FILE)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_texts_and_dates_are_left_out_and_named(dialect: str) -> None:
    attributes = ["id string", "x numeric", "'the day' date 'yyyy-MM-dd'", "gene key"]
    rows = ["'a,b',1,'2020-01-01',YAL001,1", "{1 2, 2 '2021-01-01', 4 1}"]
    table = parse(attributes, rows, dialect)
    assert columns(table, 1) == [[1], [2]]
    assert table.attributes[0] == ("x", None)
    assert table.notes == ("left out, neither numbers nor categories: id, the day, gene",)
    with pytest.raises(ValueError, match=r"toy\.arff:\d+: "):
        parse_arff(b"@attribute id string\n@attribute c hierarchical a\n@data\nx,a\n", FILE)


def test_a_small_file_may_not_make_a_huge_table() -> None:
    attributes = [f"a{i} numeric" for i in range(20000)]
    with pytest.raises(ValueError, match=r"toy\.arff:20003: 20000 rows of .* take 3\.0 GiB, too much"):
        parse(attributes, ["{20000 1}"] * 20000)


ESCAPES = {"\\": r"\\", "'": r"\'", "\n": r"\n", "\t": r"\t", "\r": r"\r"}
words = st.text(st.sampled_from("ab,{}%'\"\\ \t\n\r?é😀0."), min_size=1, max_size=6).filter(
    lambda word: word != "?"
)
blanks = st.sampled_from(["", " ", "\t", "  "])


@given(
    st.data(), st.lists(words, min_size=1, max_size=5, unique=True), st.sampled_from(DIALECTS), st.booleans()
)
def test_quoted_values_come_back(data: st.DataObject, values: list[str], dialect: str, sparse: bool) -> None:
    quoted = ["'" + "".join(ESCAPES.get(c, c) for c in value) + "'" for value in values]
    gaps = [data.draw(blanks) for _ in range(4)]
    declared = f"{{{gaps[0]}{f'{gaps[1]},{gaps[2]}'.join(quoted)}{gaps[3]}}}"
    chosen = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=5))
    cells = [f"{gaps[0]}{quoted[i]}{gaps[1]}" for i in chosen]
    rows = [f"{{0 {cell},1 1}}" if sparse else f"{cell},{gaps[2]}1" for cell in cells]
    table = parse([f"{quoted[0]}{declared}"], rows, dialect)
    assert table.attributes[0] == (values[0], tuple(values))
    assert columns(table, 1) == [[i] for i in chosen] or set(values) <= {"0", "1"}
