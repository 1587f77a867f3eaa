"""Whatever goes wrong with a file, wherever: the next start goes on, and ends with the same bits.

``HMC_FAULTS=all`` tries every event of the file system; without it, some of each method.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import FAULTS, digest, leftovers, run
from PIL import Image

SAMPLE = 2
"""Events of each method and fault that are tried without ``HMC_FAULTS=all``."""
SMALL = "--checkpoint-every 1 --epochs 2"
IMAGES = "--encoder resnet8 --width 8 --dim 4 --image-size 8 --workers 0"
STUDENT = "--student small --layers 1 --image-size 32 --workers 0"
COMMANDS = {
    "hlstm": f"--dataset toy_FUN --hidden-size 4 {SMALL}",
    "hcal": f"--dataset folder:images {IMAGES} {SMALL}",
    "mulsupcon_ld": f"--dataset folder:images {IMAGES} --pretrain-epochs 1 {SMALL}",
    "hp_dval": f"--dataset folder:images {STUDENT} --prompt-epochs 1 {SMALL}",
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)  # before a fork


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where experiments write, with the data that they read beside it."""
    write_clus(tmp_path / "data")
    write_images(tmp_path / "images")
    monkeypatch.setenv("HMC_CACHE", str(tmp_path / "work" / "cache"))
    monkeypatch.setenv("HMC_DATA", str(tmp_path / "data"))
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def write_clus(folder: Path) -> None:
    folder.mkdir()
    head = "@relation t\n@attribute x numeric\n@attribute class hierarchical a/b,a/c\n@data\n"
    for part in ("train", "valid", "test"):
        rows = "".join(f"{i % 5},{'a/b' if i % 2 else 'a/c'}\n" for i in range(16))
        (folder / f"toy_FUN.{part}.arff").write_text(head + rows)


def write_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("animal/cat", "animal/dog"):
        (folder / label).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")


def training(package: str, place: Path, *more: str) -> Callable[[], None]:
    """A function that trains as the command does."""
    options = COMMANDS[package].replace("folder:images", f"folder:{place.parent / 'images'}").split()
    main = import_module(f"{package}.__main__").main
    return lambda: main(["train", *options, "--output-dir", str(place / "run"), *more])


@pytest.mark.parametrize("package", COMMANDS)
def test_a_fault_at_any_event_costs_nothing_but_time(package, place, subtests):
    training(package, place)()  # in this process, so that it has imported all that the forks need
    shutil.rmtree(place / "run")
    shutil.rmtree(place / "cache")
    clean = run(training(package, place), place)
    assert clean.code == 0, clean.text
    expected, events = digest(place / "run"), clean.events
    assert events > 10
    everything = os.environ.get("HMC_FAULTS") == "all"
    places = (
        range(1, events + 1) if everything else np.linspace(1, events, SAMPLE + 2)[1:-1].round().astype(int)
    )
    for fault in FAULTS:
        for at in places:
            with subtests.test(fault=fault, at=int(at)):
                shutil.rmtree(place)
                place.mkdir()
                failed = run(training(package, place), place, fault, int(at))
                assert "Traceback" not in failed.text
                assert failed.code < 0 if fault in ("kill",) else failed.code in (0, 1, 2, -25)
                plain = run(training(package, place), place)
                is_refused = plain.code == 2 and "pass --resume" in plain.text
                assert plain.code == 0 or is_refused, plain.text
                if is_refused:
                    resumed = run(training(package, place, "--resume"), place)
                    assert resumed.code == 0, resumed.text
                assert digest(place / "run") == expected
                assert leftovers(place) == []
