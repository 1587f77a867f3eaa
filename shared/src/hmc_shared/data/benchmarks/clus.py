"""Reader of the CLUS sets: two or three ARFF files each, found by the pattern of their names.

Origin: Vens et al., "Decision trees for hierarchical multi-label classification", 2008. The class list of a
file holds class paths (``01/01/03``, FunCat and others), or edges ``parent/child`` of a DAG (GO) with a
virtual node ``root``. A row ends with its most specific classes, joined by ``@``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.formats.arff import parse_arff
from hmc_shared.data.preprocessing import Protocol
from hmc_shared.data.storage.raw import RawPart, RawSet
from hmc_shared.data.storage.sources import file_error
from hmc_shared.data.vector_dataset import load_vectors
from hmc_shared.hierarchy import Hierarchy

READER_VERSION = 1
VALIDATION_SHARE = 0.3  # where a source has no validation file
VIRTUAL_ROOT = "root"
NOT_EVALUATED = ("GO0003674", "GO0005575", "GO0008150")  # the three ontologies of GO: true for every gene


def load(name: str, files: dict[str, Path], protocol: Protocol = "default") -> HierarchicalDataset:
    """Read the files of a set and preprocess it.

    Raises ValueError, naming file and line, for a damaged file.
    """
    return load_vectors(
        name,
        files,
        read_set,
        protocol,
        version=READER_VERSION,
        validation_share=VALIDATION_SHARE,
        not_evaluated=NOT_EVALUATED,
    )


def read_set(files: dict[str, Path], contents: dict[str, bytes]) -> RawSet:
    """Parse the files of a set and join them.

    Raises ValueError, naming file and line, where a header differs from the training file's, where the class
    list is not a hierarchy, and for a class that is not in it.
    """
    tables = {part: parse_arff(contents[part], path) for part, path in files.items()}
    train = tables["train"]
    try:
        hierarchy = build_hierarchy(train.class_list)
    except ValueError as error:
        raise file_error(files["train"], train.class_line, str(error)) from error
    parts = {}
    for part, table in tables.items():
        path = files[part]
        if table.attributes != train.attributes:
            raise file_error(path, table.class_line, f"other attributes than in {files['train'].name}")
        if set(table.class_list) != set(train.class_list):
            raise file_error(path, table.class_line, f"another class list than in {files['train'].name}")
        for line, classes in zip(table.lines, table.labels, strict=True):
            for name in classes:
                if name not in hierarchy.index:
                    raise file_error(path, line, f"the class {name!r} is not in the class list of the header")
        labels = [[hierarchy.index[name] for name in classes] for classes in table.labels]
        parts[part] = RawPart(table.features, labels)
    return RawSet(hierarchy, parts)


def build_hierarchy(class_list: Iterable[str]) -> Hierarchy:
    """From class paths or edges; entries may repeat (they do in ImCLEF07D), ``root`` is dropped."""
    entries = list(dict.fromkeys(class_list))
    if not any(entry.startswith(f"{VIRTUAL_ROOT}/") for entry in entries):
        return Hierarchy.from_paths(entries)
    pairs = [tuple(entry.split("/")) for entry in entries]
    for entry, pair in zip(entries, pairs, strict=True):
        if len(pair) != 2 or not all(pair):
            raise ValueError(f"An edge should be written parent/child. Found {entry!r}.")
    nodes = dict.fromkeys(node for pair in pairs for node in pair if node != VIRTUAL_ROOT)
    return Hierarchy.from_edges([(a, b) for a, b in pairs if a != VIRTUAL_ROOT], nodes=nodes)
