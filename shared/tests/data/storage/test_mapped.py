"""Large tables are mapped from the cache: the same data set, parsed once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.formats import table as reader

ROWS = 40


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table with missing values, categories and an edge list; however small, it counts as large."""
    monkeypatch.setattr(reader, "LARGE", 0)
    rng = np.random.default_rng(0)
    lines = ["id,x,colour,labels,split"]
    for row in range(ROWS):
        x = "" if row == 3 else f"{rng.normal():.9f}"
        lines.append(f"r{row},{x},{'red' if row % 3 else 'blue'},{'a|b' if row % 2 else 'c'},train")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "t.csv").write_text("\n".join(lines))
    (tmp_path / "mine" / "edges.csv").write_text("parent,child\ntop,a\ntop,b\n,c\n")
    return tmp_path / "mine" / "t.csv"


def load(table: Path, **options) -> HierarchicalDataset:
    return load_dataset(f"table:{table}", **options)


def entries(own_cache: Path) -> list[Path]:
    return sorted(path for path in own_cache.iterdir() if path.is_dir())


def assert_equal(one: HierarchicalDataset, other: HierarchicalDataset) -> None:
    for name in ("name", "hierarchy", "kind", "sources", "notes", "feature_names", "checksum"):
        assert getattr(one, name) == getattr(other, name)
    for name in ("evaluated", "feature_mean", "feature_scale"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0)
    for part, split in one.splits.items():
        assert split.ids == other.splits[part].ids
        assert torch.equal(split.targets, other.splits[part].targets)
        np.testing.assert_array_equal(split.inputs, other.splits[part].inputs)
        assert split.inputs.dtype == other.splits[part].inputs.dtype


@pytest.mark.parametrize("protocol", ["default", "paper"])
def test_the_mapped_set_is_the_one_that_was_read(table, monkeypatch, protocol):
    options = {"protocol": protocol, "categorical": ("colour",)}
    first = load(table, **options)
    with monkeypatch.context() as patch:
        patch.setattr(reader, "open_table", lambda path: pytest.fail("parsed again"))
        again = load(table, **options)
    monkeypatch.setattr(reader, "LARGE", 2**25)
    in_memory = load(table, **options)
    assert_equal(first, in_memory)
    assert_equal(again, in_memory)


def test_rows_are_mapped_and_the_files_never_written(table, own_cache):
    dataset = load(table)
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(own_cache / entries(own_cache)[0].name / "train-inputs.npy") in maps.read_text()
    before = dataset.train.inputs.clone()
    dataset.train.inputs.zero_()
    np.testing.assert_array_equal(load(table).train.inputs, before)


def test_whatever_the_result_depends_on_has_an_entry_of_its_own(table, own_cache):
    load(table)
    for number, change in enumerate(
        [
            lambda: load(table, protocol="paper"),
            lambda: load(table, categorical=("colour",)),
            lambda: load(table, levels=["colour", "labels"]),
            lambda: (table.with_name("edges.csv").write_text("parent,child\na,b\n,c\n"), load(table)),
            lambda: (table.write_text(table.read_text().replace("r0,", "first,")), load(table)),
        ],
        start=2,
    ):
        change()
        assert len(entries(own_cache)) == number
    load(table)
    assert len(entries(own_cache)) == number


@pytest.mark.parametrize("damage", ["gone", "cut", "text", "other ids", "index"])
def test_a_damaged_entry_is_rebuilt(table, own_cache, damage):
    before = load(table)
    (entry,) = entries(own_cache)
    if damage == "gone":
        (entry / "test-targets.npy").unlink()
    elif damage == "cut":
        content = (entry / "train-inputs.npy").read_bytes()
        (entry / "train-inputs.npy").unlink()  # not changed in place: it is mapped
        (entry / "train-inputs.npy").write_bytes(content[:-5])
    elif damage == "text":
        (entry / "statistics.npy").write_text("no array")
    elif damage == "other ids":
        ids = json.loads((entry / "ids.json").read_text())
        (entry / "ids.json").write_text(json.dumps(ids | {"train": ids["train"][::-1]}))
    else:
        (entry / "index.json").write_text("{}")
    assert_equal(load(table), before)


def test_without_a_place_for_the_cache_the_rows_stay_in_memory(table, own_cache):
    own_cache.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="could not be written, the sources will be parsed again"):
        assert len(load(table).train) > 0


def test_a_small_table_leaves_nothing_in_the_cache(table, own_cache, monkeypatch):
    monkeypatch.setattr(reader, "LARGE", table.stat().st_size + 1)
    load(table)
    assert not own_cache.exists()
