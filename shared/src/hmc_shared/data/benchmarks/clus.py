"""Reader of the CLUS sets: two or three ARFF files each, found by the pattern of their names.

Origin: Vens et al., "Decision trees for hierarchical multi-label classification", 2008. The class list of a
file holds class paths (``01/01/03``, FunCat and others), or edges ``parent/child`` of a DAG (GO), mostly
with a virtual node ``root``. A row names its most specific classes, joined by ``@``; ``root`` alone is no
label.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from pathlib import Path

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.formats.arff import parse_arff
from hmc_shared.data.preprocessing import Protocol
from hmc_shared.data.storage.raw import RawPart, RawSet
from hmc_shared.data.storage.sources import file_error
from hmc_shared.data.vector_dataset import load_vectors
from hmc_shared.hierarchy import Hierarchy

READER_VERSION = 2
VALIDATION_SHARE = 0.3  # where a source has no validation file
VIRTUAL_ROOT = "root"
DEEPEST = 100  # parts of a class path; the names of all its prefixes take their square
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
    list is not a hierarchy, for a class that is not in it, and for a row without classes.
    """
    tables = {part: parse_arff(contents[part], path) for part, path in files.items()}
    train = tables["train"]
    used = {name for table in tables.values() for classes in table.labels for name in classes}
    try:
        hierarchy = build_hierarchy(train.class_list, used)
    except ValueError as error:
        raise file_error(files["train"], train.class_line, str(error)) from error
    parts = {}
    for part, table in tables.items():
        path = files[part]
        if table.attributes != train.attributes:
            raise file_error(path, table.class_line, f"other attributes than in {files['train'].name}")
        if set(table.class_list) != set(train.class_list):
            raise file_error(path, table.class_line, f"another class list than in {files['train'].name}")
        labels = []
        for line, classes in zip(table.lines, table.labels, strict=True):
            if not set(classes) - {"", "?"}:
                remedy = (
                    f"write {VIRTUAL_ROOT} where none is true, or leave out a row whose classes are unknown"
                )
                raise file_error(path, line, f"the row has no class: {remedy}")
            if unknown := [name for name in classes if name not in hierarchy.index and name != VIRTUAL_ROOT]:
                raise file_error(
                    path, line, f"the class {unknown[0]!r} is not in the class list of the header"
                )
            labels.append([hierarchy.index[name] for name in classes if name in hierarchy.index])
        parts[part] = RawPart(table.features, labels)
    return RawSet(hierarchy, parts, train.notes)


def build_hierarchy(class_list: Iterable[str], used: Set[str] = frozenset()) -> Hierarchy:
    """From class paths or edges; entries may repeat (they do in ImCLEF07D), the virtual root is dropped.

    ``used`` are the classes of rows: they tell edges without a virtual root from paths of two parts. Raises
    ValueError for what is no hierarchy, and for paths deeper than ``DEEPEST``.
    """
    pairs = [tuple(entry.split("/")) for entry in dict.fromkeys(class_list)]
    if not _are_edges(pairs, used):
        if deep := [pair for pair in pairs if len(pair) > DEEPEST]:
            found = "/".join(deep[0][:5])
            raise ValueError(
                f"A class path should have at most {DEEPEST} parts. Found {len(deep[0])}: {found}/..."
            )
        return Hierarchy.from_paths(map("/".join, pairs))
    for pair in pairs:
        if len(pair) != 2 or not all(pair):
            raise ValueError(f"An edge should be written parent/child. Found {'/'.join(pair)!r}.")
    nodes = dict.fromkeys(node for pair in pairs for node in pair if node != VIRTUAL_ROOT)
    return Hierarchy.from_edges([(a, b) for a, b in pairs if a != VIRTUAL_ROOT], nodes=nodes)


def _are_edges(pairs: Sequence[tuple[str, ...]], used: Set[str]) -> bool:
    """Whether an entry starts at the virtual root; or all are pairs, and rows name their ends alone."""
    if any(pair[0] == VIRTUAL_ROOT and len(pair) > 1 for pair in pairs):
        return True
    children_only = {pair[-1] for pair in pairs} - {pair[0] for pair in pairs}
    all_pairs = all(len(pair) == 2 for pair in pairs)
    return all_pairs and bool(used & children_only) and not any("/" in name for name in used)
