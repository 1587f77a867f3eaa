"""What of a study is still to be done, and what of it can start now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from hmc_shared.cli.parse import option_words
from hmc_shared.data.presence import find_source
from hmc_shared.messages import reason
from hmc_shared.study.plan import Plan, Run
from hmc_shared.study.programs import options_of, train_options
from hmc_shared.study.records import Task

if TYPE_CHECKING:
    from hmc_shared.study.search import Searcher

LOOK = 1.0
"""Seconds after which runs that another start of the study is at are looked at again."""


@dataclass
class Queue:
    """The runs of a plan in their order; several starts of one study, on one disk, share them by locks."""

    plan: Plan
    study: Path
    """The folder of the study."""
    searchers: Mapping[tuple[str, str], Searcher] = field(default_factory=dict[tuple[str, str], "Searcher"])
    """By data set and label, where the plan chooses options first."""
    failed: dict[str, str] = field(default_factory=dict[str, str])
    """Place to reason, of what failed in this start."""
    absent: dict[str, str] = field(default_factory=dict[str, str])
    """Data set to reason, where it is not there."""

    def __post_init__(self) -> None:
        here = [run for run in self.plan.runs if run.label not in self.plan.missing]
        self._waiting = [run for run in here if not self._is_done(run)]
        self.finished, self.total = len(here) - len(self._waiting), len(here)
        self._looked: dict[str, float] = {}
        self._locks: dict[Task, FileLock] = {}

    @property
    def is_over(self) -> bool:
        return not self._waiting and not self._locks

    def check(self) -> None:
        """Raise ValueError for a finished run that had other options."""
        for run in filter(self._is_done, self.plan.runs):
            searcher = self._searcher(run)
            task_of(run, self.study, searcher and searcher.chosen).check()

    def leave_out_absent(self) -> dict[str, str]:
        """Give up the runs whose data set is not there; returns data set to reason."""
        reasons = {source: _why_absent(*source) for source in {*map(source_of, self._waiting)} if source}
        for run in list(self._waiting):
            if (source := source_of(run)) and (why := reasons[source]):
                self.absent[run.dataset] = why
                self._give_up(run, why)
        return self.absent

    def claim(self, room: int | None = None) -> Task | None:
        """Something of ``room`` processes that can start now, locked until :meth:`ended`; None if none is."""
        for run in list(self._waiting):
            if time.monotonic() - self._looked.get(run.place, -LOOK) < LOOK:
                continue  # another start is at it
            if (room is not None and run.processes > room) or not self._is_ready(run):
                continue
            searcher = self._searcher(run)
            if searcher and not searcher.is_over:
                if trial := searcher.claim():
                    return self._take(*trial)
                continue
            chosen = searcher.chosen if searcher else {}
            if chosen is None:
                self._give_up(run, "no trial of its search was finished")
                continue
            task = task_of(run, self.study, chosen)
            lock = task.lock()
            if lock is None:
                self._looked[run.place] = time.monotonic()
                continue
            self._waiting.remove(run)
            if not task.is_finished:
                return self._take(task, lock)
            lock.release()  # it was finished before, or by another start
            try:
                task.check()
                self.finished += 1
            except ValueError:  # of a search that has gone on since
                self._give_up(run, f"the search has chosen other options since: delete {task.folder}")
        return None

    def ended(self, task: Task, code: int, seconds: float) -> None:
        """Write down how it went, and let it go."""
        task.end(code, seconds)
        if searcher := self._searcher_of(task):
            searcher.ended(task, code, seconds)
        else:
            self.finished += 1
            if not task.is_finished:
                self.failed[task.place] = task.failure(code)
        self._locks.pop(task).release()

    def stopped(self, task: Task, seconds: float) -> None:
        """Let go of a task that goes on another time."""
        task.write(state="stopped", words=task.words)
        if searcher := self._searcher_of(task):
            searcher.stopped(task, seconds)
        self._locks.pop(task).release()

    def pruned(self, running: list[Task]) -> list[Task]:
        """Trials that are not worth going on with."""
        return [task for task in running if (searcher := self._searcher_of(task)) and searcher.prunes(task)]

    def _take(self, task: Task, lock: FileLock) -> Task:
        self._locks[task] = lock
        task.begin()
        return task

    def _is_ready(self, run: Run) -> bool:
        """Whether what it needs is finished. A run whose needs have failed fails with them."""
        for place in run.needs:
            if place in self.failed:
                self._give_up(run, f"needs {place}, which failed")
                return False
            if not (self.study / place / "results.json").is_file():
                return False
        return True

    def _searcher(self, run: Run) -> Searcher | None:
        return self.searchers.get((run.dataset, run.label))

    def _is_done(self, run: Run) -> bool:
        searcher = self._searcher(run)
        return task_of(run, self.study).is_finished and (searcher is None or searcher.is_over)

    def _give_up(self, run: Run, why: str) -> None:
        self.failed[run.place] = why
        self.finished += 1
        if run in self._waiting:
            self._waiting.remove(run)

    def _searcher_of(self, task: Task) -> Searcher | None:
        return next((searcher for searcher in self.searchers.values() if searcher.has(task)), None)


Source = tuple[str, str | None, bool]
"""A data set, the folder of the data sets, and whether columns of levels are named."""


def source_of(run: Run) -> Source | None:
    """The data set that a run reads; None where its command line alone does not tell."""
    options, of = train_options(run.words), dict(options_of(run.words))
    reads = options is not None and "data_dir" in {option.name for option in fields(options)}
    if not reads or "config" in of or len(of.get("dataset", ())) != 1:
        return None
    data_dir = "".join(of.get("data_dir", ())) or None
    return of["dataset"][0], data_dir, "levels" in of


def _why_absent(name: str, data_dir: str | None, has_levels: bool) -> str | None:
    """Why a data set is not there; None if it is."""
    try:
        find_source(name, data_dir, has_levels=has_levels)
    except ValueError as error:
        return reason(error)
    return None


def task_of(run: Run, study: Path, chosen: Mapping[str, object] | None = None) -> Task:
    """The whole command line of a run: it starts, or goes on from its last checkpoint."""
    more = [word for name, value in (chosen or {}).items() for word in option_words(name, value)]
    where = ["--seed", str(run.seed), "--output-dir", str(study / run.place), "--resume"]
    return Task(run.place, study, (*run.words_in(str(study)), *more, *where), processes=run.processes)
