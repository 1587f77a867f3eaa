"""What a user without the extra `images` meets."""

import builtins
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hmc_shared.data import load_dataset
from hmc_shared.data.formats.hf_export import export
from hmc_shared.data.presence import available

NAMES = (
    *("grocery", "fgvc-aircraft", "fgvc-aircraft-boxes", "coco", "coco2017-tree", "mirflickr", "nuswide21"),
    *("voc2012", "folder:things", "labels:things"),
)


@pytest.fixture
def without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    find = builtins.__import__

    def refuse(name: str, *rest: object) -> object:
        if name.split(".")[0] == "PIL":
            raise ModuleNotFoundError("No module named 'PIL'", name="PIL")
        return find(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.usefixtures("without_pillow")
@pytest.mark.parametrize("name", NAMES)
def test_image_sets_say_what_to_install(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^.+ needs Pillow: pip install hmc-shared\[images\]$"):
        load_dataset(name, tmp_path)


@pytest.mark.usefixtures("without_pillow")
def test_other_sets_need_no_pillow(tmp_path: Path) -> None:
    assert load_dataset("digits", view="image").kind == "image"
    assert ("grocery", "images", "") in available(tmp_path)
    with pytest.raises(ValueError, match="cifar100 is not under"):
        load_dataset("cifar100", tmp_path)


def test_an_exported_image_set_says_what_to_install(
    tmp_path: Path, encode: Callable[..., bytes], request: pytest.FixtureRequest
) -> None:
    for name in ("a", "b"):
        (tmp_path / "toy" / name).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "toy" / name / f"{number}.png").write_bytes(encode((2, 3)))
    export(load_dataset(f"folder:{tmp_path / 'toy'}"), tmp_path / "out")
    request.getfixturevalue("without_pillow")
    with pytest.raises(ValueError, match=r"out needs Pillow: pip install hmc-shared\[images\]$"):
        load_dataset(f"hf:{tmp_path / 'out'}")
