"""What the sets of feature vectors have in common: cached files, three splits, preprocessing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import torch

from hmc_shared.data.arff import read_bytes
from hmc_shared.data.cache import cached
from hmc_shared.data.dataset import HierarchicalDataset, Split
from hmc_shared.data.preprocessing import Protocol, divide, draw_splits, prepare, stratified_draw
from hmc_shared.data.raw import RawSet

SEED = 0  # of the splits that a source lacks


def load_vectors(
    name: str,
    files: dict[str, Path],
    read_set: Callable[[dict[str, Path], dict[str, bytes]], RawSet],
    protocol: Protocol,
    *,
    version: int,
    validation_share: float,
    not_evaluated: Collection[str] = (),
) -> HierarchicalDataset:
    """Read a set, from the cache where its files have been read before, and preprocess it.

    Args:
        name: of the set.
        files: part to file.
        read_set: parses the files, given with their contents. Its parts are "train" and "test" and perhaps
            "validation", or "all", of which the splits are drawn.
        protocol: see :func:`hmc_shared.data.preprocessing.prepare`.
        version: of the reader; another one does not take what this one has cached.
        validation_share: of the training rows, where there is no validation part.
        not_evaluated: classes that metrics do not count.

    Raises ValueError as :func:`read_bytes` and ``read_set`` do; nothing is cached then.
    """
    contents = {part: read_bytes(path) for part, path in files.items()}
    sources = {
        path.name.removesuffix(".gz"): hashlib.sha256(contents[part]).hexdigest()
        for part, path in files.items()
    }
    raw = cached(f"{name} {version}", sources, lambda: read_set(files, contents))

    features = {part: raw.parts[part].features for part in raw.parts}
    targets = {part: raw.targets(part) for part in raw.parts}
    ids = {part: np.array([f"{part}-{row}" for row in range(len(rows))]) for part, rows in targets.items()}
    drawn, notes = None, ()
    if "all" in raw.parts:
        rows = draw_splits(targets["all"], SEED)
        features, targets, ids = (
            {part: arrays["all"][chosen] for part, chosen in rows.items()}
            for arrays in (features, targets, ids)
        )
        shares = "60 % training, 20 % validation and 20 % test"
        notes = (f"splits: {shares}, drawn by iterative stratification, seed {SEED}",)
    elif "validation" not in raw.parts:
        drawn = stratified_draw(targets["train"], validation_share, SEED)
        share = f"{validation_share:.0%} of the training file"
        notes = (f"validation: {share}, drawn by iterative stratification, seed {SEED}",)
    inputs, mean, scale = prepare(features, protocol, drawn)
    targets, ids = divide(targets, drawn), divide(ids, drawn)
    splits = {
        part: Split(torch.from_numpy(x), torch.from_numpy(targets[part]), tuple(ids[part].tolist()))
        for part, x in inputs.items()
    }
    return HierarchicalDataset(
        name,
        raw.hierarchy,
        torch.tensor([node not in not_evaluated for node in raw.hierarchy.names]),
        "vector",
        **splits,
        sources=sources,
        notes=notes,
        feature_mean=torch.from_numpy(mean),
        feature_scale=torch.from_numpy(scale),
    )
