"""What a study costs beside its runs: CPU seconds of a demo, empty runs, the status of many runs.

    python benchmarks/study.py                 all three; the demo takes minutes
    python benchmarks/study.py engine status   two of them

``demo``: the shipped plan, 21 runs forked from a process that has imported torch, against the
same runs started as programs of their own. ``engine``: 1,000 runs that end at once, without and with a
process each. ``status``: `hmc study status` of 500 runs, half of them finished.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

from hmc_shared.study.engine import run_all
from hmc_shared.study.local import LocalWorkers
from hmc_shared.study.plan import Plan, Run
from hmc_shared.study.queue import Queue, task_of
from hmc_shared.study.records import Task

PR_SET_CHILD_SUBREAPER = 36
PROGRAMS = "import hmc_shared.study.local as local; local.find_entry = lambda name: None; "
START = "import sys; sys.argv = ['hmc', *sys.argv[1:]]; from hmc_shared.__main__ import main; main()"


class NoWorkers:
    """Runs that are finished as soon as they start."""

    slots = 2

    def __init__(self) -> None:
        self.ended: list[tuple[Task, int]] = []

    @property
    def room(self) -> int:
        return self.slots - len(self.ended)

    def start(self, task: Task) -> None:
        task.folder.mkdir(parents=True)
        (task.folder / "results.json").write_text("{}")
        self.ended.append((task, 0))

    def wait(self, seconds: float) -> list[tuple[Task, int]]:
        ended, self.ended = self.ended, []
        return ended

    def stop(self, tasks: Collection[Task]) -> None: ...
    def kill(self, tasks: Collection[Task]) -> None: ...


def plan_of(runs: int, program: str) -> Plan:
    return Plan(
        "empty", "", (), tuple(Run("toy", "none", seed, (program, "train")) for seed in range(runs)), {}
    )


def cpu_seconds(words: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command and of all that it leaves behind."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.perf_counter() - started
    try:
        while True:
            os.wait()  # the process that forks the runs has become a child of this one
    except ChildProcessError:
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def demo(folder: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    figures = {}
    for name, before in {"programs": PROGRAMS, "forked": ""}.items():
        words = ["demo", "--output", f"{folder}/{name}"]
        figures[name] = cpu_seconds([sys.executable, "-c", before + START, *words])
        print(
            f"demo, {name}: {figures[name][0]:.0f} s, {figures[name][1]:.0f} CPU seconds",
            flush=True,
        )
    print(f"ratio of CPU seconds: {figures['forked'][1] / figures['programs'][1]:.2f}")


def engine(folder: str) -> None:
    for name, workers, runs in (
        ("without processes", NoWorkers(), 1000),
        ("a process each", LocalWorkers(2, ["hlstm"]), 200),
    ):
        queue = Queue(plan_of(runs, "true"), Path(folder) / name.replace(" ", "-"))
        started = time.perf_counter()
        run_all(queue, workers, "empty")
        print(
            f"{runs} empty runs, {name}: {1000 * (time.perf_counter() - started) / runs:.2f} ms each",
            flush=True,
        )


def status(folder: str) -> None:
    plan = Path(folder) / "many.yaml"
    plan.write_text(
        json.dumps({"datasets": ["toy"], "methods": {"none": "true train"}, "seeds": list(range(500))})
    )
    study = Path(folder) / "many"
    for run in plan_of(250, "true").runs:
        task = task_of(run, study)
        task.folder.mkdir(parents=True)
        task.log.parent.mkdir(parents=True, exist_ok=True)
        (task.folder / "results.json").write_text("{}")
        task.end(0, 3.0)
    words = ["study", "status", str(plan), "--output", str(study)]
    wall, _ = cpu_seconds([sys.executable, "-c", START, *words])
    print(f"status of 500 runs: {wall:.2f} s")


def main() -> None:
    names = sys.argv[1:] or ["engine", "status", "demo"]
    if len(names) > 1:  # each in a process of its own: the children of another would be waited for
        for name in names:
            subprocess.run([sys.executable, __file__, name], check=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        {"engine": engine, "status": status, "demo": demo}[names[0]](folder)


if __name__ == "__main__":
    main()
