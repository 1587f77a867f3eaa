"""The counts of the real CLUS sets, as measured on the published files by other code."""

import os
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from hmc_shared import Hierarchy
from hmc_shared.data import load_dataset
from hmc_shared.data.formats.arff import parse_arff
from hmc_shared.data.storage.find import find_files
from hmc_shared.data.storage.sources import read_bytes

pytestmark = pytest.mark.data

# set, classes, shape, classes per level by shortest path, features (nominal), train, valid, test, missing
# values, cardinality, classes with test positives, inputs after one-hot encoding
TABLE = """
cellcycle_FUN | 499 | tree | 18/80/178/142/77/4 | 77 (0) | 1628 | 848 | 1281 | 16122 | 8.72 | 440 | 77
derisi_FUN | 499 | tree | 18/80/178/142/77/4 | 63 (0) | 1608 | 842 | 1275 | 0 | 8.76 | 438 | 63
eisen_FUN | 461 | tree | 18/76/165/131/67/4 | 79 (0) | 1058 | 529 | 837 | 3697 | 9.21 | 390 | 79
expr_FUN | 499 | tree | 18/80/178/142/77/4 | 551 (4) | 1639 | 849 | 1291 | 185416 | 8.69 | 440 | 561
gasch2_FUN | 499 | tree | 18/80/178/142/77/4 | 52 (0) | 1639 | 849 | 1291 | 6972 | 8.69 | 440 | 52
seq_FUN | 499 | tree | 18/80/178/142/77/4 | 478 (5) | 1701 | 879 | 1339 | 32 | 8.54 | 441 | 529
spo_FUN | 499 | tree | 18/80/178/142/77/4 | 80 (3) | 1600 | 837 | 1266 | 6751 | 8.74 | 438 | 86
cellcycle_GO | 4122 | DAG | 3/33/174/647/851/1067/744/375/192/33/5/1 | 77 (0) | 1625 | 848 | 1278 | 16136 | 31.68 | 2838 | 77
derisi_GO | 4116 | DAG | 3/33/174/647/850/1065/742/375/191/33/5/1 | 63 (0) | 1605 | 842 | 1272 | 0 | 31.76 | 2832 | 63
eisen_GO | 3570 | DAG | 3/33/167/588/743/898/640/307/162/28/4 | 79 (0) | 1055 | 528 | 835 | 3686 | 34.93 | 2439 | 79
expr_GO | 4128 | DAG | 3/33/174/647/853/1070/745/375/192/33/5/1 | 551 (4) | 1636 | 849 | 1288 | 185383 | 31.61 | 2845 | 561
gasch1_GO | 4122 | DAG | 3/33/174/647/851/1067/744/375/192/33/5/1 | 173 (0) | 1631 | 846 | 1281 | 18067 | 31.64 | 2838 | 173
gasch2_GO | 4128 | DAG | 3/33/174/647/853/1070/745/375/192/33/5/1 | 52 (0) | 1636 | 849 | 1288 | 6975 | 31.61 | 2845 | 52
seq_GO | 4130 | DAG | 3/33/174/647/853/1070/745/377/192/33/5/1 | 478 (5) | 1692 | 876 | 1332 | 32 | 31.40 | 2849 | 529
Diatoms | 398 | tree | 85/310/3 | 371 (0) | 2065 | - | 1054 | 0 | 1.95 | 347 | 371
Enron | 56 | tree | 3/40/13 | 1001 (0) | 988 | - | 660 | 0 | 5.11 | 56 | 1001
ImCLEF07A | 96 | tree | 8/25/63 | 80 (0) | 10000 | - | 1006 | 0 | 3.00 | 96 | 80
"""  # noqa: E501


@dataclass(frozen=True)
class Row:
    name: str
    classes: int
    is_tree: bool
    levels: list[int]
    attributes: str
    sizes: list[str]
    missing: int
    cardinality: str
    tested: int
    inputs: int


def rows() -> list[Row]:
    table = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]
    return [
        Row(
            c[0],
            int(c[1]),
            c[2] == "tree",
            [int(n) for n in c[3].split("/")],
            c[4],
            c[5:8],
            int(c[8]),
            c[9],
            *map(int, c[10:]),
        )
        for c in table
    ]


def levels_by_shortest_path(hierarchy: Hierarchy) -> list[int]:
    distance: list[int] = []
    for node in range(len(hierarchy)):  # parents come before children
        distance.append(min((distance[parent] for parent in hierarchy.parents(node)), default=-1) + 1)
    return np.bincount(distance).tolist()


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_counts(row: Row) -> None:
    folder = os.environ["HMC_DATA"]
    dataset = load_dataset(row.name.lower(), folder)
    hierarchy, evaluated = dataset.hierarchy, dataset.evaluated
    assert dataset.name == row.name
    assert int(evaluated.sum()) == row.classes
    assert len(hierarchy) == row.classes + (0 if row.is_tree else 3)
    assert hierarchy.is_tree == row.is_tree
    assert levels_by_shortest_path(hierarchy) == row.levels
    assert dataset.num_features == row.inputs
    assert all(hierarchy.has_ancestors(split.targets) for split in dataset.splits.values())

    train, valid, test = row.sizes
    assert len(dataset.test) == int(test)
    if valid == "-":
        targets = torch.cat([dataset.train.targets, dataset.validation.targets])
        assert len(targets) == int(train)
        assert len(dataset.validation) == pytest.approx(0.3 * int(train), rel=0.01)
    else:
        targets = dataset.train.targets
        assert (len(targets), len(dataset.validation)) == (int(train), int(valid))
    assert f"{targets[:, evaluated].sum(1).double().mean():.2f}" == row.cardinality
    assert int(dataset.test.targets[:, evaluated].any(0).sum()) == row.tested

    missing = 0
    for path in find_files(row.name, folder)[1].values():
        table = parse_arff(read_bytes(path), path)
        nominal = [len(values) for _, values in table.attributes if values is not None]
        assert f"{len(table.attributes)} ({len(nominal)})" == row.attributes
        # Every value of a nominal attribute is either one column that is 1, or missing.
        present = int(np.isfinite(table.features).sum()) - len(table.lines) * sum(nominal)
        widths = [1 if values is None else len(values) for _, values in table.attributes]
        starts = np.cumsum([0, *widths])
        for (_, values), start in zip(table.attributes, starts, strict=False):
            if values is not None:
                present += int(table.features[:, start : start + len(values)].sum())
        missing += len(table.lines) * len(table.attributes) - present
    assert missing == row.missing


@pytest.mark.parametrize("name", ["cellcycle_FUN", "Enron"])
def test_the_statistics_standardise_the_training_rows(name: str) -> None:
    dataset = load_dataset(name, os.environ["HMC_DATA"])
    x = dataset.train.inputs.double()
    x = ((x - dataset.feature_mean) / dataset.feature_scale).nan_to_num(0)  # missing values count as the mean
    deviation = x.std(0, correction=0)
    assert x.mean(0).abs().max() < 1e-5
    assert torch.logical_or((deviation - 1).abs() < 1e-5, deviation == 0).all()
