"""Export and the way back."""

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch

from hmc_shared.data import HierarchicalDataset, ImageTable, load_dataset
from hmc_shared.data.formats.hf_export import export


@pytest.fixture(params=["digits", "digit-vectors", "digit-scenes", "toy", "pictures", "cropped"])
def dataset(
    request: pytest.FixtureRequest,
    write_set: Callable[..., object],
    pictures: HierarchicalDataset,
    tmp_path: Path,
) -> HierarchicalDataset:
    if request.param == "pictures":
        return pictures
    if request.param == "cropped":
        return cropped(pictures)
    if request.param == "toy":
        write_set(
            classes="root/GO0003674,GO0003674/01,root/02,02/01/02".replace("02/01/02", "02/01"), rows=TOY
        )
        return load_dataset("toy", tmp_path)
    if request.param == "digit-vectors":
        return load_dataset("digits")
    return load_dataset(request.param, view="image")


TOY = {part: ["1,?,red,4,01", "2,3,red,4,02"] for part in ("train", "valid", "test")}


@pytest.fixture
def pictures(tmp_path: Path, encode: Callable[..., bytes]) -> HierarchicalDataset:
    """Images of different sizes, kept encoded."""
    for name, quality in (("one/é", 90), ("two", 70)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            path = tmp_path / "pictures" / name / f"{number}.jpg"
            path.write_bytes(encode((9 + number, 20 - number), "jpeg", quality=quality))
    return load_dataset(f"folder:{tmp_path / 'pictures'}")


def cropped(dataset: HierarchicalDataset) -> HierarchicalDataset:
    boxes = np.array([1, 2, 7, 9], dtype=np.int32)
    splits = {
        name: replace(split, inputs=split.inputs.crop(np.tile(boxes, (len(split), 1))))
        for name, split in dataset.splits.items()
    }
    return replace(dataset, **splits)


def test_round_trip_bit_for_bit(dataset: HierarchicalDataset, tmp_path: Path) -> None:
    export(dataset, tmp_path / "out")
    back = load_dataset(f"hf:{tmp_path / 'out'}")
    assert (back.name, back.kind, back.checksum) == (dataset.name, dataset.kind, dataset.checksum)
    assert (back.sources, back.notes) == (dataset.sources, dataset.notes)
    for statistic in ("feature_mean", "feature_scale"):
        before, after = getattr(dataset, statistic), getattr(back, statistic)
        if before is None:
            assert after is None
        else:
            assert before.dtype == after.dtype == torch.float64
            assert torch.equal(before, after)
    assert back.hierarchy == dataset.hierarchy
    assert back.evaluated.equal(dataset.evaluated)
    for name, split in dataset.splits.items():
        other = back.splits[name]
        if isinstance(split.inputs, ImageTable):
            assert len(other.inputs) == len(split.inputs)
            assert other.inputs.sizes.tolist() == split.inputs.sizes.tolist()
            for row in range(len(split)):
                assert other.inputs.encoded(row) == split.inputs.encoded(row)
                assert other.inputs[row].equal(split.inputs[row])
        else:
            assert other.inputs.dtype == split.inputs.dtype
            assert other.inputs.numpy().tobytes() == split.inputs.numpy().tobytes()  # NaN stays NaN
        assert other.targets.equal(split.targets)
        assert (other.ids, other.captions) == (split.ids, split.captions)


def test_statistics_keep_every_digit(tmp_path: Path) -> None:
    dataset = load_dataset("digits")
    mean = torch.tensor([0.1, 1 / 3, 5e-324, 1.7e308] * 16, dtype=torch.float64)
    scale = torch.tensor([math.inf, 1.0, math.pi, 2**-1074] * 16, dtype=torch.float64)
    export(replace(dataset, feature_mean=mean, feature_scale=scale), tmp_path / "out")
    back = load_dataset(f"hf:{tmp_path / 'out'}")
    assert torch.equal(back.feature_mean, mean)
    assert torch.equal(back.feature_scale, scale)
    json.loads((tmp_path / "out" / "dataset.json").read_text(), parse_constant=pytest.fail)  # plain JSON


def test_names_of_columns_and_published_counts_come_back(tmp_path: Path) -> None:
    dataset = load_dataset("digits")
    names = tuple(f"pixel {i}, é" for i in range(64))
    counts = torch.arange(len(dataset.hierarchy))
    export(replace(dataset, feature_names=names, published_counts=counts), tmp_path / "out")
    back = load_dataset(f"hf:{tmp_path / 'out'}")
    assert back.feature_names == names
    assert torch.equal(back.train_counts, counts)


def test_an_export_is_a_folder_that_datasets_reads(tmp_path: Path) -> None:
    import datasets

    dataset = load_dataset("digits")
    export(dataset, tmp_path / "out")
    table = datasets.load_from_disk(str(tmp_path / "out"))["test"]
    names = json.loads((tmp_path / "out" / "hierarchy.json").read_text())["nodes"]
    row = table[0]
    assert row["id"] == dataset.test.ids[0]
    assert row["inputs"] == dataset.test.inputs[0].tolist()
    assert [names[i] for i in row["labels"]] == [
        names[i] for i in dataset.test.targets[0].nonzero().flatten()
    ]


def test_exported_pictures_are_pictures_to_datasets(pictures: HierarchicalDataset, tmp_path: Path) -> None:
    import datasets

    export(cropped(pictures), tmp_path / "out")
    table = datasets.load_from_disk(str(tmp_path / "out"))["train"]
    row = table[3]
    assert (row["id"], row["box"]) == (pictures.train.ids[3], [1, 2, 7, 9])
    image = np.asarray(row["image"].convert("RGB"))
    np.testing.assert_array_equal(image, pictures.train.inputs[3].permute(1, 2, 0))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "dataset.json",
        "dataset_dict.json",
        "hierarchy.json",
        "test",
        "train",
        "validation",
    ]


