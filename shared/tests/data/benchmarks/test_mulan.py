"""The Mulan sets: dense and sparse rows, labels by an XML file, and what is refused."""

import gzip
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import arff as scipy_arff

from hmc_shared.data import load_dataset
from hmc_shared.data.benchmarks.mulan import parse_mulan, read_set
from hmc_shared.data.presence import available
from hmc_shared.data.storage.find import find_files, find_sets

Write = Callable[..., dict[str, Path]]
# A label between the features, and the header in another order than the XML.
ATTRIBUTES = ["rain {0,1}", "first numeric", "'the second' REAL", "kind {a, b,c}", "sun {0,1}", "on {1,0}"]
HEADER = "@relation 'toy set'\n\n% a comment\n{}\n\n@data\n"  # the first row stands in line 5 + attributes
DENSE = ["1,1.5,?,a,0,1", "0,-2e3,4,b,0,?", "1,3,5,?,1,0"]
SPARSE = ["{0 1, 1 1.5,2 ?}", "{1 -2e3,2 4,3 b,5 ?}", "{ 0 1,1 3,2 5,3 ?,4 1,5 0 }"]
FLAT = ("sun", "rain")
FIRST = 6 + len(ATTRIBUTES)


def xml(labels: str) -> str:
    return (
        f'<?xml version="1.0"?>\n<labels xmlns="http://mulan.sourceforge.net/labels">\n{labels}\n</labels>\n'
    )


