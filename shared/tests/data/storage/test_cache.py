"""The cache: read instead of parsed, made anew when damaged, never half written."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest

from hmc_shared import Hierarchy
from hmc_shared.data import load_dataset
from hmc_shared.data.benchmarks import clus
from hmc_shared.data.formats.hf_export import export
from hmc_shared.data.storage.cache import (
    cache_folder,
    cached,
    cached_labels,
    read_folder,
    save_quietly,
    write_folder,
)
from hmc_shared.data.storage.raw import RawPart, RawSet

SOURCES = {"a.arff": "1"}


@pytest.fixture
def raw() -> RawSet:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(7, 3))
    features[2, 1] = np.nan
    hierarchy = Hierarchy.from_paths(["é/b", "c"])
    parts = {
        "train": RawPart(features, [[0], [1, 2], [2], [0], [1], [2], []]),
        "test": RawPart(features[:1], [[1]]),
    }
    return RawSet(hierarchy, parts)


def refuse() -> RawSet:
    raise AssertionError("parsed although cached")


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_round_trip_is_exact(raw: RawSet, tmp_path: Path) -> None:
    write_folder(raw, tmp_path / "entry")
    back = read_folder(tmp_path / "entry")
    assert back is not None
    assert back.hierarchy == raw.hierarchy
    assert list(back.parts) == ["train", "test"]
    for name, part in raw.parts.items():
        np.testing.assert_array_equal(back.parts[name].features, part.features)
        assert back.parts[name].features.dtype == np.float64
        assert back.parts[name].labels == part.labels


def test_an_entry_is_a_folder_that_datasets_reads(raw: RawSet, tmp_path: Path) -> None:
    write_folder(raw, tmp_path / "entry")
    tables = datasets.load_from_disk(str(tmp_path / "entry"))
    assert {name: table.num_rows for name, table in tables.items()} == {"train": 7, "test": 1}
    assert tables["train"][1]["labels"] == [1, 2]


def test_the_second_time_nothing_is_parsed(raw: RawSet) -> None:
    assert cached("toy 1", SOURCES, lambda: raw) is raw
    assert cached("toy 1", SOURCES, refuse).digest() == raw.digest()


@pytest.mark.parametrize(
    ("reader", "sources"), [("toy 2", SOURCES), ("toy 1", {"a.arff": "2"}), ("boy 1", SOURCES)]
)
def test_other_readers_and_sources_have_other_entries(
    raw: RawSet, reader: str, sources: dict[str, str]
) -> None:
    cached("toy 1", SOURCES, lambda: raw)
    with pytest.raises(AssertionError, match="parsed"):
        cached(reader, sources, refuse)


def test_every_damage_is_noticed_and_repaired(raw: RawSet, own_cache: Path, tmp_path: Path) -> None:
    cached("toy 1", SOURCES, lambda: raw)
    (entry,) = own_cache.iterdir()
    shutil.copytree(entry, tmp_path / "good")
    needed = [path for path in files_of(entry) if path.suffix == ".arrow" or path.name == "index.json"]
    assert len(needed) == 3
    for path in needed:
        content = path.read_bytes()
        middle = content.rfind(raw.parts["test"].features.tobytes()[:8]) if path.suffix == ".arrow" else 30
        damages = [b"", content[: len(content) // 2], content[:middle] + b"\x07" + content[middle + 1 :]]
        for damage in damages:
            path.write_bytes(damage)
            assert read_folder(entry) is None
            assert cached("toy 1", SOURCES, lambda: raw) is raw
            assert cached("toy 1", SOURCES, refuse).digest() == raw.digest()
    path.unlink()
    assert cached("toy 1", SOURCES, lambda: raw) is raw


def lie(file: Path, name: str) -> None:
    """Let the last offset of a column of lists lie far behind its end."""
    content = file.read_bytes()
    table = pa.ipc.open_stream(content).read_all()
    offsets = table[name].chunk(0).offsets.to_numpy().astype("<i4").tobytes()
    end = content.index(offsets) + len(offsets)
    file.write_bytes(content[: end - 4] + (10**8).to_bytes(4, "little") + content[end:])


def test_offsets_that_lie_are_not_followed(raw: RawSet, tmp_path: Path) -> None:
    write_folder(raw, tmp_path / "entry")
    lie(next((tmp_path / "entry" / "train").glob("*.arrow")), "labels")
    assert read_folder(tmp_path / "entry") is None
    rows = datasets.Dataset.from_dict({"x": [0.5] * 6, "labels": [["a"], ["b"]] * 3})
    save_quietly(rows, tmp_path / "saved")
    lie(next((tmp_path / "saved").glob("*.arrow")), "labels")
    with pytest.raises(ValueError, match="neither a folder of `datasets` nor on the hub"):
        load_dataset(f"hf:{tmp_path / 'saved'}", levels="labels")
    export(load_dataset("digits"), tmp_path / "exported")
    lie(next((tmp_path / "exported" / "train").glob("*.arrow")), "labels")
    with pytest.raises(ValueError, match="is not a folder that `hmc datasets export` wrote"):
        load_dataset(f"hf:{tmp_path / 'exported'}")


def test_nothing_is_left_behind_by_a_write_that_fails(
    raw: RawSet, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.warns(UserWarning, match="could not be written.*disk full"):
        assert cached("toy 1", SOURCES, lambda: raw) is raw
    assert list(own_cache.iterdir()) == []


def test_a_parser_that_fails_stores_nothing(own_cache: Path) -> None:
    with pytest.raises(AssertionError, match="parsed"):
        cached("toy 1", SOURCES, refuse)
    assert not own_cache.exists()


def test_two_processes_that_write_at_once_both_succeed(
    raw: RawSet, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def rename_after_another(path: Path, target: Path) -> Path:
        shutil.copytree(path, target)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_after_another)
    assert cached("toy 1", SOURCES, lambda: raw) is raw
    assert len(list(own_cache.iterdir())) == 1
    assert cached("toy 1", SOURCES, refuse).digest() == raw.digest()


def test_a_set_is_parsed_once(
    write_set: Callable[..., dict[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_set()
    first = load_dataset("toy", tmp_path)
    monkeypatch.setattr(clus, "read_set", lambda *_: refuse())
    for protocol in ("default", "paper"):
        again = load_dataset("toy", tmp_path, protocol=protocol)
        assert again.checksum == first.checksum
        assert again.train.targets.equal(first.train.targets)
    files["test"].write_text(files["test"].read_text().replace("5,1", "5,2"))
    with pytest.raises(AssertionError, match="parsed"):
        load_dataset("toy", tmp_path)


def test_labels_are_read_once_and_damage_is_repaired(own_cache: Path, tmp_path: Path) -> None:
    source = tmp_path / "labels.txt"
    source.write_text("a")
    labels = {"é.jpg": [0, 2], "b.jpg": []}
    assert cached_labels("toy 1", [source], lambda: labels) == labels
    assert cached_labels("toy 1", [source], refuse) == labels
    (path,) = files_of(own_cache)
    content = path.read_bytes()
    for damage in (b"", content[:-3], content.replace(b"[0, 2]", b"[0, 1]"), b"\xff" + content):
        path.write_bytes(damage)
        assert cached_labels("toy 1", [source], lambda: labels) == labels
        assert path.read_bytes() == content
    source.write_text("ab")
    for reader in ("toy 1", "toy 2"):
        with pytest.raises(AssertionError, match="parsed"):
            cached_labels(reader, [source], refuse)
    assert files_of(own_cache) == [path]
    source.unlink()
    with pytest.raises(ValueError, match=r"labels\.txt is missing"):
        cached_labels("toy 1", [source], lambda: labels)


def test_labels_that_cannot_be_stored_are_read_all_the_same(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labels.txt").touch()
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.warns(UserWarning, match=r"could not be written.*disk full"):
        assert cached_labels("toy 1", [tmp_path / "labels.txt"], lambda: [1]) == [1]
    assert list(own_cache.iterdir()) == []


def test_the_place_follows_the_environment(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    assert cache_folder() == own_cache
    monkeypatch.delenv("HMC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", os.sep + "xdg")
    assert cache_folder() == Path(os.sep, "xdg", "hmc")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "hmc"