def test_an_export_needs_neither_source_nor_cache(
    pictures: HierarchicalDataset, tmp_path: Path, own_cache: Path
) -> None:
    export(pictures, tmp_path / "out")
    expected = pictures.test.inputs[0]
    shutil.rmtree(own_cache)
    shutil.rmtree(tmp_path / "pictures")
    (tmp_path / "out").rename(tmp_path / "moved")
    assert load_dataset(f"hf:{tmp_path / 'moved'}").test.inputs[0].equal(expected)


def test_a_truncated_export_of_pictures_is_refused(pictures: HierarchicalDataset, tmp_path: Path) -> None:
    export(pictures, tmp_path / "out")
    (path,) = (tmp_path / "out" / "test").glob("*.arrow")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"out is not a folder that `hmc datasets export` wrote: ."):
        load_dataset(f"hf:{tmp_path / 'out'}")


def test_a_folder_with_files_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="should be a new or an empty folder"):
        export(load_dataset("digits"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "damage", ["hierarchy.json", "dataset.json", "train", "dataset_dict.json", "arrow", "shape"]
)
def test_damaged_folders_are_refused_by_name(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "out"
    export(load_dataset("digits"), folder)
    if damage == "train":
        (folder / "train").rename(folder / "training")
    elif damage == "arrow":
        (path,) = (folder / "test").glob("*.arrow")
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "shape":
        rest = folder / "dataset.json"
        rest.write_text(rest.read_text().replace("64", "63"))
    else:
        (folder / damage).unlink()
    with pytest.raises(ValueError, match=r"out is not a folder that `hmc datasets export` wrote: ."):
        load_dataset(f"hf:{folder}")


def test_a_hub_repository_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    export(load_dataset("digits"), tmp_path / "snapshot")
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, repo_type: {"me/digits": tmp_path / "snapshot"}[name],
    )
    assert load_dataset("hf:me/digits").checksum == load_dataset("digits").checksum

    def offline(*_: object, **__: object) -> str:
        raise OSError("no network\nand more lines")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ValueError, match=r"^'hf:me/other' is neither a folder nor on the hub: no network"):
        load_dataset("hf:me/other")


@pytest.mark.parametrize("levels", [None, "kind"])
def test_a_hub_that_is_not_reached_is_not_asked_again(monkeypatch, levels) -> None:
    asked = []

    def refused(_self: object, request: object, **_: object) -> None:
        asked.append(request)
        raise OSError("no network")

    monkeypatch.setattr(type(huggingface_hub.get_session()), "send", refused)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it is tried again"))
    with pytest.raises(ValueError, match="nothere"):
        load_dataset("hf:nothere", levels=levels)
    assert len(asked) <= 2
    assert not datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize(("has", "wants"), [("vector", "image"), ("image", "vector")])
def test_a_folder_has_the_view_that_was_exported(
    tmp_path: Path, has: Literal["vector", "image"], wants: Literal["vector", "image"]
) -> None:
    export(load_dataset("digits", view=has), tmp_path / "out")
    assert load_dataset(f"hf:{tmp_path / 'out'}").kind == has
    assert load_dataset(f"hf:{tmp_path / 'out'}", view=has).kind == has
    with pytest.raises(ValueError, match=r"`--dataset` should have .* Found the .* of 'hf:"):
        load_dataset(f"hf:{tmp_path / 'out'}", view=wants)


def test_pictures_have_no_number_of_features_and_no_vector_view(
    pictures: HierarchicalDataset, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"images of 'pictures' differ in size: they have no number of"):
        _ = pictures.num_features
    with pytest.raises(ValueError, match=r"`--dataset` should have feature vectors. Found the images"):
        load_dataset(f"folder:{tmp_path / 'pictures'}", view="vector")
    assert load_dataset(f"FOLDER:{tmp_path / 'pictures'}", view="image").kind == "image"
