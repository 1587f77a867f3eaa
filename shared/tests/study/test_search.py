"""Searches: the same budget for each method, on validation alone, interrupted, shared and pruned."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest

from hmc_shared.study.plan import read_plan
from hmc_shared.study.programs import find_program
from hmc_shared.study.queue import Queue
from hmc_shared.study.status import status_text

optuna = pytest.importorskip("optuna")
from hmc_shared.study import search as searches  # noqa: E402
from hmc_shared.study.spaces import Space, load_space  # noqa: E402

# Validation is best at x = .3; one trial in four fails; the test split is scored only without --no-test.
METHOD = """#!{python}
import json, pathlib, shutil, sys, time
words = sys.argv[2:]
options = dict(zip(words, words[1:]))
folder, x = pathlib.Path(options["--output-dir"]), float(options["--x"])
folder.mkdir(parents=True, exist_ok=True)
with open("{templates}/starts", "a") as file:
    file.write(f"{{folder}} {{x}}\\n")
if folder.name == "trial-3":
    sys.exit("tuned: error: not finite")
value = -(x - 0.3) ** 2
if "--no-test" in words:
    (folder / "checkpoints").mkdir(exist_ok=True)
    for epoch in range({epochs}):
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({{"epoch": epoch, "validation/map": value * (100 - epoch)}}) + "\\n")
        time.sleep({seconds} if value < -0.05 else 0)
    (folder / "validation.json").write_text(json.dumps({{"validation": value}}))
else:
    shutil.copytree(pathlib.Path("{templates}", "seed-" + options["--seed"]), folder, dirs_exist_ok=True)
