"""Studies are run: in processes of their own, interrupted, shared, with failures and missing methods."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec, module_from_spec
from pathlib import Path

import pytest

import hmc_shared
from hmc_shared.cli.train_options import TrainOptions
from hmc_shared.study import plan as plans
from hmc_shared.study import queue as queues
from hmc_shared.study.records import Task, killed
from hmc_shared.study.report import compare_study

SOURCE = Path(hmc_shared.__file__).parents[1]
PLAN = """
datasets: [toy]
methods:
  slow: slow train
  quick: {command: quick train, options: {mode: fine}}
  absent: no-such-method train
seeds: [0, 1]
metrics: [au_prc, "accuracy_level_*"]
"""


def background(*words: object, alone: bool = False) -> subprocess.Popen[str]:
    """``hmc`` as a terminal starts it: of what runs in the background, a shell lets SIGINT be ignored."""
    return subprocess.Popen(
        [sys.executable, "-m", "hmc_shared", *map(str, words)],
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


def test_all_runs_one_table_and_a_line_for_what_is_missing(starts, hmc, write_plan, capfd, tmp_path):
    path = write_plan(PLAN)
    assert hmc("study", "run", path, "--jobs", 2) == 0
    out, err = capfd.readouterr()
    folder = tmp_path / "runs" / "study"
    assert sorted(str(run.parent.relative_to(folder)) for run in folder.glob("*/*/*/results.json")) == [
        f"toy/{label}/seed-{seed}" for label in ("quick", "slow") for seed in (0, 1)
    ]
    lines = out.splitlines()
    assert lines[0] == "toy, protocol default: 60 test samples, 6 evaluated classes"
    levels = [f"accuracy_level_{depth}" for depth in range(3)]
    assert lines[1].split() == [
        "method",
        "seeds",
        "au_prc",
        *levels,
        "parameters",
        "train",
        "s",
        "peak",
        "MiB",
    ]
    assert {lines[2].split()[0], lines[3].split()[0]} == {"quick", "slow"}
    assert lines[4].split(maxsplit=1) == ["absent", "there is no program no-such-method"]
    ended = [line for line in err.splitlines() if line.startswith("[")]
    assert [line.split("]")[0] for line in ended] == [f"[{number}/4" for number in range(1, 5)]
    assert all(": done in " in line for line in ended)
    assert (folder / "logs" / "toy" / "slow" / "seed-1.log").read_text().startswith("from step 0\n")
    assert "no-such-method" in (folder / "report.html").read_text()

    # Once more: nothing runs again.
    before = {run: run.stat().st_mtime_ns for run in folder.glob("toy/*/*/*")}
    assert hmc("study", "run", path) == 0
    again, err = capfd.readouterr()
    assert again == out
    assert "done in" not in err
    assert before == {run: run.stat().st_mtime_ns for run in folder.glob("toy/*/*/*")}
    assert hmc("study", "status", path) == 0
    status = capfd.readouterr().out
    assert "everything is done" in status
    assert ["toy", "quick", "2"] in [line.split() for line in status.splitlines()]

    # With other options it is another study.
    assert hmc("study", "run", path, "--set", "mode=other") == 2
    assert "the plan says --mode other now" in capfd.readouterr().err


@pytest.mark.usefixtures("starts")
def test_a_failed_run_is_told_tried_again_and_the_others_are_compared(hmc, write_plan, capfd, tmp_path):
    path = write_plan(PLAN.replace("slow train", "slow train --mode broken"))
    assert hmc("study", "run", path) == 1
    out, err = capfd.readouterr()
    log = Path("runs", "study", "logs", "toy", "slow", "seed-0.log")
    assert f"toy/slow/seed-0: failed with exit code 1: slow: error: no such option (see {log})" in err
    (line,) = [line for line in out.splitlines() if line.startswith("slow")]
    assert "seed 0 failed with exit code 1: slow: error: no such option" in line
    assert "seed 1 failed" in line
    assert ["quick", "2"] in [line.split()[:2] for line in out.splitlines()]
    assert hmc("study", "status", path) == 0
    assert "failed   toy/slow/seed-0: slow: error: no such option" in capfd.readouterr().out
    write_plan(PLAN)
    assert hmc("study", "run", path) == 0


@pytest.mark.usefixtures("starts")
def test_the_labels_of_the_plan_are_those_of_every_comparison(hmc, write_plan, capfd, tmp_path):
    """Here one program is two labels, with the same options."""
    path = write_plan("datasets: [toy]\nmethods: {first: quick train, second: quick train}\nseeds: [0, 1]")
    assert hmc("study", "run", path) == 0
    assert hmc("study", "run", path, "--output", "other", "--methods", "first", "--seeds", 0) == 0
    capfd.readouterr()
    assert hmc("compare", "runs/study") == 0
    rows = [line.split()[:2] for line in capfd.readouterr().out.splitlines()]
    assert sorted(rows[2:4]) == [["first", "2"], ["second", "2"]]
    os.chdir("runs/study/toy/second/seed-1")
    assert hmc("compare", ".", "../../first") == 0
    rows = [line.split()[:2] for line in capfd.readouterr().out.splitlines()]
    assert sorted(rows[2:4]) == [["first", "2"], ["second", "1"]]
    os.chdir(tmp_path)
    assert hmc("compare", "runs/study", "other") == 0  # rows of two studies are never one
    rows = [line.split()[0] for line in capfd.readouterr().out.splitlines()[2:5]]
    assert sorted(rows) == ["first", "first", "second"]
    runs = [f"runs/study/toy/{label}/seed-0" for label in ("first", "second")]
    assert hmc("difference", *runs, "--resamples", 3) == 0
    assert re.match(r"au_prc: \S+ of first and \S+ of second, difference", capfd.readouterr().out)
    assert hmc("ranks", "runs/study") == 2
    assert "Found 2 methods on 1 data set." in capfd.readouterr().err


@pytest.mark.usefixtures("starts")
def test_nothing_at_all_is_one_line(hmc, write_plan, capfd):
    path = write_plan("datasets: [toy]\nmethods: {hlstm: no-hlstm train}")
    assert hmc("study", "run", path) == 2
    err = capfd.readouterr().err.strip()
    assert (
        err == "hmc: error: There is no finished run to compare: hlstm on toy there is no program no-hlstm."
    )


@pytest.mark.usefixtures("starts")
def test_a_run_waits_for_those_it_names(hmc, write_plan, capfd, tmp_path):
    path = write_plan(
        """
        parts:
        - {datasets: [fine], methods: {second: "quick train --from {toy/first}/model"}}
        - {datasets: [toy], methods: {first: slow train, broken: slow train --mode broken}}
        - {datasets: [toy], methods: {third: "quick train --from {toy/broken}/model"}}
        """
    )
    assert hmc("study", "run", path, "--jobs", 2) == 1
    out, err = capfd.readouterr()
    ended = [line.split(" ")[1] for line in err.splitlines() if line.startswith("[")]
    assert ended == ["toy/broken/seed-0:", "toy/first/seed-0:", "fine/second/seed-0:"]
    assert "third" in out
    assert "needs toy/broken/seed-0, which failed" in out


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
    study = background("study", "run", write_plan(PLAN), "--output", tmp_path / "runs", alone=True)
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


@pytest.mark.usefixtures("starts")
def test_the_demo_is_a_plan_of_installed_methods(hmc, monkeypatch, capfd, tmp_path):
    method = plans.installed_methods  # what is installed here does not matter
    assert callable(method)
    methods = [
        hmc_shared.methods.Method("quick", "quick train", "quick:Model", demo="", demo_minutes=0.1),
        hmc_shared.methods.Method("left-out", "quick train", "quick:Model"),
        hmc_shared.methods.Method("slow", "slow train", "slow:Model", demo="--mode fine", demo_minutes=2),
    ]
    monkeypatch.setattr(plans, "installed_methods", lambda: methods)
    monkeypatch.setattr(plans, "PUBLISHED", ("quick", "no-such-method"))
    demo = plans.read_plan("demo")
    assert [run.place for run in demo.runs[:2]] == ["digits/slow/seed-0", "digits/quick/seed-0"]
    assert demo.runs[0].words == ("slow", "train", "--mode", "fine", "--dataset", "digits")
    assert demo.missing == {"no-such-method": "not installed: pip install no-such-method"}
    assert hmc("demo", "--output", tmp_path / "demo", "--seeds", 0, "--jobs", 2) == 0
    assert "not installed: pip install no-such-method" in capfd.readouterr().out
    assert (tmp_path / "demo" / "digits" / "slow" / "seed-0" / "results.json").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", 1, 1], "`--seeds` should name each once"),
        (["--jobs", 0], "`--jobs` should be at least 1"),
        (["--set", "epochs"], "`--set` should be NAME=VALUE"),
        (["--methods", "sloww"], "`--methods` should be of absent, quick, slow"),
        (["--address", "auto"], "give --on ray as well"),
    ],
)
@pytest.mark.usefixtures("starts")
def test_wrong_words_are_refused(hmc, write_plan, capfd, words, said):
    assert hmc("study", "run", write_plan(PLAN), *words) == 2
    assert said in capfd.readouterr().err


def test_the_last_line_is_the_newest_state_of_a_bar(tmp_path):
    task = Task("toy/method/seed-0", tmp_path, ("method",))
    assert task.last_line == ""
    task.log.parent.mkdir(parents=True)
    task.log.write_bytes(b"first\nbar 1/3\r  bar 2/3")
    assert task.last_line == "bar 2/3"
    assert task.last_lines() == ["first", "bar 1/3", "bar 2/3"]
    task.log.write_bytes(b"x" * 10_000 + b"\r bar 3/3 \xe2\x96\x88\n\n")
    assert task.last_line == "bar 3/3 \N{FULL BLOCK}"


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


@pytest.mark.usefixtures("starts")
def test_methods_are_ranked_over_the_data_sets(hmc, write_plan, capfd, tmp_path):
    """By their labels: here one program is two of them."""
    pytest.importorskip("scikit_posthocs")
    methods = "methods: {first: quick train, second: quick train}\nseeds: [0]"
    path = write_plan(f"datasets: [toy]\n{methods}")
    assert hmc("study", "run", path) == 0
    assert "Ranks" not in capfd.readouterr().out  # of one data set there are none
    results = tmp_path / "templates" / "quick" / "seed-0" / "results.json"
    results.write_text(results.read_text().replace('"name": "toy"', '"name": "other"'))
    path = write_plan(
        "datasets: [toy, other]\nmethods: {first: quick train, second: quick train}\nseeds: [0]"
    )
    assert hmc("study", "run", path) == 0
    out, err = capfd.readouterr()
    rows = [line.split() for line in out.splitlines()]
    assert ["average", "rank", "1.50", "1.50"] in rows
    assert "wrote runs/study/ranks-default.svg" in err
    assert "Ranks, protocol default" in (tmp_path / "runs" / "study" / "report.html").read_text()


@pytest.mark.parametrize(
    ("more", "words", "missing", "said"),
    [
        ("search: {trials: 2}", [], "optuna", "plan needs optuna: pip install 'hmc-shared[search]'."),
        ("", ["--on", "ray"], "ray", "`--on ray` needs ray: pip install 'hmc-shared[cluster]'."),
    ],
)
def test_a_missing_extra_is_one_line(hmc, write_plan, capfd, monkeypatch, more, words, missing, said):
    for module in list(sys.modules):
        if module.startswith(("hmc_shared.study.s", "hmc_shared.study.cluster")) or module == missing:
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    assert hmc("study", "run", write_plan(f"datasets: [toy]\nmethods: {{m: sh train}}\n{more}"), *words) == 2
    assert said in capfd.readouterr().err


@pytest.mark.usefixtures("starts")
def test_a_run_that_had_other_options_is_never_taken_for_this_one(hmc, write_plan, capfd, tmp_path):
    """Another program, another order, no record, a damaged result."""
    folder = tmp_path / "runs" / "study"
    plan = "datasets: [toy]\nmethods: {{m: {}}}\noptions: {{mode: two}}"
    assert hmc("study", "run", write_plan(plan.format("quick train --mode one"))) == 0
    assert hmc("study", "run", write_plan(plan.format("slow train --mode one"))) == 2
    path = write_plan("datasets: [toy]\nmethods: {m: quick train --mode two}\noptions: {mode: one}")
    assert hmc("study", "run", path) == 2
    assert "the plan says --mode one now" in capfd.readouterr().err
    write_plan("datasets: [toy]\nmethods: {m: quick train}")
    assert hmc("study", "run", path) == 2
    assert "the plan says no --mode two now" in capfd.readouterr().err
    write_plan("datasets: [toy]\nmethods: {m: quick train --mode two}\noptions: {mode: one}")
    (folder / "logs" / "toy" / "m" / "seed-0.json").unlink()
    assert hmc("study", "run", path) == 2  # results.json has the command, too
    (folder / "toy" / "m" / "seed-0" / "results.json").write_text('{"schema": ')
    assert hmc("study", "status", path) == 0
    assert "everything is done" not in capfd.readouterr().out
    assert hmc("study", "run", path) == 0


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


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no-such-set", "Unknown data set 'no-such-set'. Embedded or found under {}: "),
        ("cifar100", "cifar100 is not under {}: no cifar-100-python/meta there"),
        ("table:gone.csv", "table:gone.csv: there is no such file or folder."),
    ],
)
def test_a_data_set_that_is_not_there_is_told_once(write_plan, tmp_path, monkeypatch, name, said):
    """Nothing more is started on it; the others go on."""
    monkeypatch.setattr(queues, "train_options", lambda words: TrainOptions)
    plan = plans.read_plan(
        str(
            write_plan(
                f"datasets: [digits, '{name}']\nmethods: {{m: sh train, n: sh train}}\nseeds: [0, 1]\n"
                f"options: {{data_dir: {tmp_path}}}"
            )
        )
    )
    queue = queues.Queue(plan, tmp_path / "study")
    folder = plan.runs[1].dataset
    started = []
    while task := queue.claim():
        started.append(task.place)
        task.log.parent.mkdir(parents=True, exist_ok=True)
        message = said.format(tmp_path) + "more" if folder in task.place else "`--epochs` should be"
        task.log.write_text(f"m: error: {message} and two folders below.\n")
        queue.ended(task, len(started) % 2 + 1, 1.0)  # torchrun gives 1 for any
    assert [place for place in started if folder in place] == [f"{folder}/m/seed-0"]
    assert len(started) == 5
    assert queue.is_over
    assert len(queue.failed) == 8
    with pytest.raises(ValueError, match="no finished run") as caught:
        compare_study(queue)
    assert str(caught.value).count(said.format(tmp_path)[:30]) == 1
