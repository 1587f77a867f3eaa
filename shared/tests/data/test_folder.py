"""Export and the way back."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hmc_shared.data import HierarchicalDataset, export, load_dataset


@pytest.fixture(params=["digits", "digit-scenes", "toy"])
def dataset(
    request: pytest.FixtureRequest, write_set: Callable[..., object], tmp_path: Path
) -> HierarchicalDataset:
    if request.param == "toy":
        write_set(
            classes="root/GO0003674,GO0003674/01,root/02,02/01/02".replace("02/01/02", "02/01"), rows=TOY
        )
        return load_dataset("toy", tmp_path)
    return load_dataset(request.param, view="image")


TOY = {part: ["1,?,red,4,01", "2,3,red,4,02"] for part in ("train", "valid", "test")}


def test_round_trip_bit_for_bit(dataset: HierarchicalDataset, tmp_path: Path) -> None:
    export(dataset, tmp_path / "out")
    back = load_dataset(f"hf:{tmp_path / 'out'}")
    assert (back.name, back.kind, back.checksum) == (dataset.name, dataset.kind, dataset.checksum)
    assert (back.sources, back.notes) == (dataset.sources, dataset.notes)
    for statistic in ("feature_mean", "feature_scale"):
        before, after = getattr(dataset, statistic), getattr(back, statistic)
        assert (before is None and after is None) or torch.equal(before, after)
    assert back.hierarchy == dataset.hierarchy
    assert back.evaluated.equal(dataset.evaluated)
    for name, split in dataset.splits.items():
        other = back.splits[name]
        assert other.inputs.dtype == split.inputs.dtype
        assert other.inputs.equal(split.inputs)
        assert other.targets.equal(split.targets)
        assert (other.ids, other.captions) == (split.ids, split.captions)


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
    import huggingface_hub

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
    with pytest.raises(ValueError, match=r"^'hf:me/other' is neither a folder nor on the hub: no network$"):
        load_dataset("hf:me/other")


def test_a_folder_of_vectors_has_no_image_view(tmp_path: Path) -> None:
    export(load_dataset("digits"), tmp_path / "out")
    with pytest.raises(ValueError, match=r"`view` should be 'vector' .*Found 'image'"):
        load_dataset(f"hf:{tmp_path / 'out'}", view="image")
