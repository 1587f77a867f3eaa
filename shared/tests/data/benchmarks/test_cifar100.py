"""The reader of CIFAR-100, on small files of its format and on the official ones."""

import hashlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.benchmarks import cifar100

FINE, COARSE = ["ant", "bee", "oak", "elm"], ["plant", "animal"]
PARENT_OF = {0: 1, 1: 1, 2: 0, 3: 0}
SIZES = {"train": 80, "test": 12}


class Harmful:
    """Unpickling it fails the test."""

    def __reduce__(self) -> tuple:
        return pytest.fail, ("a pickle was opened before its checksum was known",)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small ``cifar-100-python`` whose MD5 sums are taken for the official ones."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    rng = np.random.default_rng(0)
    contents: dict[str, dict] = {"meta": {"fine_label_names": FINE, "coarse_label_names": COARSE}}
    for part, size in SIZES.items():
        labels = rng.permutation(size) % 4
        contents[part] = {
            "data": rng.integers(0, 256, (size, 3072), dtype=np.uint8),
            "fine_labels": labels.tolist(),
            "coarse_labels": [PARENT_OF[label] for label in labels.tolist()],
            "filenames": ["same.png"] * size,
        }
    for name, content in contents.items():
        write(folder / name, content, monkeypatch)
    return folder


def write(path: Path, content: object, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(pickle.dumps(content))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(cifar100.OFFICIAL_MD5, path.name, md5)


def read(path: Path) -> dict:
    return pickle.loads(path.read_bytes())


def test_images_and_labels_are_those_of_the_files(folder: Path) -> None:
    dataset = load_dataset("CIFAR100", folder.parent)
    assert (dataset.name, dataset.kind) == ("cifar100", "image")
    assert dataset.hierarchy.names == ("plant", "animal", "ant", "bee", "oak", "elm")
    assert [dataset.hierarchy.parents(node) for node in range(2, 6)] == [[1], [1], [0], [0]]
    sources = {part: read(folder / part) for part in SIZES}
    seen = []
    for split in dataset.splits.values():
        assert split.inputs.dtype == torch.uint8
        assert dataset.hierarchy.has_ancestors(split.targets)
        for image, target, name in zip(split.inputs, split.targets, split.ids, strict=True):
            part, row = name.split("-")
            source = sources[part]
            red_green_blue = np.asarray(source["data"][int(row)]).reshape(3, 32, 32)
            np.testing.assert_array_equal(image, red_green_blue)
            fine, coarse = source["fine_labels"][int(row)], source["coarse_labels"][int(row)]
            assert target.nonzero().flatten().tolist() == [coarse, 2 + fine]
        seen += split.ids
    assert sorted(seen) == sorted(f"{part}-{row}" for part, size in SIZES.items() for row in range(size))


def test_validation_takes_a_tenth_of_each_class(folder: Path) -> None:
    dataset = load_dataset("cifar100", folder.parent)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 72,
        "validation": 8,
        "test": 12,
    }
    assert dataset.validation.targets[:, 2:].sum(0).tolist() == [2, 2, 2, 2]
    assert all(name.startswith("train-") for name in dataset.validation.ids)
    assert "validation: 10%" in dataset.notes[0]
    assert load_dataset("cifar100", folder.parent).validation.ids == dataset.validation.ids


@pytest.mark.parametrize("place", ["", "below", "further/below"])
def test_the_folder_is_found(folder: Path, tmp_path: Path, place: str) -> None:
    data = tmp_path / "data"
    (data / place).mkdir(parents=True)
    folder.rename(data / place / folder.name)
    assert len(load_dataset("cifar100", data).test) == 12


def test_a_set_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"cifar100 is not under .*: no cifar-100-python/meta there"):
        load_dataset("cifar100", folder)
    (folder / "test").unlink()
    with pytest.raises(ValueError, match=r"cifar-100-python: test of cifar100 is missing"):
        load_dataset("cifar100", folder.parent)
    with pytest.raises(ValueError, match="`data_dir` should be a folder"):
        load_dataset("cifar100", folder.parent / "nowhere")


def test_an_unofficial_pickle_is_not_opened(folder: Path) -> None:
    (folder / "train").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(ValueError, match=r"train is not the official file: its MD5 sum is not \w{32}"):
        load_dataset("cifar100", folder.parent)


def test_a_fine_label_below_two_coarse_ones_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = read(folder / "test")
    content["coarse_labels"][3] = 1 - content["coarse_labels"][3]
    write(folder / "test", content, monkeypatch)
    with pytest.raises(ValueError, match=r"each fine label should have one coarse label. Found 5 pairs"):
        load_dataset("cifar100", folder.parent)


@pytest.fixture(scope="module")
def official(official_folder: Path) -> HierarchicalDataset:
    return load_dataset("cifar100", official_folder)


@pytest.mark.data
def test_official_counts(official: HierarchicalDataset) -> None:
    sizes = {"train": 450, "validation": 50, "test": 100}
    for name, split in official.splits.items():
        assert split.inputs.shape == (100 * sizes[name], 3, 32, 32)
        assert split.targets[:, :20].sum(0).unique().tolist() == [5 * sizes[name]]
        assert split.targets[:, 20:].sum(0).unique().tolist() == [sizes[name]]
    assert len({name for split in official.splits.values() for name in split.ids}) == 60_000


@pytest.mark.data
def test_official_hierarchy(official: HierarchicalDataset) -> None:
    path = Path(os.environ["HMC_DATA"], "splits", "cifar100", "hierarchy.json")
    if not path.is_file():
        pytest.skip(f"needs {path}")
    known = json.loads(path.read_text())
    assert official.hierarchy.names == (*known["coarse"], *known["fine"])
    assert official.hierarchy.edges.tolist() == sorted(
        ([parent, 20 + fine] for fine, parent in enumerate(known["fine_to_coarse"])),
        key=lambda edge: edge[::-1],
    )


@pytest.mark.data
def test_official_images_are_those_of_torchvision(
    official: HierarchicalDataset, official_folder: Path
) -> None:
    from torchvision.datasets import CIFAR100

    known = dict([*CIFAR100.train_list, *CIFAR100.test_list])
    assert known | {"meta": CIFAR100.meta["md5"]} == cifar100.OFFICIAL_MD5
    for part in ("train", "test"):
        oracle = CIFAR100(str(official_folder), train=part == "train", download=False)
        split = official.splits[part]
        rows = [int(name.split("-")[1]) for name in split.ids]
        np.testing.assert_array_equal(split.inputs.permute(0, 2, 3, 1), oracle.data[rows])
        labels = split.targets[:, 20:].int().argmax(1)
        assert labels.tolist() == [oracle.targets[row] for row in rows]
        assert official.hierarchy.names[20:] == tuple(oracle.classes)
