"""The command line that a run folder keeps."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import hmc_shared
from hmc_shared.cli.options import command_line

SOURCE = Path(hmc_shared.__file__).parents[1]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["/env/bin/hlstm", "train"], "hlstm train"),
        (["C:/env/hlstm.exe", "train", "--seed", "1"], "hlstm train --seed 1"),
        (
            ["hcal", "train", "--output-dir", "a b", "--dataset", "folder:a b"],
            "hcal train --dataset 'folder:a b'",
        ),
        (
            ["hcal", "train", "--output_dir=x", "--resume", "--seed=2", "--no-overwrite"],
            "hcal train --seed=2",
        ),
        (["hcal", "train", "--seed", "3", "--overwrite", "--output-dir"], "hcal train --seed 3"),
        (["hcal", "sweep", "--gamma", "1"], None),
        (["/env/bin/pytest"], None),
    ],
)
def test_a_command_is_kept_without_where_it_writes(monkeypatch, argv, expected):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert command_line() == expected


@pytest.mark.parametrize(("module", "words"), [("method.train", []), ("method", ["train"])])
def test_a_module_is_started_as_it_was(tmp_path, module, words):
    package = tmp_path / "method"
    package.mkdir()
    code = "from hmc_shared.cli.options import command_line\nprint(command_line())\n"
    for name in ("__init__", "__main__", "train"):
        (package / f"{name}.py").write_text("" if name == "__init__" else code)
    arguments = [*words, "--seed", "4", "--resume"]
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{SOURCE}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert shlex.split(done.stdout) == ["python", "-m", module, *arguments[:-1]]
