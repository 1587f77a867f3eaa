"""Scenes of photographs: on small files of the format of CIFAR-100, and of the official ones."""

import hashlib
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.benchmarks import cifar100, cifar_scenes
from hmc_shared.data.benchmarks.cifar_scenes import GREY, halve, read_photographs
from hmc_shared.metrics.ranking import head_medium_tail

FINE, COARSE = ["aquarium_fish", "bee", "oak_tree", "elm", "ant"], ["plant", "animal"]
PARENT_OF = [1, 1, 0, 0, 1]
PLACES = {"top left": (0, 0), "top right": (0, 32), "bottom left": (32, 0), "bottom right": (32, 32)}
THING = re.compile(r"a (small|large) ([a-z ]+) at the (\w+ \w+)")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small ``cifar-100-python`` whose MD5 sums are taken for the official ones."""
    (tmp_path / "cifar-100-python").mkdir()
    contents: dict[str, dict] = {"meta": {"fine_label_names": FINE, "coarse_label_names": COARSE}}
    rng = np.random.default_rng(0)
    for part, size in {"train": 100, "test": 15}.items():
        labels = (rng.permutation(size) % 5).tolist()
        contents[part] = {
            "data": rng.integers(0, 256, (size, 3072), dtype=np.uint8),
            "fine_labels": labels,
            "coarse_labels": [PARENT_OF[label] for label in labels],
        }
    for name, content in contents.items():
        path = tmp_path / "cifar-100-python" / name
        path.write_bytes(pickle.dumps(content))
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        monkeypatch.setitem(cifar100.OFFICIAL_MD5, name, md5)
    for part, size in {"train": 120, "validation": 50, "test": 60}.items():
        monkeypatch.setitem(cifar_scenes.SIZES, part, size)
    return tmp_path


def things(dataset: HierarchicalDataset, part: str) -> list[dict[str, tuple[str, str]]]:
    """Of each scene, by its caption: place -> (size, class)."""
    things = []
    for caption in dataset.splits[part].captions:
        matches = [THING.fullmatch(thing) for thing in re.split(", | and ", caption)]
        things.append({match[3]: (match[1], match[2].replace(" ", "_")) for match in matches if match})
        assert len(things[-1]) == len(matches)
    return things


def test_scenes_show_what_captions_and_targets_say(folder: Path) -> None:
    dataset = load_dataset("CIFAR-Scenes", folder)
    assert (dataset.name, dataset.kind) == ("cifar-scenes", "image")
    assert dataset.hierarchy == load_dataset("cifar100", folder).hierarchy
    photographs = read_photographs(folder)
    for part, split in dataset.splits.items():
        large = {
            image.tobytes(): FINE[label]
            for label, images in enumerate(photographs.parts[part])
            for image in images
        }
        small = {
            image.tobytes(): FINE[label]
            for label, images in enumerate(photographs.parts[part])
            for image in halve(images)
        }
        assert split.inputs.shape == (cifar_scenes.SIZES[part], 3, 64, 64)
        assert dataset.hierarchy.has_ancestors(split.targets)
        for image, target, scene in zip(split.inputs, split.targets, things(dataset, part), strict=True):
            names = {dataset.hierarchy.names[node] for node in target.nonzero().flatten()}
            assert names == {n for _, n in scene.values()} | {
                COARSE[PARENT_OF[FINE.index(n)]] for _, n in scene.values()
            }
            pixels = image.permute(1, 2, 0).numpy().copy()
            for place, (size, name) in scene.items():
                y, x = PLACES[place]
                quarter = pixels[y : y + 32, x : x + 32]
                if size == "large":
                    assert large[quarter.tobytes()] == name
                    quarter[:] = GREY
                    continue
                views = {(i, j): quarter[i : i + 16, j : j + 16] for i in range(17) for j in range(17)}
                (place_found,) = [at for at, view in views.items() if view.tobytes() in small]
                assert small[views[place_found].tobytes()] == name
                views[place_found][:] = GREY
            assert (pixels == GREY).all()


def test_parts_share_no_photograph_and_halves_are_by_class(folder: Path) -> None:
    parts = read_photographs(folder).parts
    assert {part: [len(images) for images in classes] for part, classes in parts.items()} == {
        "captions": [10] * 5,
        "train": [8] * 5,
        "validation": [2] * 5,
        "test": [3] * 5,
    }
    seen = [image.tobytes() for classes in parts.values() for images in classes for image in images]
    assert len(set(seen)) == len(seen) == 115
    content = pickle.loads((folder / "cifar-100-python" / "train").read_bytes())
    order = {content["data"][row].tobytes(): row for row in range(100)}
    for label in range(5):
        rows = {
            part: [order[image.transpose(2, 0, 1).tobytes()] for image in parts[part][label]]
            for part in ("captions", "train", "validation")
        }
        assert max(rows["captions"]) < min(rows["train"])
        assert max(rows["train"]) < min(rows["validation"])
        assert all(content["fine_labels"][row] == label for part in rows.values() for row in part)


def test_halving_rounds_the_mean() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
    halved = halve(images)
    assert halved.shape == (3, 2, 3, 3)
    mean = images[1, 2:4, 4:6, 0].astype(float).mean()
    assert abs(halved[1, 1, 2, 0] - mean) <= 0.5
    assert halve(np.full((1, 2, 2, 3), 255, dtype=np.uint8)).max() == 255


def test_the_same_every_time(folder: Path) -> None:
    first, second = (load_dataset("cifar-scenes", folder) for _ in range(2))
    assert first.checksum == second.checksum
    assert first.train.inputs.equal(second.train.inputs)
    assert len({name for split in first.splits.values() for name in split.ids}) == 230


@pytest.mark.data
def test_official_scenes(official_folder: Path) -> None:
    dataset = load_dataset("cifar-scenes", official_folder)
    assert {part: len(split) for part, split in dataset.splits.items()} == cifar_scenes.SIZES
    fine = slice(20, 120)
    groups = head_medium_tail(dataset.train_counts[fine])
    assert all(members.sum() >= 20 for members in groups.values())
    assert dataset.train_counts.min() > 0
    for part in ("validation", "test"):
        counts = dataset.splits[part].targets[:, fine].sum(0)
        assert counts.max() < 2.5 * counts.min()
    for targets in (split.targets for split in dataset.splits.values()):
        numbers = np.bincount(targets[:, fine].sum(1), minlength=5)
        assert numbers[0] == 0
        assert numbers[1:].min() > 0.2 * numbers.sum()
    assert [len(images) for images in read_photographs(official_folder).parts["captions"]] == [250] * 100
    assert dataset.sources["scenes"].startswith("f0b3906e96eacc5f")
