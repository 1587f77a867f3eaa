"""Reader of the CLUS sets: two or three ARFF files each, found by the pattern of their names.

Origin: Vens et al., "Decision trees for hierarchical multi-label classification", 2008. The class list of a
file holds either class paths (``01/01/03``, FunCat and others) or edges ``parent/child`` of a DAG (GO), told
apart by the virtual node ``root``. A row ends with its most specific classes, joined by ``@``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from hmc_shared.data.arff import file_error, parse_arff, read_bytes
from hmc_shared.data.cache import cached
from hmc_shared.data.dataset import HierarchicalDataset, Split
from hmc_shared.data.files import find_files
from hmc_shared.data.preprocessing import Protocol, divide, prepare, stratified_draw
from hmc_shared.data.raw import RawPart, RawSet
from hmc_shared.hierarchy import Hierarchy

READER_VERSION = 1
VALIDATION_SHARE, VALIDATION_SEED = 0.3, 0  # where a source has no validation file
VIRTUAL_ROOT = "root"
NOT_EVALUATED = ("GO0003674", "GO0005575", "GO0008150")  # the three ontologies of GO: true for every gene


def load(name: str, data_dir: str | Path, protocol: Protocol = "default") -> HierarchicalDataset:
    """Read a set by name, from the cache where its files have been read before, and preprocess it.

    Raises ValueError as :func:`find_files`, :func:`read_bytes`, :func:`parse_arff` and :func:`read_set` do.
    """
    name, files = find_files(name, data_dir)
    contents = {part: read_bytes(path) for part, path in files.items()}
    sources = {
        path.name.removesuffix(".gz"): hashlib.sha256(contents[part]).hexdigest()
        for part, path in files.items()
    }
    raw = cached(f"{name} {READER_VERSION}", sources, lambda: read_set(files, contents))

    targets = {part: raw.targets(part) for part in raw.parts}
    ids = {part: np.array([f"{part}-{row}" for row in range(len(rows))]) for part, rows in targets.items()}
    drawn, notes = None, ()
    if "validation" not in raw.parts:
        drawn = stratified_draw(targets["train"], VALIDATION_SHARE, VALIDATION_SEED)
        share = f"{VALIDATION_SHARE:.0%} of the training file"
        notes = (f"validation: {share}, drawn by iterative stratification, seed {VALIDATION_SEED}",)
    inputs, mean, scale = prepare({part: raw.parts[part].features for part in raw.parts}, protocol, drawn)
    targets, ids = divide(targets, drawn), divide(ids, drawn)
    splits = {
        part: Split(torch.from_numpy(x), torch.from_numpy(targets[part]), tuple(ids[part].tolist()))
        for part, x in inputs.items()
    }
    evaluated = torch.tensor([node not in NOT_EVALUATED for node in raw.hierarchy.names])
    return HierarchicalDataset(
        name,
        raw.hierarchy,
        evaluated,
        "vector",
        **splits,
        sources=sources,
        notes=notes,
        feature_mean=torch.from_numpy(mean),
        feature_scale=torch.from_numpy(scale),
    )


def read_set(files: dict[str, Path], contents: dict[str, bytes]) -> RawSet:
    """Parse the files of a set and join them.

    Raises ValueError, naming file and line, where a header differs from the training file's, where the class
    list is no hierarchy, and for a class that is not in it.
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
