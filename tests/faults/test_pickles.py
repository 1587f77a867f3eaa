"""A pickle runs code when it is read. None does, whatever file of a user it is put into.

``HMC_FAULTS=all`` tries every form of it in every file; without it, they take turns.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import run
from test_faults import write_clus, write_images

from hlstm.__main__ import main as hlstm
from hmc_shared.__main__ import run as hmc
from hmc_shared.cli.commands import exit_codes

SMALL = ("--epochs", "1", "--checkpoint-every", "1", "--hidden-size", "4")


class Planted:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


def forms(canary: Path) -> dict[str, bytes]:
    """The ways in which the formats that we read could hold a pickle."""
    archive, array, arrays = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"weight": Planted(canary)}, archive)
    np.save(array, np.array([Planted(canary)], dtype=object))
    np.savez(arrays, scores=np.array([Planted(canary)], dtype=object))
    return {
        "pickle": pickle.dumps(Planted(canary)),
        "torch": archive.getvalue(),
        "npy": array.getvalue(),
        "npz": arrays.getvalue(),
        "yaml": f"!!python/object/apply:pathlib.Path.touch [{canary}]\n".encode(),
    }


def command(main: Callable[[list[str]], None], *words: object) -> Callable[[], None]:
    return lambda: exit_codes(lambda: main([str(word) for word in words]), "test")


def train_options(at: Path) -> tuple[str, ...]:
    return ("--dataset", "toy_FUN", "--data-dir", str(at / "clus"), *SMALL, "--output-dir", str(at / "run"))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Data sets of most formats, a run, and what the cache keeps."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("made")
    write_clus(root / "clus")
    write_images(root / "images")
    (root / "mulan").mkdir()
    head = "@relation t\n@attribute x numeric\n@attribute l1 {0,1}\n@attribute l2 {0,1}\n@data\n"
    for part in ("train", "test"):
        rows = "".join(f"{i % 3},{i % 2},{1 - i % 2}\n" for i in range(20))
        (root / "mulan" / f"toy-{part}.arff").write_text(head + rows)
    (root / "mulan" / "toy.xml").write_text('<labels><label name="l1"/><label name="l2"/></labels>')
    (root / "table").mkdir()
    (root / "table" / "t.csv").write_text("x,labels\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(20)))
    (root / "table" / "edges.csv").write_text("parent,child\n,a\n,b\n")
    (root / "new").mkdir()
    (root / "new" / "x.csv").write_text("x\n1\n")
    (root / "config").mkdir()
    (root / "config" / "c.yaml").write_text("epochs: 1\n")
    hlstm(["train", *train_options(root)])
    hmc(["datasets", "export", table(root), str(root / "hf")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HMC_CACHE", str(root / "cache"))
        hmc(["datasets", "toy_FUN", "--data-dir", str(root / "clus")])
    return root


def table(at: Path) -> str:
    return f"table:{at / 'table' / 't.csv'}"


CASES: list[tuple[str, Callable[[Path], Callable[[], None]]]] = [
    ("run", lambda at: command(hlstm, "train", "--resume", *train_options(at))),
    ("run", lambda at: command(hmc, "compare", at / "run", "--output", at / "report")),
    ("run", lambda at: command(hmc, "evaluate", at / "run")),
    ("run", lambda at: command(hlstm, "evaluate", at / "run")),
    ("run/model", lambda at: command(hlstm, "predict", at / "run" / "model", at / "new" / "x.csv")),
    ("table", lambda at: command(hmc, "datasets", table(at))),
    ("new", lambda at: command(hlstm, "predict", at / "run", at / "new" / "x.csv")),
    ("images", lambda at: command(hmc, "datasets", f"folder:{at / 'images'}")),
    ("clus", lambda at: command(hmc, "datasets", "toy_FUN", "--data-dir", at / "clus")),
    ("cache", lambda at: command(hmc, "datasets", "toy_FUN", "--data-dir", at / "clus")),
    ("mulan", lambda at: command(hmc, "datasets", "toy", "--data-dir", at / "mulan")),
    ("hf", lambda at: command(hmc, "datasets", f"hf:{at / 'hf'}")),
    (
        "config",
        lambda at: command(
            hlstm, "train", "--config", at / "config" / "c.yaml", *train_options(at), "--overwrite"
        ),
    ),
]
"""A folder of which each file is replaced, and what reads it."""


@pytest.mark.parametrize(("folder", "read"), CASES)
def test_no_file_runs_code(made, tmp_path, monkeypatch, folder, read, subtests):
    shutil.copytree(made, tmp_path / "at")
    monkeypatch.setenv("HMC_CACHE", str(tmp_path / "at" / "cache"))
    files = sorted(path for path in (tmp_path / "at" / folder).rglob("*") if path.is_file())
    assert files
    canary, fine = tmp_path / "canary", run(read(tmp_path / "at"), tmp_path)
    assert fine.code == 0, fine.text
    everything = os.environ.get("HMC_FAULTS") == "all"
    for number, file in enumerate(files[:8] if folder == "images" else files):
        planted = list(forms(canary).items())
        for form, content in planted if everything else [planted[number % len(planted)]]:
            with subtests.test(file=str(file.relative_to(tmp_path / "at")), form=form):
                shutil.rmtree(tmp_path / "at")
                shutil.copytree(made, tmp_path / "at")
                file.write_bytes(content)
                outcome = run(read(tmp_path / "at"), tmp_path)
                assert not canary.exists()
                assert outcome.code in (0, 1, 2)
                assert "Traceback" not in outcome.text, outcome.text
