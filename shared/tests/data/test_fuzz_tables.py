"""Whatever a file holds, reading it ends in a data set or in a ValueError of one line.

The inputs are texts and bytes that hypothesis makes up; mutations of valid files are in tests/fuzz of the
repository. HMC_FUZZ sets their number for each test; it is small in the ordinary run.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from hmc_shared.data import load_dataset
from hmc_shared.data.formats.features import read_table
from hmc_shared.data.formats.table import read_edges

INPUTS = int(os.environ.get("HMC_FUZZ", "100"))
MANY = settings(
    max_examples=INPUTS,
    deadline=None,
    derandomize="HMC_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
)

WORDS = (
    *("", "?", "NA", "nan", "inf", "-inf", "1e39", "1e400", "1", "-1", "0.5", "1,5", "1_0", "True", "007.0"),
    *(
        "cat",
        "dog",
        "cat;dog",
        "a|b",
        "['cat', 'dog']",
        "[0, 1]",
        "[[[",
        "[1]",
        '"',
        "'",
        "\n",
        "\r",
        "\t",
        ";",
    ),
    *("é", "\ufeff", "\0", "\u2028", "labels", "id", "split", "train", "val", "test", "later", "x" * 300),
)
CELLS = st.one_of(st.sampled_from(WORDS), st.text(max_size=5), st.floats().map(repr), st.integers().map(str))
HEADERS = st.lists(
    st.sampled_from(["x", "y", "labels", "Label", "id", "split", "", "Unnamed: 0", " x", "a=b", "v[0]"]),
    min_size=1,
    max_size=5,
)
LINE = st.lists(CELLS, max_size=5)


@st.composite
def csv_texts(draw: st.DrawFn, headers: st.SearchStrategy[list[str]] = HEADERS) -> bytes:
    """Lines of cells, as a rule as many as the header has, in any separator and encoding."""
    separator = draw(st.sampled_from(",,,;\t"))
    header = draw(headers)
    width = st.lists(CELLS, min_size=len(header), max_size=len(header))
    lines = [header, *draw(st.lists(width if draw(st.booleans()) else LINE, max_size=8))]
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n"]))
    text = end.join(separator.join(line) for line in lines) + draw(st.sampled_from(["", end]))
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16"])), "surrogatepass")


def parquet_bytes(**columns: object) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue()


def refuses_or_reads(name: str, content: bytes, read: Callable[[Path], object]) -> None:
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # an overflow is a value that should be refused
        path = Path(folder, name)
        path.write_bytes(content)
        refused = ""
        try:
            read(path)
        except ValueError as error:
            refused = f"{type(error).__name__}: {error}"
        assert refused.split(":")[0] in ("", "ValueError", "CycleError"), refused
        assert len(refused.splitlines()) < 2, refused
        assert len(refused) < 2000


def train(path: Path) -> None:
    dataset = load_dataset(f"table:{path}")
    for split in dataset.splits.values():
        assert not np.isinf(split.inputs.numpy()).any()  # type: ignore[union-attr]
    assert all(name for name in dataset.hierarchy.names)


def by_levels(path: Path) -> None:
    load_dataset(f"table:{path}", levels="x,y", categorical=["labels"])


EDGES = csv_texts(st.sampled_from([["parent", "child"], ["child", "Parent", "x"], ["parent"]]))


@MANY
@given(st.one_of(csv_texts(), st.binary(max_size=100)))
def test_a_table_of_text(content: bytes) -> None:
    for read in (train, by_levels, read_table, lambda path: read_table(path, ["x", "a=b", "v[0]"])):
        refuses_or_reads("t.csv", content, read)


@MANY
@given(st.one_of(EDGES, st.binary(max_size=100)))
def test_an_edge_list(content: bytes) -> None:
    refuses_or_reads("edges.csv", content, read_edges)


SCALARS = st.one_of(
    *(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        st.text(max_size=4),
        st.binary(),
    ),
    *(st.dates(), st.datetimes(), st.decimals(allow_nan=False, allow_infinity=False)),
)


@MANY
@given(
    st.lists(
        st.tuples(st.sampled_from(["x", "y", "labels", "id", "split", "", "index"]), SCALARS, st.booleans()),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 12),
    st.data(),
)
def test_any_types_of_parquet(columns: list[tuple[str, object, bool]], n: int, data: st.DataObject) -> None:
    table = {}
    for name, example, is_list in columns:
        kind = st.one_of(st.none(), st.just(example), SCALARS.filter(lambda v, e=example: type(v) is type(e)))
        values = data.draw(st.lists(st.lists(kind, max_size=3) if is_list else kind, min_size=n, max_size=n))
        try:
            table[name] = pa.array(values)
        except (pa.ArrowException, OverflowError, ValueError):
            continue
    if table:
        for read in (train, by_levels, read_table):
            refuses_or_reads("t.parquet", parquet_bytes(**table), read)


@pytest.mark.parametrize("shape", [(10**12, 3), (2**62, 2**62), (-1, 3), (0, 3)])
def test_a_header_that_promises_more_than_the_file_holds(tmp_path: Path, shape: tuple[int, ...]) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.encode() + bytes(32)
    (tmp_path / "t.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.npy"):
        read_table(tmp_path / "t.npy")
