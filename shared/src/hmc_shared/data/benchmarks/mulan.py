"""Reader of the Mulan sets: ARFF files, dense or sparse, and an XML file that names the labels.

Origin: Tsoumakas et al., "Mulan: A Java Library for Multi-Label Learning", JMLR 12, 2011. Labels are
attributes with the values 0 and 1, in any column; nested elements of the XML are a hierarchy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import arff
import numpy as np

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.formats.arff import Attribute
from hmc_shared.data.preprocessing import Protocol
from hmc_shared.data.storage.find import LABELS
from hmc_shared.data.storage.raw import RawPart, RawSet
from hmc_shared.data.storage.sources import file_error, text_lines
from hmc_shared.data.vector_dataset import load_vectors
from hmc_shared.hierarchy import Hierarchy

READER_VERSION = 1
VALIDATION_SHARE = 0.2
BINARY = {"0", "1"}
HEADER_LINE = re.compile(r"@(relation|attribute)\s+\S|@data|%|$", re.IGNORECASE)
INTEGER = re.compile(r"\sinteger\s*$", re.IGNORECASE)


def load(name: str, files: dict[str, Path], protocol: Protocol = "default") -> HierarchicalDataset:
    """Read the files of a set and preprocess it; 20 % of the training rows are sampled for validation.

    Raises ValueError as :func:`hmc_shared.data.storage.sources.read_bytes` and :func:`read_set` do.
    """
    return load_vectors(
        name, files, read_set, protocol, version=READER_VERSION, validation_share=VALIDATION_SHARE
    )


def read_set(files: dict[str, Path], contents: dict[str, bytes]) -> RawSet:
    """Parse the files of a set and join them. Rows without any label are kept.

    Raises ValueError, naming the file and where possible the line, as :func:`parse_labels` and
    :func:`parse_mulan` do; for a label that is no attribute of the values 0 and 1; and where a header differs
    from that of the first file.
    """
    hierarchy = parse_labels(contents[LABELS], files[LABELS])
    parts, first = {}, None
    for part in (part for part in files if part != LABELS):
        path = files[part]
        table = parse_mulan(contents[part], path)
        first = first or (table.attributes, path)
        if table.attributes != first[0]:
            raise file_error(path, table.data_line, f"other attributes than in {first[1].name}")
        parts[part] = _split_columns(table, hierarchy, path, files[LABELS])
    return RawSet(hierarchy, parts)


def parse_labels(content: bytes, path: Path) -> Hierarchy:
    """The labels of an XML file, in its order, each below the label it is nested in.

    Raises ValueError for damaged XML, a name that is missing or repeated, and for no label at all.
    """
    try:
        top = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise file_error(path, error.position[0], f"damaged XML ({error})") from error
    labels = list(_nested(top, None))
    try:
        return Hierarchy.from_edges(
            [(parent, name) for name, parent in labels if parent is not None],
            nodes=[name for name, _ in labels],
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _nested(element: ElementTree.Element, parent: str | None) -> Iterator[tuple[str, str | None]]:
    """Each label below an element, before those nested in it: name and parent."""
    for child in element:
        if child.tag.rpartition("}")[2] == "label":  # the tag begins with its namespace
            name = child.get("name", "")
            yield name, parent
            yield from _nested(child, name)


@dataclass(frozen=True)
class MulanTable:
    """One parsed file; row i is line ``lines[i]``, @DATA is ``data_line``."""

    attributes: tuple[Attribute, ...]
    values: np.ndarray
    """(n, A) float64, NaN where missing. A nominal value is its position in the header, but that of an
    attribute of the values 0 and 1 is the number."""
    lines: list[int]
    data_line: int


def parse_mulan(content: bytes, path: Path) -> MulanTable:
    """Parse the content of ``path`` with liac-arff.

    Raises ValueError, naming file and line, for anything malformed.
    """
    lines = text_lines(content, path)
    starts = (number for number, line in enumerate(lines, 1) if line.lstrip()[:5].lower() == "@data")
    data_line = next(starts, 0)
    if not data_line:
        raise file_error(path, len(lines), "the file ends before @DATA")
    rows_as_text = (line.strip() for line in lines[data_line:])
    sparse = next((line for line in rows_as_text if line and line[0] != "%"), "").startswith("{")
    number = 0

    def numbered() -> Iterator[str]:
        nonlocal number  # the line that liac-arff is at
        for number, line in enumerate(lines, 1):
            if number >= data_line:
                yield line
                continue
            if not HEADER_LINE.match(line.strip()):  # liac-arff would skip it
                raise ValueError(f"expected an attribute, then @DATA, found {line.strip()[:40]!r}")
            yield INTEGER.sub(
                " numeric", line.replace("\t", " ")
            )  # it truncates integers and does not split at tabs

    columns, numbers, row_lines = [], [], []
    try:
        kind = arff.LOD_GEN if sparse else arff.DENSE_GEN
        document: Any = arff.load(numbered(), encode_nominal=True, return_type=kind)
        attributes = tuple(_attribute(name, declared) for name, declared in document["attributes"])
        for row in document["data"]:
            cells = list(row.values()) if sparse else row
            values = np.array(cells, dtype=np.float64)  # None, a missing value, becomes NaN
            if np.isfinite(values).sum() + cells.count(None) < len(cells):
                raise ValueError("a value is not a finite number")
            columns.append(np.array(list(row) if sparse else range(len(row)), dtype=np.int64))
            numbers.append(values)
            row_lines.append(number)
    except (arff.ArffException, ValueError) as error:
        raise file_error(path, number, _reason(error)) from error
    if not row_lines:
        raise file_error(path, len(lines), "the file ends before its first row")
    table = np.zeros((len(row_lines), len(attributes)))  # a sparse row leaves out first values
    owners = np.repeat(np.arange(len(table)), [len(row) for row in columns])
    table[owners, np.concatenate(columns)] = np.concatenate(numbers)
    for column, (_, declared) in enumerate(attributes):
        if declared is not None and set(declared) <= BINARY and declared != ("0", "1"):
            number_of = np.array([*map(float, declared), np.nan])
            table[:, column] = number_of[np.nan_to_num(table[:, column], nan=-1).astype(np.int64)]
    return MulanTable(attributes, table, row_lines, data_line)


def _attribute(name: str, declared: str | list[str]) -> Attribute:
    if declared == "STRING":
        raise ValueError(f"the attribute {name!r} should be numeric or nominal, found a string")
    return name, None if isinstance(declared, str) else tuple(declared)


def _reason(error: Exception) -> str:
    """The message of liac-arff without its line number and its copy of the row."""
    if isinstance(error, arff.BadDataFormat):
        return "the row does not fit the attributes of the header"
    return re.sub(r",? (at|in) line %d\.?", "", getattr(error, "message", None) or str(error))[:120]


def _split_columns(table: MulanTable, hierarchy: Hierarchy, path: Path, label_path: Path) -> RawPart:
    """Features and labels; of the labels, the ids that are 1."""
    column_of = {name: column for column, (name, _) in enumerate(table.attributes)}
    for name in hierarchy.names:
        if name not in column_of:
            raise ValueError(f"{label_path}: the label {name!r} is not an attribute of {path.name}.")
        declared = table.attributes[column_of[name]][1]
        values = table.values[:, column_of[name]]
        wrong = ~np.isin(values, (0, 1)) | (declared is not None and not set(declared) <= BINARY)
        if wrong.any():
            raise file_error(path, table.lines[int(wrong.argmax())], f"the label {name!r} is not 0 or 1")
    values = table.values[:, [column_of[name] for name in hierarchy.names]]
    labels = [row.nonzero()[0].tolist() for row in values]

    features = []
    for column, (name, declared) in enumerate(table.attributes):
        values = table.values[:, column : column + 1]
        if name in hierarchy.index:
            continue
        numeric = declared is None or set(declared) <= BINARY
        features.append(values if numeric else values == np.arange(len(declared or ())))
    if not features:
        raise file_error(path, table.data_line, "@DATA before an attribute that is no label")
    return RawPart(np.concatenate(features, axis=1, dtype=np.float64), labels)