def flat(names: tuple[str, ...]) -> str:
    return xml("\n".join(f'<label name="{name}"></label>' for name in names))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes the files of a set: part -> path; part None is a file of all rows."""

    def to_files(
        name: str = "toy",
        rows: dict[str | None, list[str]] | None = None,
        *,
        attributes: list[str] = ATTRIBUTES,
        labels: str = flat(FLAT),
        folder: Path = tmp_path,
        suffix: str = "",
    ) -> dict[str, Path]:
        folder.mkdir(parents=True, exist_ok=True)
        header = HEADER.format("\n".join(f"@attribute {line}" for line in attributes))
        compress = gzip.compress if suffix else bytes
        files = {"labels": folder / f"{name}.xml{suffix}"}
        files["labels"].write_bytes(compress(labels.encode()))
        for part, lines in (rows or {"train": DENSE, "test": SPARSE}).items():
            path = folder / f"{name}{f'-{part}' if part else ''}.arff{suffix}"
            path.write_bytes(compress((header + "\n".join(lines) + "\n").encode()))
            files[part or "all"] = path
        return files

    return to_files


def raw(files: dict[str, Path]):
    return read_set(files, {part: path.read_bytes() for part, path in files.items()})


# Content


def test_dense_and_sparse_rows_say_the_same(write: Write) -> None:
    parts = raw(write()).parts
    nan = np.nan
    # first, the second, one column for each kind, on
    expected = [[1.5, nan, 1, 0, 0, 1], [-2e3, 4, 0, 1, 0, nan], [3, 5, 0, 0, 0, 0]]
    for part in ("train", "test"):
        np.testing.assert_array_equal(parts[part].features, expected)
        assert parts[part].labels == [[1], [], [0, 1]]


def test_a_sparse_row_leaves_out_first_values_not_zeros() -> None:
    rows = "{}\n{3 0}"
    text = HEADER.format(
        "\n".join(f"@attribute {name}" for name in ("x numeric", "k {p,q}", "u {1}", "v {1,0}"))
    )
    table = parse_mulan((text + rows).encode(), Path("toy.arff"))
    assert table.values.tolist() == [[0, 0, 1, 1], [0, 0, 1, 0]]


@given(
    st.lists(
        st.tuples(
            st.floats(width=32, allow_nan=False, allow_infinity=False),
            st.sampled_from("abc"),
            st.sampled_from("01"),
        ),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
def test_numbers_and_values_are_those_of_scipy(rows, sparse: bool, end: str) -> None:
    header = HEADER.format("@attribute x numeric\n@attribute k {a,b,c}\n@attribute y {0,1}")
    dense = header + "\n".join(f"{x!r},{k},{y}" for x, k, y in rows)
    if sparse:
        lines = [
            "{" + ",".join(f"{i} {v}" for i, v in enumerate(row) if v not in (0.0, "a", "0")) + "}"
            for row in rows
        ]
        text = header + "\n".join(lines)
    else:
        text = dense
    table = parse_mulan((text + "\n").replace("\n", end).encode(), Path("toy.arff"))
    oracle, _ = scipy_arff.loadarff(io.StringIO(dense))
    np.testing.assert_array_equal(table.values[:, 0], oracle["x"])
    assert ["abc"[int(i)].encode() for i in table.values[:, 1]] == oracle["k"].tolist()
    np.testing.assert_array_equal(table.values[:, 2], oracle["y"].astype(float))


def test_integers_keep_their_fraction_and_tabs_and_trailing_comments_do_not_matter() -> None:
    text = "@RELATION toy\n@ATTRIBUTE\tx\tinteger\n@attribute y {0,1}\n@DATA\n1.75,1\n%\n2,0\n% \n% \n"
    table = parse_mulan(text.encode(), Path("toy.arff"))
    assert table.values.tolist() == [[1.75, 1], [2, 0]]
    assert table.lines == [5, 7]


def test_ids_are_in_the_order_of_the_xml_and_nesting_closes_the_targets(write: Write, tmp_path: Path) -> None:
    nested = xml('<label name="sun"/><label name="on"><label name="rain"></label></label>')
    write(labels=nested, rows={"train": ["0,1,1,a,1,0", "1,2,1,a,0,0", "0,3,1,b,0,0"] * 5, "test": DENSE[:1]})
    dataset = load_dataset("toy", tmp_path)
    assert dataset.hierarchy.names == ("sun", "on", "rain")
    assert dataset.hierarchy.edges.tolist() == [[1, 2]]
    assert dataset.test.targets.tolist() == [[False, True, True]]
    counts = torch.cat([dataset.train.targets, dataset.validation.targets]).sum(0)
    assert counts.tolist() == [5, 5, 5]
    assert dataset.evaluated.all()


def test_a_sampled_validation_split_keeps_rows_together_and_those_without_label(
    write: Write, tmp_path: Path
) -> None:
    # The first feature is the number of the row, its label the parity; every fifth row has none.
    rows = [f"{int(i % 5 > 0 and i % 2)},{i},1,a,{int(i % 5 > 0 and not i % 2)},0" for i in range(50)]
    write(rows={"train": rows, "test": rows[:7]})
    dataset = load_dataset("TOY", tmp_path, view="vector")
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (40, 10, 7)
    assert "validation: 20% of the training file" in dataset.notes[0]
    assert [f"train-{n:.0f}" for n in dataset.train.inputs[:, 0].tolist()] == list(dataset.train.ids)
    for split in (dataset.train, dataset.validation):
        for name, target in zip(split.ids, split.targets.tolist(), strict=True):
            i = int(name.removeprefix("train-"))
            assert target == [i % 5 > 0 and i % 2 == 0, i % 5 > 0 and i % 2 == 1]
    assert sum(not target.any() for target in dataset.validation.targets) == 2


def test_statistics_are_those_of_the_protocol(write: Write, tmp_path: Path) -> None:
    rows = [f"{i % 2},{i * i},1,a,0,0" for i in range(30)]
    write(rows={"train": rows, "test": rows[:3]})
    for protocol, parts in (("default", ["train"]), ("paper", ["train", "validation"])):
        dataset = load_dataset("toy", tmp_path, protocol=protocol)
        numbers = [int(name.split("-")[1]) ** 2 for part in parts for name in dataset.splits[part].ids]
        assert float(dataset.feature_mean[0]) == pytest.approx(np.mean(numbers), rel=1e-6)
        assert float(dataset.feature_scale[0]) == pytest.approx(np.std(numbers), rel=1e-6)


def test_a_file_of_all_rows_is_divided(write: Write, tmp_path: Path) -> None:
    rows = [f"{i % 2},{i},1,a,{i % 3 // 2},0" for i in range(60)]
    write("books", rows={None: rows})
    dataset = load_dataset("books", tmp_path)
    assert [len(split) for split in dataset.splits.values()] == [36, 12, 12]
    ids = [name for split in dataset.splits.values() for name in split.ids]
    assert sorted(ids) == sorted(f"all-{i}" for i in range(60))
    assert "60 % training, 20 % validation and 20 % test" in dataset.notes[0]
    for split in dataset.splits.values():
        for name, target in zip(split.ids, split.targets.tolist(), strict=True):
            i = int(name.removeprefix("all-"))
            assert target == [i % 3 == 2, i % 2 == 1]
    # The published split comes first where both are there.
    write("books", rows={"train": rows[:40], "test": rows[40:]})
    assert len(load_dataset("books", tmp_path).test) == 20


def test_shape_of_bookmarks(write: Write, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = tuple(f"TAG_{i}" for i in range(208))
    attributes = [f"word{i} {{0,1}}" for i in range(2150)] + [f"{name} {{0,1}}" for name in labels]
    on = [
        np.sort(np.append(rng.choice(2150, 30, False), 2150 + rng.choice(208, 2, False))) for _ in range(200)
    ]
    rows = ["{" + ",".join(f"{i} 1" for i in row) + "}" for row in on]
    write("bookmarks", {"train": rows[:150], "test": rows[150:]}, attributes=attributes, labels=flat(labels))
    dataset = load_dataset("bookmarks", tmp_path)
    assert dataset.num_features == 2150
    assert dataset.hierarchy.names == labels
    test = np.zeros((50, 2358), dtype=bool)
    for i, row in enumerate(on[150:]):
        test[i, row] = True
    np.testing.assert_array_equal(dataset.test.targets, test[:, 2150:])
    np.testing.assert_array_equal(dataset.test.inputs, test[:, :2150])


# Finding


@pytest.mark.parametrize("place", [".", "inner", "multilabel/inner"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_sets_are_found_by_pattern_and_place(write: Write, tmp_path: Path, place: str, suffix: str) -> None:
    files = write("My-Set.2", folder=tmp_path / place, suffix=suffix)
    name, by_part = find_files("my-set.2", tmp_path)
    assert name == "My-Set.2"
    assert by_part == files
    dataset = load_dataset("MY-set.2", tmp_path)
    assert dataset.sources.keys() == {"My-Set.2-train.arff", "My-Set.2-test.arff", "My-Set.2.xml"}
    assert ("My-Set.2", "Mulan", str(files["train"].parent)) in available(tmp_path)


def test_a_variant_has_the_name_of_its_folder(write: Write, tmp_path: Path) -> None:
    write("media", folder=tmp_path / "a" / "media_reduced")
    assert list(find_sets(tmp_path)) == ["media_reduced"]
    assert load_dataset("media", tmp_path).name == "media_reduced"
    write("media", folder=tmp_path / "a" / "media", rows={"train": DENSE, "test": DENSE[:1]})
    assert len(load_dataset("media", tmp_path).test) == 1
    assert len(load_dataset("Media_Reduced", tmp_path).test) == 3


def test_what_is_missing_or_double_is_named(write: Write, tmp_path: Path, own_cache: Path) -> None:
    files = write()
    for part in ("test", "labels", "train"):
        content = files[part].read_bytes()
        files[part].unlink()
        beside = r", toy\.xml beside it \(Mulan\), or by -C" if part == "labels" else r"\."
        with pytest.raises(ValueError, match=f"the {part} file of toy is missing{beside}"):
            load_dataset("toy", tmp_path)
        files[part].write_bytes(content)
    assert not own_cache.exists()
    write(folder=tmp_path / "again")
    with pytest.raises(ValueError, match=r"toy has two files for its \w+ part: .*again"):
        load_dataset("toy", tmp_path)


def test_an_arff_file_without_labels_is_no_set(tmp_path: Path) -> None:
    (tmp_path / "x.arff").write_text("")
    assert find_sets(tmp_path) == {}


# Errors


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,1,2,a,0", "expected 6 fields, found 5"),
        ("1,1,2,a,0,1,1", "expected 6 fields, found 7"),
        ("1,l,2,a,0,1", "'l' is not a number (attribute 'first')"),
        ("1,1e39,2,a,0,1", "'1e39' is too large for float32 (attribute 'first')"),
        ("1,inf,2,a,0,1", "'inf' is not a number (attribute 'first')"),
        ("1,1,2,d,0,1", "'d' is not a value of the nominal attribute 'kind'"),
        ("?,1,2,a,0,1", "the label 'rain' is not 0 or 1"),
        ("2,1,2,a,0,1", "'2' is not a value of the nominal attribute 'rain'"),
        ("1,1,'\\x',a,0,1", "'x' is not a number (attribute 'the second')"),
        ("{0 1,6 1}", "expected ascending indices below 6, each once, found 6 behind 0"),
        ("{0 1,1 5,1 7}", "expected ascending indices below 6, each once, found 1 behind 1"),
        ("{2 1,0 1}", "expected ascending indices below 6, each once, found 0 behind 2"),
        ("{0 1,3 d}", "'d' is not a value of the nominal attribute 'kind'"),
        ("{0 1,1 one}", "'one' is not a number (attribute 'first')"),
        ("{0 1,1 1", "expected {index value, ...}, found '1 1'"),
        ("{0 1,1}", "expected {index value, ...}, found '1}'"),
        ("{0 1},{0.5}", "expected {index value, ...}, found '},{0.5}'"),
        ("0,1,2,a,0,1,{0.5}", "expected the end of the row, found '{0.5}': instance weights are not read"),
        ("{0 ?}", "the label 'rain' is not 0 or 1"),
    ],
)
def test_a_bad_row_is_one_line_with_file_and_line_and_nothing_is_cached(
    write: Write, tmp_path: Path, own_cache: Path, part: str, row: str, message: str
) -> None:
    good = SPARSE if row.startswith("{") else DENSE
    files = write(rows={"train": good, "test": good} | {part: [*good, row]}, suffix=".gz")
    with pytest.raises(ValueError, match=re.escape(f"{files[part]}:{FIRST + 3}: {message}")) as caught:
        load_dataset("toy", tmp_path)
    assert "\n" not in str(caught.value)
    assert not own_cache.exists()


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        (
            "@attribute first",
            "@atribute first",
            5,
            "expected an attribute, then @DATA, found '@atribute first",
        ),
        ("@attribute first", "first", 5, "expected an attribute, then @DATA, found 'first"),
        ("first numeric", "first relational", 5, "expected the type numeric, {values} or hierarchical"),
        ("first numeric", "first hierarchical a,b", 5, "a hierarchical attribute, as in files of CLUS"),
        ("first numeric", "first", 5, "expected the type numeric, {values} or hierarchical, found ''"),
        (
            "first numeric",
            "rain numeric",
            5,
            "a second attribute has the name 'rain'",
        ),
        ("@attribute rain {0,1}", "@attribute rain {0,1,2}", 12, "the label 'rain' is not 0 or 1"),
        ("@data", "", 12, "expected an attribute, then @DATA, found '1,1.5,?,a,0,1'"),
        ("first numeric", "f\xffrst numeric", 5, "not UTF-8 text"),
    ],
)
def test_a_bad_header_is_one_line_with_file_and_line(
    write: Write, tmp_path: Path, own_cache: Path, old: str, new: str, line: int, message: str
) -> None:
    path = write()["train"]
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode("latin-1")))
    with pytest.raises(ValueError, match=re.escape(f"{path}:{line}: {message}")) as caught:
        load_dataset("toy", tmp_path)
    assert "\n" not in str(caught.value)
    assert not own_cache.exists()


def test_files_without_rows_or_features_and_with_other_headers_are_refused(
    write: Write, tmp_path: Path
) -> None:
    files = write(rows={"train": DENSE, "test": ["% nothing"]})
    with pytest.raises(ValueError, match=r"toy-test\.arff:13: the file ends before its first row"):
        load_dataset("toy", tmp_path)
    files["test"].write_text(files["train"].read_text().replace("{a, b,c}", "{c, b,a}"))
    with pytest.raises(ValueError, match=r"toy-test\.arff:11: other attributes than in toy-train\.arff"):
        load_dataset("toy", tmp_path)
    write(attributes=["rain {0,1}", "sun {0,1}"], rows={"train": ["1,0"], "test": ["1,0"]})
    with pytest.raises(ValueError, match=r"toy-train\.arff:7: @DATA before an attribute that is no label"):
        load_dataset("toy", tmp_path)


def test_truncated_files_are_refused_and_nothing_is_cached(
    write: Write, tmp_path: Path, own_cache: Path
) -> None:
    files = write(suffix=".gz")
    for part, path in files.items():
        whole = path.read_bytes()
        path.write_bytes(whole[:-20])
        with pytest.raises(ValueError, match=rf"{path}:\d+: the gzip file is truncated"):
            load_dataset("toy", tmp_path)
        path.write_bytes(gzip.compress(gzip.decompress(whole)[:-4]))
        with pytest.raises(ValueError, match=rf"{path}:\d+: ") as caught:
            load_dataset("toy", tmp_path)
        assert "\n" not in str(caught.value), part
        path.write_bytes(whole)
    assert not own_cache.exists()
    assert len(load_dataset("toy", tmp_path).test) == 3


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (flat(FLAT).replace("</labels>", ""), r"toy\.xml:6: damaged XML \(no element found"),
        (flat(FLAT).replace("</label>", "<label>", 1), r"toy\.xml:\d+: damaged XML \(mismatched tag"),
        (flat(("sun", "wind")), r"toy\.xml: the label 'wind' is not an attribute of toy-train\.arff\."),
        (flat(("sun", "sun")), r"toy\.xml: .*sun"),
        (xml("<label/>"), r"toy\.xml: .*non-empty string"),
        (xml(""), r"toy\.xml: .*at least one"),
        (flat(("sun", "first")), r"toy-train\.arff:12: the label 'first' is not 0 or 1"),
    ],
)
def test_bad_labels_are_refused(
    write: Write, tmp_path: Path, own_cache: Path, labels: str, message: str
) -> None:
    write(labels=labels)
    with pytest.raises(ValueError, match=message):
        load_dataset("toy", tmp_path)
    assert not own_cache.exists()


def test_names_of_labels_match_with_and_without_escapes(write: Write) -> None:
    names = [r"'it\'s'", r"m\'usica", r"dise\~no", "'a b'"]
    attributes = ["x numeric", *(f"{name} {{0,1}}" for name in names)]
    labels = flat(("it's", r"m\'usica", "dise~no", "a b"))
    files = write(attributes=attributes, labels=labels, rows={"train": ["5,1,0,1,0"], "test": ["{1 1,4 1}"]})
    assert raw(files).parts["train"].labels == [[0, 2]]
    assert raw(files).parts["test"].labels == [[0, 3]]
    files["labels"].write_text(flat(("it's", r"it\'s")))
    with pytest.raises(ValueError, match=r"toy\.xml: the label .* is not an attribute of toy-train\.arff"):
        raw(files)
