"""The catalogue: every entry has a reader, names count in any case, other distributions add sets."""

from __future__ import annotations

import inspect
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from hmc_shared.data import catalog, load_dataset
from hmc_shared.data.catalog import CATALOG, EMBEDDED, FORMATS, GROUP, Entry, find_entry
from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.presence import available

OPTIONS = {"name", "path", "data_dir", "view", "protocol", "levels", "files"}


@pytest.mark.parametrize("entry", [*CATALOG.values(), *FORMATS.values()], ids=lambda entry: entry.name)
def test_every_reader_can_be_imported_and_called(entry: Entry) -> None:
    reader = entry.load_reader()
    parameters = inspect.signature(reader).parameters.values()
    needed = {p.name for p in parameters if p.default is inspect.Parameter.empty}
    assert needed <= OPTIONS
    assert entry.shape


@pytest.mark.parametrize("entry", CATALOG.values(), ids=lambda entry: entry.name)
def test_every_entry_says_where_it_is_from(entry: Entry) -> None:
    assert entry.source
    assert entry.licence
    assert entry.kind in ("embedded", "images", "CLUS", "Mulan")
    assert bool(entry.files) == (entry.kind == "images")
    assert all(not Path(file).is_absolute() for file in entry.files)


def test_names_are_known_in_any_case() -> None:
    for name, entry in CATALOG.items():
        assert find_entry(name.upper()) is find_entry(name.lower()) is entry
    assert len({name.lower() for name in CATALOG}) == len(CATALOG)
    assert find_entry("COCO") is CATALOG["coco2014"]
    assert find_entry("no-such-set") is None


@pytest.mark.parametrize("name", ["voc2007-base", "VOC2007-1shot-1", "coco2014-5shot-10"])
def test_few_shot_episodes_have_an_entry_of_their_reader(name: str) -> None:
    entry = find_entry(name)
    assert entry is not None
    assert (entry.name, entry.kind) == (name.lower(), "images")
    assert entry.reader.endswith(".fewshot:load")
    entry.load_reader()


def test_embedded_sets_need_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HMC_DATA", raising=False)
    assert set(EMBEDDED) == {"digits", "digit-scenes", "products"}
    for name in EMBEDDED:
        assert load_dataset(name.upper()).name == name
    with pytest.raises(ValueError, match=r"'grocery' is not an embedded data set \(digits, digit-"):
        load_dataset("grocery")


def test_formats_are_prefixes_in_any_case(tmp_path: Path) -> None:
    assert set(FORMATS) == {"folder", "labels", "table", "hf", "hf with --levels"}
    path = tmp_path / "t.csv"
    path.write_text("x,kind\n" + "".join(f"{row},{'ab'[row % 2]}\n" for row in range(20)))
    for prefix in ("table", "TABLE"):
        dataset = load_dataset(f"{prefix}:{path}", levels="kind")
        assert dataset.hierarchy.names == ("a", "b")
        assert dataset.feature_names == ("x",)
    with pytest.raises(ValueError, match="`--levels` is for hf:PATH, table:PATH and labels:PATH only"):
        load_dataset(f"folder:{tmp_path}", levels="kind")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Another distribution, with a good set and a broken one."""
    module = ModuleType("another_distribution")
    module.calls = []  # type: ignore[attr-defined]

    def load(name: str, view: str, data_dir: str | None) -> HierarchicalDataset:
        module.calls.append((name, view, data_dir))  # type: ignore[attr-defined]
        return load_dataset("digits", view=view)

    module.load = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    points = [
        EntryPoint("My-Set", f"{module.__name__}:load", GROUP),
        EntryPoint("broken", f"{module.__name__}:no_such_name", GROUP),
    ]
    monkeypatch.setattr(catalog, "entry_points", lambda group: points if group == GROUP else [])
    monkeypatch.delenv("HMC_DATA", raising=False)
    return module


def test_a_set_of_another_distribution_is_loaded_by_name(installed: ModuleType, tmp_path: Path) -> None:
    assert load_dataset("my-set").checksum == load_dataset("digits").checksum
    assert load_dataset("MY-SET", tmp_path, view="image").kind == "image"
    assert installed.calls == [("My-Set", "vector", None), ("My-Set", "image", tmp_path)]
    with pytest.raises(ValueError, match="is not an embedded data set"):
        load_dataset("another-set")


def test_it_is_listed(installed: ModuleType) -> None:
    assert ("My-Set", "added", "built in") in available()
    assert installed.calls == []


def test_a_reader_that_cannot_be_imported_is_named(installed: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"^The reader another_distribution:no_such_name of 'broken' "):
        load_dataset("broken")
    with pytest.raises(ValueError, match="The reader no_such_module:load of 'x' "):
        Entry("x", "added", "no_such_module:load").load_reader()


def test_a_wrong_view_or_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`view` should be 'vector' or 'image'\. Found 'picture'\."):
        load_dataset("digits", view="picture")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`protocol` should be 'default' or 'paper'\. Found 'papr'\."):
        load_dataset("digits", protocol="papr")  # type: ignore[arg-type]
