"""Half of the labels cut to an ancestor: used where they are known, or their rows dropped.

Each method trains on whole labels, on the cut ones, and on the rows that kept theirs; the test labels are
whole. The same seeds, options and rows throughout.
"""

import argparse
import tempfile
from dataclasses import replace
from importlib import import_module

import numpy as np
import torch

from hmc_shared.data import HierarchicalDataset, Split, load_dataset
from hmc_shared.metrics.levels import level_targets

OPTIONS = {
    "hlstm": {"max_levels": 1, "global_weight": 0.9, "prior_bias": True, "partial_labels": True},
    "chmcnn": {"method": "chmcnn", "prior_bias": True, "partial_labels": True},
    "hcal": {"encoder": "mlp", "epochs": 30},
    "flat": {"encoder": "mlp", "epochs": 30, "method": "flat"},
}


def cut(dataset: HierarchicalDataset, split: Split, seed: int) -> tuple[Split, np.ndarray]:
    """Half of the rows with their label moved up to an ancestor, any with equal chance; and which rows."""
    random = np.random.default_rng(seed)
    paths = level_targets(split.targets, dataset.hierarchy)  # (n, L), -1 below the end
    length = (paths >= 0).sum(1)
    is_cut = (random.random(len(paths)) < 0.5) & (length > 1)
    kept = np.where(is_cut, 1 + np.floor(random.random(len(paths)) * (length - 1)).astype(int), length)
    targets = torch.zeros_like(split.targets)
    for depth in range(paths.shape[1]):
        rows = np.flatnonzero(depth < kept)
        targets[rows, paths[rows, depth]] = True
    return replace(split, targets=targets), is_cut


def accuracy(name: str, dataset: HierarchicalDataset, seed: int) -> float:
    """Of the deepest class on test rows, after training."""
    package = "hcal" if name in ("hcal", "flat") else "hlstm"
    config, train = import_module(f"{package}.config").Config, import_module(f"{package}.train").train
    with tempfile.TemporaryDirectory() as folder:
        return train(config(seed=seed, output_dir=f"{folder}/run", **OPTIONS[name]), dataset)["metrics"][
            "test/accuracy_leaf"
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="products")
    parser.add_argument("--data-dir")
    parser.add_argument("--methods", nargs="+", default=list(OPTIONS), choices=list(OPTIONS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    print("method    whole    cut      dropped  loss of cut / loss of dropped")
    for name in arguments.methods:
        found = []
        for seed in arguments.seeds:
            whole = load_dataset(arguments.dataset, arguments.data_dir, view="vector")
            train, cut_rows = cut(whole, whole.train, seed)
            validation, cut_validation = cut(whole, whole.validation, seed + 1)
            partly = replace(whole, train=train, validation=validation)
            fewer = replace(
                whole,
                train=whole.train.select(np.flatnonzero(~cut_rows)),
                validation=whole.validation.select(np.flatnonzero(~cut_validation)),
            )
            found.append([accuracy(name, dataset, seed) for dataset in (whole, partly, fewer)])
        full, partial, dropped = np.mean(found, 0)
        ratio = (full - partial) / (full - dropped)
        print(f"{name:10}{full:.4f}   {partial:.4f}   {dropped:.4f}   {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
