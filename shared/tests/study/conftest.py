"""Programs of methods that need no torch."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hmc_shared.study import local, programs

# Three steps of progress, then the run folder that a fixture made before. It remembers its steps, as a
# checkpoint does, and counts its starts.
METHOD = """#!{python}
import pathlib, shutil, sys, time
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
folder, seed = pathlib.Path(options["--output-dir"]), options["--seed"]
with open("{templates}/starts", "a") as file:
    file.write(f"{{folder}}\\n")
template = pathlib.Path("{templates}", "{name}", f"seed-{{seed}}")
if options.get("--mode") == "broken":
    sys.exit("{name}: error: no such option")
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.yaml").touch()
state = folder / "steps"
done = int(state.read_text()) if state.exists() else 0
print(f"from step {{done}}", flush=True)
for step in range(done, 3):
    print(f"\\r{name} step {{step + 1}}/3", end="", file=sys.stderr, flush=True)
    time.sleep({seconds})
    state.write_text(str(step + 1))
print("\\n{name}: all metrics")
shutil.copytree(template, folder, dirs_exist_ok=True)
"""


@pytest.fixture
def starts(make_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two programs on the PATH, ``quick`` and ``slow``; returns the file with a line for each start."""
    folder, templates = tmp_path / "bin", tmp_path / "templates"
    folder.mkdir()
    for name, seconds in {"quick": 0.01, "slow": 0.4}.items():
        for seed in range(3):
            template = make_run(name, seed, folder=templates / name / f"seed-{seed}")
            content = json.loads((template / "results.json").read_text())
            content["command"] = f"{name} train --seed {seed}"
            (template / "results.json").write_text(json.dumps(content))
        text = METHOD.format(python=sys.executable, templates=templates, name=name, seconds=seconds)
        program = folder / name
        program.write_text(text)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    programs.find_program.cache_clear()
    return templates / "starts"


@pytest.fixture(autouse=True)
def no_preload(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of these tests need no torch: importing it for them would be most of their time."""
    monkeypatch.setattr(local, "PRELOAD", ())
