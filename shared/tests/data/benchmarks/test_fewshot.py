"""Few-shot settings, on small folders of the layouts of VOC and COCO."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmc_shared.data import load_dataset
from hmc_shared.data.benchmarks.fewshot import COCO_NOVEL, EPISODES, VOC_NOVEL, sample_support
from hmc_shared.data.benchmarks.voc import CLASSES as VOC
from hmc_shared.data.benchmarks.voc_coco_lt import COCO

Encode = Callable[..., bytes]
NOVEL = {"voc2007": VOC_NOVEL, "coco2014": COCO_NOVEL}
SIZES = {"train": 150, "val": 20, "test": 40}


def names_of(number: int, classes: tuple[str, ...]) -> set[str]:
    """Each class once in every twenty images or less often, and others at random."""
    others = np.random.default_rng(number).integers(0, len(classes), number % 3)
    return {classes[number % len(classes)], *(classes[i] for i in others)}


@pytest.fixture
def voc(tmp_path: Path, encode: Encode) -> Path:
    folder = tmp_path / "VOCdevkit" / "VOC2007"
    for below in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (folder / below).mkdir(parents=True)
    numbers = iter(range(1000))
    for part, size in SIZES.items():
        images = [next(numbers) for _ in range(size)]
        (folder / "ImageSets/Main" / f"{part}.txt").write_text("".join(f"{i:06d}\n" for i in images))
        for i in images:
            objects = "".join(f"<object><name>{name}</name></object>" for name in names_of(i, VOC))
            (folder / "Annotations" / f"{i:06d}.xml").write_text(f"<annotation>{objects}</annotation>")
            (folder / "JPEGImages" / f"{i:06d}.jpg").write_bytes(encode((i + 1, 2), "jpeg"))
    return tmp_path


@pytest.fixture
def coco(tmp_path: Path, encode: Encode) -> Path:
    """Images in no order of their ids, and episodes of LaSO for one shot."""
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    categories = [{"id": i + 1, "name": name, "supercategory": "thing"} for i, name in enumerate(COCO)]
    numbers = np.random.default_rng(0).permutation(200).tolist()
    parts = {"train2014": numbers[:160], "val2014": numbers[160:]}
    for stem, images in parts.items():
        (tmp_path / "coco" / stem).mkdir()
        for i in images:
            (tmp_path / "coco" / stem / f"{i:06d}.jpg").write_bytes(encode((i + 1, 2), "jpeg"))
        content = {
            "images": [{"id": i, "file_name": f"{i:06d}.jpg"} for i in images],
            "categories": categories,
            "annotations": [
                {"image_id": i, "category_id": COCO.index(name) + 1, "bbox": [0, 0, 1, 1]}
                for i in images
                for name in names_of(i, COCO)
            ],
        }
        (tmp_path / "coco" / "annotations" / f"instances_{stem}.json").write_text(json.dumps(content))
    has = {name: [name in names_of(i, COCO) for i in parts["train2014"]] for name in COCO_NOVEL}
    positions = {str(COCO.index(name)): [row.index(True)] for name, row in has.items() if any(row)}
    assert len(positions) > 12
    (tmp_path / "splits" / "fewshot").mkdir(parents=True)
    runs = {"1shot_run1": {"class_to_positions": positions}}
    (tmp_path / "splits" / "fewshot" / "coco_laso.json").write_text(json.dumps({"runs": runs}))
    return tmp_path


@pytest.mark.parametrize("name", ["voc2007", "coco2014"])
def test_base_images_have_no_novel_class(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name[:-4])
    whole, base = load_dataset(name, folder), load_dataset(f"{name}-BASE", folder)
    novel = [whole.hierarchy.index[label] for label in NOVEL[name]]
    assert base.name == f"{name}-base"
    assert base.hierarchy == whole.hierarchy
    assert (~base.evaluated).nonzero().flatten().tolist() == sorted(novel)
    for part, split in base.splits.items():
        assert not split.targets[:, novel].any()
        every = whole.splits[part]
        kept = [row for row in range(len(every)) if not every.targets[row, novel].any()]
        assert split.ids == tuple(every.ids[row] for row in kept)
        assert split.targets.equal(every.targets[kept])
        assert split.inputs[3].shape[1] == int(Path(split.ids[3]).stem) + 1


@pytest.mark.parametrize("shots", [1, 5])
def test_support_sets_of_voc_have_each_novel_class_as_often_as_they_say(voc: Path, shots: int) -> None:
    whole = load_dataset("voc2007", voc)
    novel = [whole.hierarchy.index[label] for label in VOC_NOVEL]
    assert whole.training_split("default") is whole.train
    assert whole.training_split("paper").ids == whole.train.ids + whole.validation.ids
    seen = set()
    for run in (1, 2, EPISODES):
        episode = load_dataset(f"voc2007-{shots}shot-{run}", voc)
        assert episode.name == f"voc2007-{shots}shot-{run}"
        assert episode.train.targets[:, novel].sum(0).tolist() == [shots] * 6
        assert set(episode.train.ids) <= set(whole.train.ids)
        assert episode.evaluated.nonzero().flatten().tolist() == sorted(novel)
        assert episode.validation is episode.train
        assert episode.training_split("paper") is episode.train  # each image once
        assert episode.test.targets[:, novel].any(1).all()
        assert len(episode.test) == whole.test.targets[:, novel].any(1).sum()
        for row, image in enumerate(episode.train.ids):
            names = {VOC[node] for node in episode.train.targets[row].nonzero().flatten()}
            assert names == names_of(int(Path(image).stem), VOC)
        again = load_dataset(f"voc2007-{shots}shot-{run}", voc)
        assert (again.train.ids, again.checksum) == (episode.train.ids, episode.checksum)
        seen.add(episode.checksum)
    assert len(seen) == 3


def test_support_sets_of_coco_are_the_published_positions(coco: Path) -> None:
    episode = load_dataset("coco2014-1shot-1", coco)
    runs = json.loads((coco / "splits/fewshot/coco_laso.json").read_text())["runs"]
    images = json.loads((coco / "coco/annotations/instances_train2014.json").read_text())["images"]
    listed = {p for rows in runs["1shot_run1"]["class_to_positions"].values() for p in rows}
    expected = {f"train2014/{images[p]['file_name']}" for p in listed}
    assert set(episode.train.ids) == expected
    assert episode.evaluated.sum() == 16
    for row, image in enumerate(episode.train.ids):
        names = {COCO[node] for node in episode.train.targets[row].nonzero().flatten()}
        assert names == names_of(int(Path(image).stem), COCO)
    assert {"coco_laso.json", "support set"} <= episode.sources.keys()


def test_positions_that_do_not_fit_are_refused(coco: Path) -> None:
    path = coco / "splits/fewshot/coco_laso.json"
    runs = json.loads(path.read_text())["runs"]
    positions = runs["1shot_run1"]["class_to_positions"]
    label = next(iter(positions))
    for wrong in (positions[label][0] + 1, 999):
        changed = {**positions, label: [wrong]}
        path.write_text(json.dumps({"runs": {"1shot_run1": {"class_to_positions": changed}}}))
        with pytest.raises(ValueError, match=rf"coco_laso\.json: the image at {wrong} in .* has no"):
            load_dataset("coco2014-1shot-1", coco)
    with pytest.raises(ValueError, match=r"coco_laso\.json has no 5shot_run2 of LaSO: KeyError"):
        load_dataset("coco2014-5shot-2", coco)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"coco_laso\.json:1: damaged JSON"):
        load_dataset("coco2014-1shot-1", coco)
    path.unlink()
    with pytest.raises(ValueError, match=r"need fewshot/coco_laso\.json"):
        load_dataset("coco2014-1shot-1", coco)


@pytest.mark.parametrize("name", ["voc2007-2shot-1", "voc2007-1shot-11", "voc2007-1shot-0", "coco2014-bases"])
def test_unknown_settings_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"A few-shot setting should be .* Found '{name}'"):
        load_dataset(name, tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.floats(0.0, 0.5), st.integers(0, 2**31 - 1))
def test_every_class_has_exactly_so_many_samples(shots: int, classes: int, density: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    alone = np.eye(classes, dtype=bool).repeat(shots, 0)  # so that it can be done
    targets = rng.permutation(np.concatenate([alone, rng.random((60, classes)) < density]))
    rows = sample_support(targets, shots, seed)
    assert len(set(rows.tolist())) == len(rows)
    assert targets[rows].sum(0).tolist() == [shots] * classes


def test_too_many_shots_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`shots` should leave enough rows of every class. Found 3"):
        sample_support(np.eye(4, dtype=bool).repeat(2, 0), 3, seed=0)


@pytest.mark.data
def test_novel_classes_are_the_published_ones() -> None:
    folder = Path(os.environ["HMC_DATA"], "splits", "fewshot")
    voc = json.loads((folder / "voc2007_classes.json").read_text())
    assert (tuple(voc["novel_names"]), voc["novel"]) == (VOC_NOVEL, [VOC.index(name) for name in VOC_NOVEL])
    laso = json.loads((folder / "coco_laso.json").read_text())
    assert tuple(laso["novel_names"]) == COCO_NOVEL
    assert laso["novel"] == [COCO.index(name) for name in COCO_NOVEL]
    assert {f"{k}shot_run{run}" for k in (1, 5) for run in range(1, EPISODES + 1)} == laso["runs"].keys()
    for run in laso["runs"].values():
        positions = run["class_to_positions"]
        assert sorted(map(int, positions)) == laso["novel"]
        assert {p for rows in positions.values() for p in rows} == set(run["used_positions"])
