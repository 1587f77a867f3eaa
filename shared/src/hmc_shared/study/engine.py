"""Runs a study: starts what is not finished, keeps what failed, and goes on where it stopped."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import Any, Protocol

from tqdm import tqdm

from hmc_shared.study.queue import LOOK, Queue
from hmc_shared.study.records import Task


class Workers(Protocol):
    """Where tasks run: this machine, or a cluster."""

    slots: int

    @property
    def room(self) -> int:
        """Processes that may start now."""
        ...

    def start(self, task: Task) -> None: ...

    def wait(self, seconds: float) -> list[tuple[Task, int]]:
        """Wait until a task ends, or so long; those that have ended, with their exit codes."""
        ...

    def stop(self, tasks: Collection[Task]) -> None:
        """Ask tasks to write a checkpoint and end."""
        ...

    def kill(self, tasks: Collection[Task]) -> None: ...


def run_all(queue: Queue, workers: Workers, title: str) -> None:
    """Run what is not finished yet, with progress on standard error; ``queue.failed`` has what failed.

    If it is interrupted, the runs are stopped: they go on from their last checkpoint next time.
    """
    running: dict[Task, float] = {}
    with _display(title, queue, workers.slots) as display:
        try:
            while not queue.is_over:
                while workers.room > 0 and (task := queue.claim(workers.room if running else None)):
                    workers.start(task)
                    running[task] = time.monotonic()
                if not running:
                    time.sleep(LOOK)  # other starts of the study are at the rest
                for task, code in workers.wait(LOOK):
                    seconds = time.monotonic() - running.pop(task)
                    queue.ended(task, code, seconds)
                    display.ended(task, code, seconds)
                workers.kill(queue.pruned(list(running)))
                display.show(list(running))
        finally:
            _stop(running, workers, queue)


def _stop(running: dict[Task, float], workers: Workers, queue: Queue) -> None:
    """End what runs: gently, and at once if a signal comes while it is waited for."""
    workers.stop(running)
    try:
        while running:
            for task, _ in workers.wait(LOOK):
                queue.stopped(task, time.monotonic() - running.pop(task))
    except KeyboardInterrupt:
        workers.kill(running)
        raise


class Display:
    """A bar of finished runs and a line for each that runs; without a terminal a line for each that ended."""

    def __init__(self, title: str, queue: Queue, slots: int) -> None:
        self.queue = queue
        off = not sys.stderr.isatty()
        self.bar: tqdm[Any] = tqdm(
            total=queue.total, initial=queue.finished, desc=title, unit="run", disable=off, dynamic_ncols=True
        )
        self.lines = [
            tqdm(bar_format="{desc}", position=1 + place, leave=False, disable=off, dynamic_ncols=True)
            for place in range(slots)
        ]

    def ended(self, task: Task, code: int, seconds: float) -> None:
        self.bar.update(self.queue.finished - self.bar.n)
        how = f"done in {seconds:.0f} s"
        if not task.is_finished:
            how = f"{task.failure(code)} (see {task.log})"
        tqdm.write(f"[{self.queue.finished}/{self.queue.total}] {task.place}: {how}", file=sys.stderr)

    def show(self, running: list[Task]) -> None:
        if self.bar.disable:
            return
        shown = [f"  {task.place}  {task.last_line}" for task in running]
        width = shutil.get_terminal_size().columns - 1  # a line that wraps would spoil the display
        for line, text in zip(self.lines, [*shown, *[""] * len(self.lines)], strict=False):
            line.set_description_str(text[:width])


@contextmanager
def _display(title: str, queue: Queue, slots: int) -> Generator[Display, None, None]:
    display = Display(title, queue, slots)
    try:
        yield display
    finally:
        for line in reversed([display.bar, *display.lines]):
            line.close()
