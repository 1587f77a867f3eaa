"""Studies that are interrupted, killed, started twice; and what is said of a program that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec, module_from_spec
from pathlib import Path

import pytest

import hmc_shared
from hmc_shared.study.local import LocalWorkers
from hmc_shared.study.records import Task, killed

PLAN = """
datasets: [toy]
methods:
  slow: slow train
  quick: {command: quick train, options: {mode: fine}}
  absent: no-such-method train
seeds: [0, 1]
metrics: [au_prc, "accuracy_level_*"]
"""
SOURCE = Path(hmc_shared.__file__).parents[1]
QUICK_START = """
from hmc_shared.study import local
from hmc_shared.__main__ import main
local.PRELOAD = ()  # the programs of these tests need no torch
main()
"""


def background(*words: object, alone: bool = False, preload: bool = False) -> subprocess.Popen[str]:
    """``hmc`` as a terminal starts it: of what runs in the background, a shell lets SIGINT be ignored."""
    start = ("-m", "hmc_shared") if preload else ("-c", QUICK_START)
    return subprocess.Popen(
        [sys.executable, *start, *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        start_new_session=alone,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_killed_it_leaves_what_is_done_and_goes_on(starts, hmc, write_plan, capfd, tmp_path, sent, code):
    path = write_plan(PLAN)
    folder = tmp_path / "runs" / "study"
    first = background("study", "run", path, "--jobs", 1, "--output", folder)
    running = folder / "toy" / "slow" / "seed-1"
    wait_for(running / "steps", first)  # slow 0 and quick 0 are done
    first.send_signal(sent)
    _, err = first.communicate(timeout=60)
    assert first.returncode == code
    if sent != signal.SIGKILL:
        assert "2 of 4 runs have ended; the same command goes on from there" in err
    time.sleep(0.5)  # what a killed study leaves behind ends by itself
    steps = (running / "steps").read_text()
    time.sleep(1)  # a run that was left behind would go on
    assert (running / "steps").read_text() == steps < "3"
    kept = {run: run.stat().st_mtime_ns for run in folder.glob("toy/*/seed-0/*")}
    assert len(kept) > 4
    assert hmc("study", "status", path) == 0
    assert ["toy", "slow", "1", "1", "-"] in [line.split() for line in capfd.readouterr().out.splitlines()]

    assert hmc("study", "run", path, "--jobs", 1) == 0
    out, err = capfd.readouterr()
    assert [line.split(": ")[0] for line in err.splitlines() if line.startswith("[")] == [
        "[3/4] toy/slow/seed-1",
        "[4/4] toy/quick/seed-1",
    ]
    assert (folder / "logs" / "toy" / "slow" / "seed-1.log").read_text().startswith(f"from step {steps}\n")
    assert {run: run.stat().st_mtime_ns for run in kept} == kept
    assert out.startswith("toy, protocol default")


def forkserver_of(study: subprocess.Popen[str]) -> int:
    """The process from which runs are forked, as Linux names it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{study.pid}/task/{study.pid}/children").read_text().split():
            if "forkserver import main" in Path(f"/proc/{child}/cmdline").read_text():
                return int(child)
        time.sleep(0.02)
    raise AssertionError


ON_LINUX = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds a process by /proc")


@ON_LINUX
@pytest.mark.usefixtures("starts")
def test_ctrl_c_while_it_still_imports_is_no_traceback(write_plan, tmp_path):
    """A terminal sends the signal to all processes, also to that from which runs are forked."""
    study = background(
        "study", "run", write_plan(PLAN), "--output", tmp_path / "runs", alone=True, preload=True
    )
    wait_for(tmp_path / "runs" / "logs" / "toy" / "slow" / "seed-0.json", study)
    server = forkserver_of(study)
    time.sleep(0.5)
    os.killpg(study.pid, signal.SIGINT)
    assert study.wait(timeout=60) == 130
    os.kill(server, signal.SIGKILL)  # else it ends once it has imported all
    _, err = study.communicate(timeout=60)
    assert "Traceback" not in err
    assert "the same command goes on from there" in err


