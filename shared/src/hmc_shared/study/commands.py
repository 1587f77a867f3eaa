"""``hmc study run|status|report|list`` and ``hmc demo``."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from hmc_shared.compare.align import align
from hmc_shared.compare.output import terminal_width, warn, write_reports, wrote
from hmc_shared.study.engine import Workers, run_all
from hmc_shared.study.local import LocalWorkers
from hmc_shared.study.options import Demo, RunStudy, Study, StudyList, StudyOptions, StudyReport, StudyStatus
from hmc_shared.study.plan import Overrides, Plan, read_plan
from hmc_shared.study.plan_file import PlanFile
from hmc_shared.study.queue import Queue
from hmc_shared.study.shipped import shipped_plans
from hmc_shared.study.status import status_text


def study(options: Study) -> None:
    match options.command:  # pyright: ignore[reportMatchNotExhaustive]
        case RunStudy():
            run(options.command)
        case StudyStatus():
            print(status_text(open_study(options.command)))
        case StudyReport():
            report(open_study(options.command), options.command.pictures)
        case StudyList():
            rows = [
                [name, str(PlanFile(path).content.get("about", ""))] for name, path in shipped_plans().items()
            ]
            print(align(rows, left=2) if rows else "No installed package ships a plan.")


def demo(options: Demo) -> None:
    run(RunStudy("demo", seeds=options.seeds, output=options.output, jobs=options.jobs))


def run(options: RunStudy) -> None:
    """Exit code 1 if a run failed; the others are compared all the same."""
    if options.jobs is not None and options.jobs < 1:
        raise ValueError(f"`--jobs` should be at least 1. Found {options.jobs}.")
    queue = open_study(options, is_new=True)
    queue.check()
    warn(f"{dataset} is left out: {why}" for dataset, why in queue.leave_out_absent().items())
    try:
        run_all(queue, _workers(options, queue.plan), queue.plan.name)
    except KeyboardInterrupt:
        have = "has" if queue.finished == 1 else "have"
        ended = f"{queue.finished} of {queue.total} runs {have} ended"
        said = f"{ended}; the same command goes on from there, and"
        print(f"{said} `hmc study report {options.plan}` compares what is there.", file=sys.stderr)
        raise
    try:
        report(queue)
    except ValueError as error:
        if not queue.failed:
            raise
        print(f"hmc: error: {error}", file=sys.stderr)
    if queue.failed:
        sys.exit(1)


def open_study(options: StudyOptions, *, is_new: bool = False) -> Queue:
    """The plan as the command line changes it, and what of it is done. Raises ValueError for a wrong plan."""
    for name in ("dataset", "methods", "seeds"):
        values = getattr(options, name)
        if len(set(values)) < len(values):
            raise ValueError(f"`--{name}` should name each once. Found {' '.join(map(str, values))}.")
    overrides = Overrides(options.dataset, options.methods, options.seeds, options.options)
    plan = read_plan(options.plan, overrides, options.output)
    folder = options.output or Path("runs", plan.name)
    if folder.is_file():
        raise ValueError(f"`--output` should be a folder. Found the file {folder}.")
    searchers = {}
    if any(run.search for run in plan.runs):
        searchers = _optional("search", "the search of this plan").searchers(plan, folder, is_new=is_new)
    return Queue(plan, folder, searchers)


def report(queue: Queue, pictures: Path | None = None) -> None:
    """Print the tables, and write them and report.html to the folder of the study."""
    from hmc_shared.compare import text  # imports torch: not before the runs have begun
    from hmc_shared.compare.significance import critical_difference_diagram
    from hmc_shared.study.report import compare_study, rankings, with_ranks

    queue.check()
    comparison = compare_study(queue)
    found = rankings(comparison)
    comparison = with_ranks(comparison, found)
    warn(comparison.notes)
    print(text.to_text(comparison, terminal_width()))
    print("\nCommands:\n" + "\n".join(text.commands(comparison)) + "\n")
    if queue.plan.about:
        print(f"{queue.plan.about}\n")
    write_reports(comparison, queue.study, pictures)
    for protocol, ranks in found.items():
        path = queue.study / f"ranks-{protocol}.svg"
        critical_difference_diagram(ranks, path)
        wrote([path])


def _workers(options: RunStudy, plan: Plan) -> Workers:
    if options.on == "ray":
        return _optional("cluster", "`--on ray`").RayWorkers(options.jobs, options.address)
    if options.address:
        raise ValueError("`--address` is of a Ray cluster: give --on ray as well.")
    return LocalWorkers(options.jobs, {run.words[0] for run in plan.runs})


def _optional(name: str, what: str) -> Any:
    """A module that needs the extra of its name. Raises ValueError, with the command that installs it."""
    try:
        return import_module(f"hmc_shared.study.{name}")
    except ModuleNotFoundError as error:
        raise ValueError(f"{what} needs {error.name}: pip install 'hmc-shared[{name}]'.") from error
