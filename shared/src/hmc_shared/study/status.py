"""What of a study is done, running, waiting and failed, and how long the rest will take."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

from hmc_shared.compare.align import align
from hmc_shared.messages import clipped, counted
from hmc_shared.study.queue import Queue, task_of
from hmc_shared.study.records import Task, killed

STATES = ("done", "running", "stopped", "failed", "waiting")
Row = tuple[str, str]
"""Data set and label."""


def status_text(queue: Queue) -> str:
    """A row for each data set and label, a line for what is at work or has failed, the time left."""
    plan, study = queue.plan, queue.study
    counts: dict[Row, Counter[str]] = defaultdict(Counter)
    seconds: dict[Row, list[float]] = defaultdict(list)
    lines: list[str] = []

    def add_running(task: Task) -> None:
        record = task.read()
        since = time.time() - float(record.get("since", time.time()))
        where = record.get("host", "another machine")
        lines.append(f"running  {task.place}, {duration(since)}, on {where}: {clipped(task.last_line, 80)}")

    for run in plan.runs:
        task, key = task_of(run, study), (run.dataset, run.label)
        state = "missing" if run.label in plan.missing else state_of(task)
        counts[key][state] += 1
        record = task.read()
        if state == "done" and isinstance(record.get("seconds"), float):
            seconds[key].append(record["seconds"])
        if state == "running":
            add_running(task)
        if state == "failed":
            code = record.get("exit_code")
            said = [killed(code) if isinstance(code, int) else "", *task.last_lines()]
            lines.append(
                f"failed   {task.place}: {clipped(' | '.join(filter(None, said)), 200)} (see {task.log})"
            )
    for searcher in queue.searchers.values():
        for task in filter(lambda task: state_of(task) == "running", searcher.open_tasks):
            add_running(task)
    states = [state for state in STATES if any(count[state] for count in counts.values())]
    searching = [key for key in counts if key in queue.searchers]
    head = ["data set", "method", *states, *(["trials"] if searching else [])]
    rows = []
    for (dataset, label), count in counts.items():
        searcher = queue.searchers.get((dataset, label))
        trials = [searcher.status if searcher else "-"] if searching else []
        rows.append([dataset, label, *(str(count[state] or "-") for state in states), *trials])
    parts = [f"{plan.name}, in {study}", align([head, *rows], left=2), *lines]
    parts += [f"missing  {label}: {why}" for label, why in plan.missing.items()]
    return "\n".join([*parts, _time_left(queue, counts, seconds)])


def state_of(task: Task) -> str:
    if task.is_finished:
        return "done"
    state = task.read().get("state", "waiting")
    if state != "running":
        return state if state in STATES else "waiting"
    try:
        lock = task.lock()
    except OSError:  # a disk that cannot be written
        return "stopped"
    if lock is None:
        return "running"
    lock.release()
    return "stopped"  # what was at it has been killed


def _time_left(queue: Queue, counts: dict[Row, Counter[str]], seconds: dict[Row, list[float]]) -> str:
    """By the mean of the finished runs of the same row, else label, else method, else of all."""
    open_states = ("running", "stopped", "failed", "waiting")
    left = {key: sum(count[state] for state in open_states) for key, count in counts.items()}
    searchers = {key: searcher for key, searcher in queue.searchers.items() if not searcher.is_over}
    trials = sum(searcher.trials_left for searcher in searchers.values())
    number = sum(left.values())
    if not number and not searchers:
        return "everything is done"
    things = [counted(of, what) for of, what in ((number, "run"), (trials, "trial")) if of] or ["a search"]
    said = f"{' and '.join(things)} {'is' if number + trials <= 1 else 'are'} left"
    seconds = {key: [*seconds[key], *_of_trials(queue, key)] for key in left}
    if not any(seconds.values()):
        return f"{said}; nothing has been finished yet, by which to tell the time"
    method = {(run.dataset, run.label): run.method for run in queue.plan.runs}
    total = 0.0
    for key, of_row in left.items():
        each = _mean(key, seconds, method)
        total += of_row * each + (searchers[key].seconds_left(each) if key in searchers else 0)
    return f"{said}, about {duration(total)} if one runs at a time"


def _mean(key: Row, seconds: Mapping[Row, list[float]], method: Mapping[Row, str]) -> float:
    """About how long a run takes: of those that are most like it, as far as any is finished."""
    alike: list[float] = []
    kinds: list[Callable[[Row], object]] = [lambda row: row, lambda row: row[1], lambda row: method[row]]
    for kind in (*kinds, lambda _: None):
        if alike := [value for row, values in seconds.items() if kind(row) == kind(key) for value in values]:
            break
    return statistics.fmean(alike)


def _of_trials(queue: Queue, key: Row) -> list[float]:
    searcher = queue.searchers.get(key)
    return searcher.seconds_of_trials if searcher else []


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    )
