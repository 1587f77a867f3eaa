"""`cifar100`: the 60,000 images of CIFAR-100, 100 fine classes below 20 coarse ones."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmc_shared.data.dataset import HierarchicalDataset, Split, targets_with_ancestors
from hmc_shared.data.preprocessing import divide, stratified_sample
from hmc_shared.data.storage.find import find_folder
from hmc_shared.hierarchy import Hierarchy

OFFICIAL_MD5 = {
    "meta": "7973b15100ade9c7d40fb424638fde48",
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
}
VALIDATION_SHARE, VALIDATION_SEED = 0.1, 0


def load(data_dir: str | Path) -> HierarchicalDataset:
    """Read the official ``cifar-100-python`` folder; 50 training images of each fine class are validation.

    Inputs are (n, 3, 32, 32) uint8. Classes are in the official order: ids 0 to 19 are the coarse labels, 20
    to 119 the fine ones. Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.

    Raises ValueError if the folder is missing, if a file does not have its official MD5 sum, and if the
    labels are not a tree.
    """
    folder = find_folder("cifar100", data_dir)
    contents, sources = read_pickles(folder)
    hierarchy = build_hierarchy(contents, folder)
    coarse = contents["meta"]["coarse_label_names"]
    pixels, targets, ids = {}, {}, {}
    for part in ("train", "test"):
        content = contents[part]
        pixels[part] = content["data"].reshape(-1, 3, 32, 32)
        nodes = [len(coarse) + label for label in content["fine_labels"]]
        targets[part] = targets_with_ancestors(nodes, hierarchy).numpy()
        ids[part] = np.array([f"{part}-{row}" for row in range(len(nodes))])  # file names repeat
    held_out = stratified_sample(targets["train"][:, len(coarse) :], VALIDATION_SHARE, VALIDATION_SEED)
    pixels, targets, ids = (divide(arrays, held_out) for arrays in (pixels, targets, ids))
    splits = {}
    for part in ("train", "validation", "test"):
        inputs, with_ancestors = torch.from_numpy(pixels[part]), torch.from_numpy(targets[part])
        splits[part] = Split(inputs, with_ancestors, tuple(ids[part].tolist()))
    share = f"{VALIDATION_SHARE:.0%} of the training images"
    return HierarchicalDataset(
        name="cifar100",
        hierarchy=hierarchy,
        evaluated=torch.ones(len(hierarchy), dtype=torch.bool),
        kind="image",
        **splits,
        sources=sources,
        notes=(f"validation: {share}, the same number of each fine class, seed {VALIDATION_SEED}",),
    )


def read_pickles(folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The contents of meta, train and test, and their SHA-256. Raises ValueError for unofficial files.

    A pickle can run code: none is opened before its checksum is known to be the official one.
    """
    contents, sources = {}, {}
    for name, official in OFFICIAL_MD5.items():
        path = folder / name
        content = path.read_bytes()
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != official:
            raise ValueError(f"{path} is not the official file: its MD5 sum is not {official}.")
        contents[name] = pickle.loads(content, encoding="latin1")
        sources[name] = hashlib.sha256(content).hexdigest()
    return contents, sources


def build_hierarchy(contents: dict[str, dict[str, Any]], folder: Path) -> Hierarchy:
    """The coarse labels with the fine ones below. Raises ValueError if they are not a tree."""
    coarse, fine = contents["meta"]["coarse_label_names"], contents["meta"]["fine_label_names"]
    parent_of = one_parent_each([contents["train"], contents["test"]], len(fine), folder)
    edges = [(coarse[parent], name) for name, parent in zip(fine, parent_of, strict=True)]
    return Hierarchy.from_edges(edges, nodes=[*coarse, *fine])


def one_parent_each(parts: list[dict[str, Any]], classes: int, folder: Path) -> list[int]:
    """The coarse label of each fine label. Raises ValueError where samples disagree."""
    pairs = {
        pair
        for content in parts
        for pair in zip(content["fine_labels"], content["coarse_labels"], strict=True)
    }
    parent_of = dict(sorted(pairs))
    if len(pairs) != classes or list(parent_of) != list(range(classes)):
        raise ValueError(f"{folder}: each fine label should have one coarse label. Found {len(pairs)} pairs.")
    return list(parent_of.values())
