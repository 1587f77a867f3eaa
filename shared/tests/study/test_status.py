"""`hmc study status`: what is at work, and the time left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hmc_shared.study.plan import read_plan
from hmc_shared.study.queue import Queue, task_of
from hmc_shared.study.status import status_text

PLAN = """
datasets: [a, b]
methods: {m: prog train, n: prog train}
parts:
- {}
- {grid: {k: [1, 2]}}
"""


@pytest.fixture
def study(tmp_path: Path, write_plan: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch):
    """From seconds of finished runs, by place, to the last line of the status."""
    monkeypatch.setattr("hmc_shared.study.plan.lacks", lambda program: "")

    def last_line(text: str, seconds: dict[str, float]) -> str:
        queue = Queue(read_plan(str(write_plan(text))), tmp_path / "study")
        for run in queue.plan.runs:
            task = task_of(run, queue.study)
            if f"{run.dataset}/{run.label}" in seconds:
                task.folder.mkdir(parents=True)
                (task.folder / "results.json").write_text("{}")
                task.log.parent.mkdir(parents=True, exist_ok=True)
                task.end(0, seconds[f"{run.dataset}/{run.label}"])
        return status_text(queue).splitlines()[-1]

    return last_line


def test_the_time_left_is_by_the_runs_that_are_most_alike(study) -> None:
    """Of a row, else its label, else its method with other options, else of all."""
    done = {"a/m": 10.0, "a/m-k-1": 30.0, "b/m-k-1": 50.0, "a/n-k-2": 100.0}
    # b/m as a/m; a/m-k-2 and b/m-k-2 as m; b/n-k-2 as a/n-k-2; a/n, b/n, a/n-k-1 and b/n-k-1 as n.
    total = 10 + 2 * (10 + 30 + 50) / 3 + 100 + 4 * 100
    minutes, seconds = divmod(round(total), 60)
    assert study(PLAN, done) == f"8 runs are left, about {minutes} min {seconds} s if one runs at a time"


def test_where_nothing_is_alike_it_is_the_mean_of_all(study) -> None:
    text = "datasets: [a]\nmethods: {m: prog train, n: prog train, o: prog train}"
    assert study(text, {"a/m": 10.0, "a/n": 30.0}) == "1 run is left, about 20 s if one runs at a time"


def test_one_run_is_one_run(study) -> None:
    text = "datasets: [a]\nmethods: {m: prog train}"
    assert study(text, {}) == "1 run is left; nothing has been finished yet, by which to tell the time"
    assert study(text, {"a/m": 3.0}) == "everything is done"
