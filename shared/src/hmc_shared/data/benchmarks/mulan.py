"""Reader of the Mulan and MEKA sets: ARFF files, whose labels are attributes with the values 0 and 1.

Mulan (Tsoumakas et al., "Mulan: A Java Library for Multi-Label Learning", JMLR 12, 2011) names the labels in
an XML file, whose nested elements are a hierarchy. MEKA (Read et al., "MEKA: A Multi-label/Multi-target
Extension to Weka", JMLR 17, 2016) writes ``-C n`` into the name of the relation: the first n attributes are
labels, or the last ones for a negative n.
"""

from __future__ import annotations

from pathlib import Path
from xml.parsers import expat

import numpy as np

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.formats.arff import Arff, parse_arff
from hmc_shared.data.formats.arff_cells import unescaped
from hmc_shared.data.preprocessing import Protocol
from hmc_shared.data.storage.find import LABELS, MEKA_LABELS, is_arff
from hmc_shared.data.storage.raw import RawPart, RawSet
from hmc_shared.data.storage.sources import file_error
from hmc_shared.data.vector_dataset import load_vectors
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import reason

READER_VERSION = 2
VALIDATION_SHARE = 0.2
BINARY = {"0", "1"}


def load(name: str, files: dict[str, Path], protocol: Protocol = "default") -> HierarchicalDataset:
    """Read the files of a set and preprocess it; 20 % of the training rows are sampled for validation.

    Raises ValueError as :func:`hmc_shared.data.storage.sources.read_bytes` and :func:`read_set` do.
    """
    files = {part: path for part, path in files.items() if part != LABELS or not is_arff(path)}
    return load_vectors(
        name, files, read_set, protocol, version=READER_VERSION, validation_share=VALIDATION_SHARE
    )


def read_set(files: dict[str, Path], contents: dict[str, bytes]) -> RawSet:
    """Parse the files of a set and join them. Rows without any label are kept.

    Raises ValueError, naming the file and where possible the line, as :func:`parse_labels` and
    :func:`parse_mulan` do; for a label that is no attribute of the values 0 and 1; and where a header differs
    from that of the first file.
    """
    hierarchy = parse_labels(contents[LABELS], files[LABELS]) if LABELS in files else None
    parts, first = {}, None
    for part in (part for part in files if part != LABELS):
        path = files[part]
        table = parse_mulan(contents[part], path)
        first = first or (table, path)
        if table.attributes != first[0].attributes:
            raise file_error(path, table.data_line, f"other attributes than in {first[1].name}")
        hierarchy = hierarchy or meka_labels(table, path)
        parts[part] = _split_columns(table, hierarchy, path, files.get(LABELS, path))
    assert hierarchy
    assert first
    return RawSet(hierarchy, parts, first[0].notes)


def parse_labels(content: bytes, path: Path) -> Hierarchy:
    """The labels of an XML file, in its order, each below the label it is nested in.

    Raises ValueError for damaged XML, a document type (no entity is read), a name that is missing or
    repeated, and for no label at all.
    """
    parser = expat.ParserCreate(namespace_separator="}")  # which then stands before the tag
    above: list[str | None] = []
    """The nearest label around each open element."""
    parents: list[tuple[str, str | None]] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        around = above[-1] if above else None
        if tag.rpartition("}")[2] == "label" and above:
            parents.append((attributes.get("name", ""), around))
            around = parents[-1][0]
        above.append(around)

    def refuse(*_: object) -> None:
        raise ValueError("a document type, which label files do not need")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: above.pop()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two for unknown encodings
        raise file_error(path, parser.CurrentLineNumber, f"damaged XML ({error})") from error
    try:
        edges = [(parent, name) for name, parent in parents if parent is not None]
        return Hierarchy.from_edges(edges, nodes=[name for name, _ in parents])
    except ValueError as error:
        raise ValueError(f"{path}: {reason(error)}") from error


def meka_labels(table: Arff, path: Path) -> Hierarchy:
    """The labels that the name of the relation counts. Raises ValueError if it counts none, or too many."""
    match = MEKA_LABELS.search(table.relation)
    count = int(match[1]) if match else 0
    names = [name for name, _ in table.attributes]
    if not 0 < abs(count) < len(names):
        rule = f"-C should count labels among the {len(names)} attributes"
        raise file_error(path, table.data_line, f"{rule}, found the relation {table.relation!r}")
    return Hierarchy.from_edges([], nodes=names[:count] if count > 0 else names[count:])


def parse_mulan(content: bytes, path: Path) -> Arff:
    """Parse the content of ``path``; of an attribute of the values 0 and 1 ``values`` are these numbers.

    Raises ValueError, naming file and line, for anything malformed.
    """
    table = parse_arff(content, path, hierarchical=False)
    for column, (_, declared) in enumerate(table.attributes):
        if declared is not None and set(declared) <= BINARY and declared != ("0", "1"):
            number_of = np.array([*map(float, declared), np.nan])
            positions = table.values[:, column]
            table.values[:, column] = number_of[np.nan_to_num(positions, nan=-1).astype(np.int64)]
    return table


def _split_columns(table: Arff, hierarchy: Hierarchy, path: Path, label_path: Path) -> RawPart:
    """Features and labels; of the labels, the ids that are 1."""
    column_of = {name: column for column, (name, _) in enumerate(table.attributes)}
    plain = {
        unescaped(name): column for name, column in column_of.items()
    }  # 'it\\'s' in one file, it's in the other
    columns: dict[int, str] = {}
    for name in hierarchy.names:
        column = column_of.get(name, plain.get(unescaped(name)))
        if column is None or column in columns:
            raise ValueError(f"{label_path}: the label {name[:40]!r} is not an attribute of {path.name}.")
        columns[column] = name
        declared = table.attributes[column][1]
        wrong = ~np.isin(table.values[:, column], (0, 1))
        if declared is not None and not set(declared) <= BINARY:
            wrong[:] = True
        if wrong.any():
            raise file_error(path, table.lines[int(wrong.argmax())], f"the label {name!r} is not 0 or 1")
    labels = [row.nonzero()[0].tolist() for row in table.values[:, list(columns)]]

    features = []
    for column, (_, declared) in enumerate(table.attributes):
        values = table.values[:, column : column + 1]
        if column in columns:
            continue
        numeric = declared is None or set(declared) <= BINARY
        features.append(values if numeric else values == np.arange(len(declared or ())))
    if not features:
        raise file_error(path, table.data_line, "@DATA before an attribute that is no label")
    return RawPart(np.concatenate(features, axis=1, dtype=np.float64), labels)
