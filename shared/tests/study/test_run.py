"""Studies are run: in processes of their own, with failures and missing methods."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

import hmc_shared
from hmc_shared.cli.train_options import TrainOptions
from hmc_shared.study import plan as plans
from hmc_shared.study import programs
from hmc_shared.study import queue as queues
from hmc_shared.study.records import Task
from hmc_shared.study.report import compare_study

PLAN = """
datasets: [toy]
methods:
  slow: slow train
  quick: {command: quick train, options: {mode: fine}}
  absent: no-such-method train
seeds: [0, 1]
metrics: [au_prc, "accuracy_level_*"]
"""


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
    for module in (plans, programs):
        monkeypatch.setattr(module, "PUBLISHED", ("quick", "no-such-method"))
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


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no-such-set", "Unknown data set 'no-such-set'. Embedded or found under {}: "),
        ("cifar100", "cifar100 is not under {}: no cifar-100-python/meta there"),
        ("table:gone.csv", "table:gone.csv: there is no such file or folder."),
    ],
)
def test_a_data_set_that_is_not_there_is_told_once(write_plan, tmp_path, monkeypatch, name, said):
    """Before anything starts; the others go on."""
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
    (why,) = queue.leave_out_absent().values()
    assert why.startswith(said.format(tmp_path))
    started = []
    while task := queue.claim():
        started.append(task.place)
        queue.ended(task, 1, 1.0)
    assert started == [f"digits/{method}/seed-{seed}" for seed in (0, 1) for method in "mn"]
    assert queue.is_over
    assert {why for place, why in queue.failed.items() if folder in place} == {why}
    assert len(queue.failed) == 8
    with pytest.raises(ValueError, match="no finished run") as caught:
        compare_study(queue)
    assert str(caught.value).count(said.format(tmp_path)[:30]) == 1