"""
SPACE = Space("validation/map", {"x": optuna.distributions.FloatDistribution(0, 1)}, {"x": 0.9})
PLAN = """
datasets: [toy]
methods: {one: tuned train, two: tuned train --method two}
seeds: [0, 1]
search: {trials: 8, prune: false}
"""


@pytest.fixture
def tuned(make_run, tmp_path, monkeypatch):
    """Installs the program ``tuned``; returns the file with a line for each start."""

    def install(epochs: int = 1, seconds: float = 0) -> Path:
        folder, templates = tmp_path / "bin", tmp_path / "templates"
        folder.mkdir()
        for seed in range(2):
            make_run("tuned", seed, folder=templates / f"seed-{seed}")
        program = folder / "tuned"
        program.write_text(
            METHOD.format(python=sys.executable, templates=templates, epochs=epochs, seconds=seconds)
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        find_program.cache_clear()
        monkeypatch.setattr(searches, "load_space", lambda words: SPACE)
        return templates / "starts"

    return install


def started(starts: Path) -> dict[str, float]:
    lines = [line.split() for line in starts.read_text().splitlines()]
    assert len({folder for folder, _ in lines}) == len(lines)  # none twice
    return {folder: float(x) for folder, x in lines}


def test_each_method_has_its_trials_then_the_best_is_trained_with_every_seed(tuned, hmc, write_plan, capfd):
    starts = tuned()
    assert hmc("study", "run", write_plan(PLAN), "--jobs", 2) == 0
    out, _ = capfd.readouterr()
    tried = started(starts)
    for label in ("one", "two"):
        trials = {name: x for name, x in tried.items() if f"/search/toy/{label}/" in name}
        assert len(trials) == 8
        assert trials[f"runs/study/search/toy/{label}/trial-0"] == 0.9  # the recipe is the first
        best = min(
            (x for name, x in trials.items() if not name.endswith("trial-3")), key=lambda x: abs(x - 0.3)
        )
        assert [tried[f"runs/study/toy/{label}/seed-{seed}"] for seed in (0, 1)] == [best, best]
        row = next(line.split() for line in out.splitlines() if line.split()[:2] == ["toy", label])
        assert row[2:5] == ["8", "0", "1"]  # trials, pruned, failed
    assert "Each had 8 trials, on the validation split alone" in out
    assert not list(Path("runs/study/search").glob("**/predictions.npz"))
    assert not list(Path("runs/study/search").glob("**/checkpoints"))
    content = json.loads(Path("runs/study/compare.json").read_text())
    assert [row["label"] for row in content["tables"][0]["rows"]]

    # Once more: nothing is tried again; with more trials only those are.
    assert hmc("study", "run", write_plan(PLAN)) == 0
    assert started(starts) == tried
    assert hmc("study", "status", write_plan(PLAN)) == 0
    assert "8 of 8 trials" in capfd.readouterr().out


def test_an_interrupted_trial_goes_on_and_others_are_not_repeated(tuned, write_plan, tmp_path):
    tuned()
    plan = read_plan(str(write_plan(PLAN)))
    first = searches.searchers(plan, tmp_path / "study")["toy", "one"]
    tasks = [first.claim() for _ in range(2)]
    (task, lock), (other, other_lock) = [claim for claim in tasks if claim]
    second = searches.searchers(plan, tmp_path / "study")["toy", "one"]  # another start, while both run
    third = second.claim()
    assert third is not None
    assert third[0].place.endswith("trial-2")
    for begun in (task, other, third[0]):
        begun.begin()
    status = status_text(Queue(plan, tmp_path / "study", {("toy", "one"): second})).splitlines()
    running = [line.split(",")[0] for line in status if line.startswith("running")]
    assert running == [f"running  search/toy/one/trial-{number}" for number in range(3)]
    assert status[-1].startswith("4 runs and 8 trials are left; nothing has been finished yet")
    other.folder.mkdir(parents=True)
    (other.folder / "validation.json").write_text('{"validation": 0.5}')
    first.ended(other, 0, 2.0)
    other_lock.release()
    first.stopped(task, 3.0)
    lock.release()
    again = second.claim()
    assert again is not None
    assert again[0] == task  # with the same options
    assert again[0].words[-6:] == ("--seed", "0", "--no-test", *task.words[-3:])
    task.folder.mkdir(parents=True)
    (task.folder / "validation.json").write_text('{"validation": 0.1}')
    second.ended(task, 0, 4.0)
    assert second.summary()[3] == "9"  # seconds, of both starts
    third[1].release()  # as if it were killed
    status = status_text(Queue(plan, tmp_path / "study", {("toy", "one"): second})).splitlines()
    assert not any(line.startswith("running") for line in status)
    # A trial of 2 s and one of 7 s: six trials and four runs of 4.5 s each.
    assert status[-1] == "4 runs and 6 trials are left, about 45 s if one runs at a time"
    assert second.chosen is not None
    assert f"{second.chosen['x']}" == other.words[other.words.index("--x") + 1]
    assert not second.is_over


def test_a_budget_of_seconds(tuned, write_plan, tmp_path):
    tuned()
    path = write_plan(PLAN.replace("trials: 8", "seconds: 10"))
    searcher = searches.searchers(read_plan(str(path)), tmp_path / "study")["toy", "one"]
    count = 0
    while claim := searcher.claim():
        count += 1
        claim[0].folder.mkdir(parents=True)
        (claim[0].folder / "validation.json").write_text('{"validation": 0.5}')
        searcher.ended(claim[0], 0, 4.0)
        claim[1].release()
    assert count == 3  # the one that passes the budget is the last
    assert searcher.is_over
    assert searcher.search.budget == "10 s"


def test_hopeless_trials_are_stopped(tuned, hmc, write_plan, capfd):
    starts = tuned(epochs=30, seconds=0.1)
    path = write_plan(PLAN.replace("prune: false", "seed: 3").replace("trials: 8", "trials: 20"))
    assert hmc("study", "run", path, "--jobs", 2, "--methods", "one", "--seeds", 0) == 0
    out, _ = capfd.readouterr()
    row = next(line.split() for line in out.splitlines() if line.split()[:2] == ["toy", "one"])
    assert row[2] == "20"
    assert int(row[3]) > 0
    assert len(started(starts)) == 21


def test_if_every_trial_fails_nothing_is_trained(tuned, hmc, write_plan, capfd, monkeypatch):
    tuned()
    wrong = Space("validation/map", {"y": optuna.distributions.FloatDistribution(0, 1)}, {"y": 0.9})
    monkeypatch.setattr(searches, "load_space", lambda words: wrong)
    assert hmc("study", "run", write_plan(PLAN.replace("trials: 8", "trials: 2"))) == 1
    assert "no trial of its search was finished" in capfd.readouterr().err


def test_trials_of_another_plan_are_refused_and_more_trials_go_on(tuned, hmc, write_plan, capfd):
    starts = tuned()
    one = PLAN.replace(", two: tuned train --method two", "").replace("trials: 8", "trials: 2")
    assert hmc("study", "run", write_plan(one)) == 0
    assert hmc("study", "run", write_plan(f"{one}options: {{y: 3}}\n")) == 2
    assert "were made with other options" in capfd.readouterr().err
    code = hmc("study", "run", write_plan(one.replace("trials: 2", "trials: 8")))
    out, err = capfd.readouterr()
    assert len([name for name in started(starts) if "/search/" in name]) == 8
    if code:  # something better was found: the runs are those of another choice
        assert "the plan says --x" in err
    else:
        assert "Each had 8 trials" in out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("m: {x: {low: 0, high: 1}}", "`metric` should be a figure such as validation/map. Found none."),
        ("metric: 3", "`metric` should be a figure such as validation/map. Found 3."),
        ("metric: validation/map\ncommon: [1]", "`common` should map options to ranges. Found [1]."),
        ("metric: validation/map\nhiclass: c", "`hiclass` should map options to ranges. Found 'c'."),
        ("metric: validation/map\nhiclass: {c: 1}", "should have `low` and `high`, or `choices`. Found 1."),
        ("metric: validation/map\nhiclass: {c: {low: a, high: 1}}", "`c` of hiclass: "),
        ("metric: validation/map\nhiclass: {d: {low: 1, high: 2}}", "`hmc peer` has no option 'd'"),
        ("metric: validation/map", "has nothing to search for hiclass: leave it out by `search: false`."),
    ],
)
def test_a_wrong_file_of_spaces_is_one_line_that_names_it(tmp_path, monkeypatch, text, said):
    monkeypatch.setattr("hmc_shared.study.spaces.files", lambda package: tmp_path)
    (tmp_path / "spaces.yaml").write_text(text)
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        load_space(("hmc", "peer"))
    assert str(caught.value).startswith(str(tmp_path / "spaces.yaml"))
