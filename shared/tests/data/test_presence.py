"""Data sets that are not there are told as their readers tell them, without reading a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from hmc_shared.data import load_dataset
from hmc_shared.data.presence import find_source
from hmc_shared.data.storage import hub
from hmc_shared.runs.missing_data import check_data_set


@dataclass(frozen=True)
class Reads:
    dataset: str | None = None
    run: str = "no-run"
    data_dir: str | None = None


@pytest.mark.parametrize(
    "name", ["gone", "cellcycle_FUN", "voc2007", "voc2007-1shot-1", "coco", "yeast", "tabel:rows.csv"]
)
def test_published_sets_are_told_as_their_readers_tell_them(name, tmp_path, monkeypatch):
    for data_dir in (None, tmp_path):
        monkeypatch.delenv("HMC_DATA", raising=False)
        with pytest.raises(ValueError, match=r".") as of_reader:
            load_dataset(name, data_dir)
        with pytest.raises(ValueError, match=r".") as caught:
            find_source(name, data_dir)
        assert str(caught.value) == str(of_reader.value)


def test_what_is_there_passes_unread(tmp_path, monkeypatch):
    monkeypatch.delenv("HMC_DATA", raising=False)
    (tmp_path / "damaged.csv").write_text("")
    (tmp_path / "meta").mkdir()
    for name in (
        "digits",
        "Products",
        f"table:{tmp_path}/damaged.csv",
        f"HF:{tmp_path}",
        f"folder:{tmp_path}",
    ):
        find_source(name)
    for part in ("train", "test"):
        (tmp_path / f"toy-{part}.arff").write_text("")
        (tmp_path / "toy.xml").write_text("")
    find_source("toy", tmp_path)


@pytest.mark.parametrize("has_levels", [False, True])
def test_a_hub_that_is_not_reached_is_told_unless_the_set_was_kept(monkeypatch, tmp_path, has_levels):
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    hub.hub_answers.cache_clear()
    with pytest.raises(ValueError, match=r"^'hf:me/MyRows' is no folder, and the hub is not reached\.$"):
        find_source("hf:me/MyRows", has_levels=has_levels)
    with pytest.raises(ValueError, match=r"^'hf:../rows' is neither a folder nor on the hub: Repo id"):
        find_source("hf:../rows", has_levels=has_levels)
    (tmp_path / "me___my_rows").mkdir()
    if has_levels:
        find_source("hf:me/MyRows", has_levels=True)


def test_a_command_that_names_no_set_reads_that_of_its_run(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("dataset: table:gone.csv\n")
    with pytest.raises(ValueError, match=r"^table:gone\.csv: there is no such file"):
        check_data_set(Reads(run=str(tmp_path)))
    check_data_set(Reads("digits", run=str(tmp_path)))
    check_data_set(Reads())  # of a model without a run: told when it is opened
