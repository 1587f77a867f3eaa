"""What of a study is done, running, waiting and failed, and how long the rest will take."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Sequence

from hmc_shared.compare.align import align
from hmc_shared.messages import clipped
from hmc_shared.study.plan import Run
from hmc_shared.study.queue import Queue, task_of
from hmc_shared.study.records import Task

STATES = ("done", "running", "stopped", "failed", "waiting")


def status_text(queue: Queue) -> str:
    """A row for each data set and label, a line for each run that is at work or has failed, the time left."""
    plan, study = queue.plan, queue.study
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    lines: list[str] = []
    for run in plan.runs:
        task, key = task_of(run, study), (run.dataset, run.label)
        state = "missing" if run.label in plan.missing else state_of(task)
        counts[key][state] += 1
        record = task.read()
        if state == "done" and isinstance(record.get("seconds"), float):
            seconds[key].append(record["seconds"])
        if state == "running":
            since = time.time() - float(record.get("since", time.time()))
            where = record.get("host", "another machine")
            lines.append(
                f"running  {task.place}, {duration(since)}, on {where}: {clipped(task.last_line, 80)}"
            )
        if state == "failed":
            lines.append(
                f"failed   {task.place}: {clipped(' | '.join(task.last_lines()), 200)} (see {task.log})"
            )
    states = [state for state in STATES if any(count[state] for count in counts.values())]
    searching = [key for key in counts if key in queue.searchers]
    head = ["data set", "method", *states, *(["trials"] if searching else [])]
    rows = []
    for (dataset, label), count in counts.items():
        trials = [queue.searchers[dataset, label].status] if (dataset, label) in searching else []
        rows.append([dataset, label, *(str(count[state] or "-") for state in states), *trials])
    parts = [f"{plan.name}, in {study}", align([head, *rows], left=2), *lines]
    parts += [f"missing  {label}: {why}" for label, why in plan.missing.items()]
    return "\n".join([*parts, _time_left(plan.runs, counts, seconds)])


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


def _time_left(
    runs: Sequence[Run],
    counts: dict[tuple[str, str], Counter[str]],
    seconds: dict[tuple[str, str], list[float]],
) -> str:
    """By the mean of the finished runs of the same row, else of the same label, else of all."""
    open_states = ("running", "stopped", "failed", "waiting")
    left = {key: sum(count[state] for state in open_states) for key, count in counts.items()}
    if not any(left.values()):
        return "everything is done"
    if not seconds:
        return f"{sum(left.values())} runs are left; no run has been finished yet, by which to tell the time"
    total = 0.0
    for (dataset, label), number in left.items():
        of_label = [value for (_, other), values in seconds.items() if other == label for value in values]
        every = [value for values in seconds.values() for value in values]
        total += number * statistics.fmean(seconds.get((dataset, label)) or of_label or every)
    return f"{sum(left.values())} runs are left, about {duration(total)} if one runs at a time"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    )
