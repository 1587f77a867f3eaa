"""Studies on Ray: two workers on this machine, of which one is killed."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time

import pytest

from hmc_shared.study.programs import find_program

ray = pytest.importorskip("ray")

# Ten steps, of which it remembers each; it ends with the process that started it, as real ones do.
METHOD = """#!{python}
import os, pathlib, shutil, sys, time
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
folder, seed, parent = pathlib.Path(options["--output-dir"]), options["--seed"], os.getppid()
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.yaml").touch()
(folder / "parent").write_text(str(parent))
state = folder / "steps"
done = int(state.read_text()) if state.exists() else 0
print(f"from step {{done}}", flush=True)
for step in range(done, 10):
    time.sleep(0.3)
    if os.getppid() != parent:
        sys.exit(1)
    state.write_text(str(step + 1))
shutil.copytree(pathlib.Path("{templates}", f"seed-{{seed}}"), folder, dirs_exist_ok=True)
"""


def test_a_run_whose_worker_is_killed_goes_on(make_run, hmc, write_plan, tmp_path, monkeypatch, capfd):
    folder, templates = tmp_path / "bin", tmp_path / "templates"
    folder.mkdir()
    for seed in range(3):
        make_run("steady", seed, folder=templates / f"seed-{seed}")
    program = folder / "steady"
    program.write_text(METHOD.format(python=sys.executable, templates=templates))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    find_program.cache_clear()
    path = write_plan("datasets: [toy]\nmethods: {steady: steady train}\nseeds: [0, 1, 2]")
    run = tmp_path / "runs" / "study" / "toy" / "steady" / "seed-0"
    before = []

    def kill_its_worker() -> None:
        while not (run / "steps").exists() or int((run / "steps").read_text() or 0) < 3:
            time.sleep(0.05)
        os.kill(int((run / "parent").read_text()), signal.SIGKILL)
        before.append((run / "steps").read_text())

    thread = threading.Thread(target=kill_its_worker, daemon=True)
    thread.start()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert hmc("study", "run", path, "--on", "ray") == 0
    finally:
        ray.shutdown()
    out, _ = capfd.readouterr()
    assert ["steady", "3"] in [line.split()[:2] for line in out.splitlines()]
    log = tmp_path / "runs" / "study" / "logs" / "toy" / "steady" / "seed-0.log"
    first = log.read_text().splitlines()[0]  # of the last start; a step may end while its worker is killed
    assert int(before[0]) <= int(first.removeprefix("from step ")) < 10


def test_no_cluster_at_an_address_is_one_line(hmc, write_plan, capfd, monkeypatch):
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "1")
    path = write_plan("datasets: [toy]\nmethods: {m: sh train}")
    assert hmc("study", "run", path, "--on", "ray", "--address", "no such place") == 2
    assert "`--address` should be of a running Ray cluster" in capfd.readouterr().err
