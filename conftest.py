"""Shared by the tests of every package."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

DOCS = Path(__file__).parent / "docs"
COMMANDS = {"hmc": "hmc_shared", "hcal": "hcal", "hlstm": "hlstm", "mulsupcon-ld": "mulsupcon_ld"}


@pytest.fixture
def run_page(tmp_path: Path) -> Callable[[str, str], Path]:
    """``run_page(page, section)`` runs the code blocks of a section of a page of the documentation.

    In order, in one empty folder, which it returns; a block that fails ends the test. Commands are those of
    this interpreter's packages, installed or not.
    """
    scripts, folder = tmp_path / "bin", tmp_path / "work"
    scripts.mkdir()
    folder.mkdir()
    for name, module in COMMANDS.items():
        (scripts / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (scripts / name).chmod(0o755)
    path = os.pathsep.join([str(scripts), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "HMC_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}

    def run(page: str, section: str) -> Path:
        text = (DOCS / page).read_text(encoding="utf-8")
        _, _, rest = text.partition(f"\n## {section}\n")
        blocks = re.findall(r"^```(bash|python)\n(.*?)^```$", rest.split("\n## ")[0], flags=re.M | re.S)
        assert blocks, f"{page} has no code below {section!r}"
        for language, code in blocks:
            command = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
            done = subprocess.run(
                [*command, code], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        return folder

    return run
