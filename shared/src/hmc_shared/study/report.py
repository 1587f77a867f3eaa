"""The comparison of a study: its labels as rows, and a line for each that is missing or failed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hmc_shared.compare.comparison import Appendix, Comparison, ComparisonTable, Grid, Row, compare
from hmc_shared.compare.significance import Ranks, describe_tests, rank_methods, to_rows
from hmc_shared.messages import clipped, counted, listed
from hmc_shared.study.plan import Plan
from hmc_shared.study.queue import Queue, task_of
from hmc_shared.study.records import Task
from hmc_shared.study.status import state_of


def compare_study(queue: Queue) -> Comparison:
    """The finished runs in a table for each data set and protocol, metrics recomputed from the predictions.

    Raises ValueError if no run is finished.
    """
    plan = queue.plan
    labels: dict[Path, str] = {}
    missing: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    absent: dict[str, str] = {}
    for run in plan.runs:
        task = task_of(run, queue.study)
        if task.is_finished:
            labels[task.folder] = run.label
        elif run.dataset in queue.absent:
            absent[run.dataset] = queue.absent[run.dataset]
        elif run.label in plan.missing:
            missing[run.dataset][run.label] = [plan.missing[run.label]]
        else:
            missing[run.dataset][run.label].append(f"seed {run.seed} {_state(queue, task)}")
    packages = {
        label: [why] for label, why in plan.missing.items() if all(label != run.label for run in plan.runs)
    }
    lines = {
        run.dataset: {label: "; ".join(said) for label, said in (packages | missing[run.dataset]).items()}
        for run in plan.runs
    }
    if not labels:
        reasons = [why.rstrip(".") for why in absent.values()]
        reasons += [
            f"{label} on {dataset} {why}" for dataset, of in lines.items() for label, why in of.items()
        ]
        raise ValueError(f"There is no finished run to compare: {listed(reasons, 5, 300)}.")
    comparison = compare(labels, plan.metrics, labels)
    tables = []
    for table in comparison.tables:
        dataset = table.rows[0].runs[0].path.relative_to(queue.study).parts[0]
        more = {"missing": tuple(lines.pop(dataset, {}).items()), "grids": _grids(plan, dataset, table)}
        tables.append(replace(table, **more))
    notes = [f"{dataset}: {why}" for dataset, why in absent.items()]
    notes += [f"{dataset}: {label} {why}" for dataset, of in lines.items() for label, why in of.items()]
    return replace(
        comparison, tables=tuple(tables), notes=(*comparison.notes, *notes), appendices=_budgets(queue)
    )


def rankings(comparison: Comparison) -> dict[str, Ranks]:
    """By protocol, where there are several data sets with two methods or more: ranks by the first metric.

    Without the extra ``stats`` there are none.
    """
    found: dict[str, Ranks] = {}
    for protocol in dict.fromkeys(table.protocol for table in comparison.tables):
        tables = tuple(table for table in comparison.tables if table.protocol == protocol)
        if len(tables) > 1 and tables[0].metrics:
            try:
                found[protocol] = rank_methods(replace(comparison, tables=tables), tables[0].metrics[0])
            except ValueError:  # too little that all have
                continue
    return found


def with_ranks(comparison: Comparison, found: Mapping[str, Ranks]) -> Comparison:
    """The comparison with a table for each of its :func:`rankings`, before its other appendices."""
    appendices: list[Appendix] = []
    for protocol, ranks in found.items():
        head, *rows = map(tuple, to_rows(ranks))
        text = ". ".join([*ranks.notes, *describe_tests(ranks).splitlines()]).replace("..", ".") + "."
        appendices.append(Appendix(f"Ranks, protocol {protocol}", text, head, tuple(rows)))
    return replace(comparison, appendices=(*appendices, *comparison.appendices))


def _grids(plan: Plan, dataset: str, table: ComparisonTable) -> tuple[Grid, ...]:
    """One for each set of options that a grid of the plan has: of one or two, which can be drawn."""
    rows = {row.label: row for row in table.rows}
    cells: dict[tuple[str, ...], dict[tuple[str, tuple[Any, ...]], Row]] = defaultdict(dict)
    for run in plan.runs:
        if run.dataset == dataset and run.label in rows and len(run.grid) in (1, 2):
            options, values = zip(*run.grid, strict=True)
            cells[options][run.method, values] = rows[run.label]
    return tuple(Grid(options, of_options) for options, of_options in cells.items())


def _state(queue: Queue, task: Task) -> str:
    where = f" (see {task.log})" if task.log.exists() else ""
    if why := queue.failed.get(task.place):
        return f"{why}{where}"
    state = state_of(task)
    if state == "failed":
        return f"failed: {clipped(task.last_line, 200)}{where}"
    return {"running": "is running", "stopped": "was stopped"}.get(state, "has not begun")


def _budgets(queue: Queue) -> tuple[Appendix, ...]:
    """What was searched, with what budget, and what it chose."""
    if not queue.searchers:
        return ()
    searchers = queue.searchers.items()
    counts = [len(searcher.trials) for _, searcher in searchers]
    trials = (
        counted(counts[0], "trial") if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)} trials"
    )
    of_plan = next(iter(queue.searchers.values())).search
    budget = trials if of_plan.trials else f"{of_plan.budget}, in which were {trials}"
    rows = tuple((*key, *searcher.summary()) for key, searcher in searchers)
    text = f"Each had {budget}, on the validation split alone; the test split was scored once, afterwards."
    head = ("data set", "method", "trials", "pruned", "failed", "seconds", "best on validation")
    choices = tuple((*key, *choice) for key, searcher in searchers for choice in searcher.choices())
    what = "What was chosen, and from what."
    columns = ("data set", "method", "option", "chosen", "from")
    return Appendix("Search", text, head, rows), Appendix(
        "Chosen options", what, columns, choices, is_long=True
    )