@ON_LINUX
@pytest.mark.usefixtures("starts")
def test_that_the_process_which_starts_runs_was_killed_is_said(hmc, write_plan, tmp_path, capfd):
    path = write_plan("datasets: [toy]\nmethods: {slow: slow train}")
    study = background("study", "run", path, "--output", tmp_path / "runs", "--jobs", 1)
    wait_for(tmp_path / "runs" / "toy" / "slow" / "seed-0" / "steps", study)
    os.kill(forkserver_of(study), signal.SIGKILL)
    _, err = study.communicate(timeout=60)
    assert "lost its parent, from which runs are started: it was killed" in err
    assert "255" not in err


def test_what_a_signal_ended_is_said_by_its_name():
    assert killed(-9) == "was killed by SIGKILL, as where memory runs out"
    assert killed(-11) == "was killed by SIGSEGV"
    assert killed(-200) == "was killed by signal 200"
    assert killed(1) == killed(0) == ""


@pytest.mark.parametrize("ask", [LocalWorkers.kill, LocalWorkers.stop])
@pytest.mark.parametrize("words", [("true",), ("sleep", "60")], ids=["has ended", "just begins"])
def test_a_run_may_be_asked_to_end_at_any_moment(tmp_path, ask, words):
    workers = LocalWorkers(jobs=1, programs=[])
    task = Task("toy/one/seed-0", tmp_path, words)
    task.log.parent.mkdir(parents=True)
    workers.start(task)
    if words == ("true",):
        workers._running[task][0].join()  # and `wait` has not been called
    ask(workers, [task])
    (ended,) = workers.wait(30)
    assert ended[0] == task
    assert (ended[1] == 0) == (words == ("true",))


def test_the_module_is_imported_where_there_are_no_such_signals(monkeypatch):
    """As on Windows."""
    for name in ("SIGUSR1", "SIGKILL"):
        monkeypatch.delattr(signal, name)
    monkeypatch.delattr(os, "killpg")
    spec = find_spec("hmc_shared.study.local")
    assert spec
    assert spec.loader
    spec.loader.exec_module(module := module_from_spec(spec))
    assert module.KILL == signal.SIGTERM


def test_two_starts_share_the_runs(starts, write_plan, tmp_path):
    path = write_plan(PLAN.replace("[0, 1]", "[0, 1, 2]"))
    both = [background("study", "run", path, "--jobs", 1, "--output", tmp_path / "runs") for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.startswith("toy, protocol default")
    counts = Counter(starts.read_text().splitlines())
    assert len(counts) == 6
    assert set(counts.values()) == {1}


TORCHRUN = """m: bar 3/10
m: error: `--epochs` should be at least 1
W1128 20:19:12.102000 5473 torch/distributed/elastic/multiprocessing/api.py:1028] Sending closing signal
E1128 20:19:12.216000 5473 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 2)
Traceback (most recent call last):
Failures:
[1]:
  exitcode  : -15 (pid: 5481) (SIGTERM)
Root Cause (first observed failure):
[0]:
  exitcode  : {}
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================
"""


def test_the_report_of_torchrun_is_not_what_the_program_said(tmp_path):
    task = Task("toy/method/seed-0", tmp_path, ("method",), processes=2)
    task.log.parent.mkdir(parents=True)
    task.log.write_text(TORCHRUN.format("2 (pid: 5480)"))
    assert task.failure(1) == "failed with exit code 1: m: error: `--epochs` should be at least 1"
    task.log.write_text(TORCHRUN.format("-9 (pid: 5480) (SIGKILL)"))
    assert task.last_lines()[-2:] == [
        "m: error: `--epochs` should be at least 1",
        "exitcode  : -9 (pid: 5480) (SIGKILL)",
    ]


def test_a_second_ctrl_c_ends_a_deaf_program(starts, write_plan, tmp_path):
    program = tmp_path / "bin" / "deaf"
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"path = pathlib.Path({str(tmp_path / 'beats')!r})\n"
        "for beat in range(200):\n    path.write_text(str(beat))\n    time.sleep(0.1)\n"
    )
    program.chmod(0o755)
    path = write_plan("datasets: [toy]\nmethods: {m: deaf train}")
    study = background("study", "run", path, "--output", tmp_path / "runs")
    wait_for(tmp_path / "beats", study)
    study.send_signal(signal.SIGINT)
    time.sleep(1.5)
    study.send_signal(signal.SIGINT)
    study.communicate(timeout=60)
    time.sleep(1)
    beat = (tmp_path / "beats").read_text()
    time.sleep(1)
    assert (tmp_path / "beats").read_text() == beat
