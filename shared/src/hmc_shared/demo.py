"""The main job in one command: all methods on embedded data, each run in its own process, then compared.

Which methods and with which options, their packages say (:mod:`hmc_shared.methods`). Nothing here imports a
method: a run is a command line, and what it leaves behind is a run folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from hmc_shared.cli.stopping import PARENT
from hmc_shared.methods import PUBLISHED, installed_methods

if TYPE_CHECKING:
    from hmc_shared.compare.comparison import Comparison

METRICS = ("au_prc", "map", "f1_micro", "f1_macro", "accuracy_level_*", "hvr", "incoherent")
_TAIL = 4096  # bytes of a log in which its last line is looked for


@dataclass(frozen=True)
class Job:
    """One run: a method, a seed, and where it writes."""

    label: str
    seed: int
    command: tuple[str, ...]
    """The program and its options, without seed and folder."""
    folder: Path
    log: Path
    """What the program prints."""

    @property
    def words(self) -> list[str]:
        """The whole command line: starts the run, or goes on from its last checkpoint."""
        where = ["--output-dir", str(self.folder), "--resume"]
        return [*self.command, "--seed", str(self.seed), *where]

    @property
    def is_finished(self) -> bool:
        return (self.folder / "results.json").is_file()

    @property
    def last_line(self) -> str:
        """What the program printed last, such as its progress bar."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - _TAIL, 0))
                lines = re.split(r"[\r\n]+", file.read().decode(errors="replace"))
        except FileNotFoundError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def plan(output: Path, seeds: Sequence[int]) -> tuple[list[Job], dict[str, str]]:
    """The runs, the first seed of every method first, the longest runs first; and what is not installed."""
    missing = {name: f"not installed: pip install {name}" for name in PUBLISHED if find_program(name) is None}
    methods = [method for method in installed_methods() if method.demo is not None]
    methods.sort(key=lambda method: -method.demo_minutes)
    jobs = []
    for seed in seeds:
        for method in methods:
            program, *options = method.demo_command
            path = find_program(program)
            if path is None:
                missing[method.label] = f"the program {program} is not on the PATH"
                continue
            folder = output / "digits" / method.label / f"seed-{seed}"
            log = output / "logs" / f"{method.label}-seed-{seed}.log"
            jobs.append(Job(method.label, seed, (path, *options), folder, log))
    return jobs, missing


def find_program(name: str) -> str | None:
    """The path of a command: beside this Python, where pip puts it, or on the PATH."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def run_jobs(jobs: Sequence[Job], at_a_time: int) -> dict[Job, int]:
    """Run what is not finished yet, with progress on standard error; the exit codes of those that failed.

    If it is interrupted, the programs are stopped: they go on from their last checkpoint next time.
    """
    waiting = [job for job in jobs if not job.is_finished]
    running: dict[Job, tuple[subprocess.Popen[bytes], float]] = {}
    failed: dict[Job, int] = {}
    ended = len(jobs) - len(waiting)
    with _display(len(jobs), ended, at_a_time) as (bar, lines):
        try:
            while waiting or running:
                while waiting and len(running) < at_a_time:
                    job = waiting.pop(0)
                    running[job] = _start(job), time.monotonic()
                for job, (process, started) in list(running.items()):
                    code = process.poll()
                    if code is None:
                        continue
                    del running[job]
                    ended += 1
                    bar.update()
                    how = f"done in {time.monotonic() - started:.0f} s"
                    if code or not job.is_finished:
                        failed[job] = code
                        how = f"failed with exit code {code}: {job.last_line} (see {job.log})"
                    tqdm.write(f"[{ended}/{len(jobs)}] {job.label}, seed {job.seed}: {how}", file=sys.stderr)
                shown = [f"  seed {job.seed}  {job.last_line}" for job in running]
                width = shutil.get_terminal_size().columns - 1  # a line that wraps would spoil the display
                for line, text in zip(lines, [*shown, *[""] * at_a_time], strict=False):
                    line.set_description_str(text[:width])
                time.sleep(0.1)
        finally:
            for process, _ in running.values():
                process.terminate()
            for process, _ in running.values():
                process.wait()
    return failed


def compare_jobs(jobs: Sequence[Job], missing: dict[str, str], failed: dict[Job, int]) -> Comparison:
    """The comparison of what is finished, with a line for each method that is not.

    Raises ValueError if nothing is.
    """
    from hmc_shared.compare.comparison import compare  # imports torch: not before the runs have begun

    finished = [job.folder for job in jobs if job.is_finished]
    lines = dict(missing)
    for job, code in failed.items():
        why = f"seed {job.seed} failed with exit code {code}: see {job.log}"
        lines[job.label] = f"{lines[job.label]}; {why}" if job.label in lines else why
    if not finished:
        reasons = "; ".join(f"{label} {why}" for label, why in lines.items())
        raise ValueError(f"There is no finished run to compare: {reasons}.")
    comparison = compare(finished, METRICS)
    first, *others = comparison.tables
    return replace(comparison, tables=(replace(first, missing=tuple(lines.items())), *others))


def _start(job: Job) -> subprocess.Popen[bytes]:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    # Small tensors: threads wait more than they compute.
    environment = {"OMP_NUM_THREADS": "1", **os.environ, PARENT: str(os.getpid())}
    with job.log.open("wb") as log:
        return subprocess.Popen(
            job.words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
        )


@contextmanager
def _display(
    total: int, finished: int, at_a_time: int
) -> Generator[tuple[tqdm[Any], list[tqdm[Any]]], None, None]:
    """A bar of finished runs, and below it a line for each that is running; nothing without a terminal."""
    off = not sys.stderr.isatty()
    bar = tqdm(total=total, initial=finished, desc="demo", unit="run", disable=off, dynamic_ncols=True)
    lines = [
        tqdm(bar_format="{desc}", position=1 + place, leave=False, disable=off, dynamic_ncols=True)
        for place in range(at_a_time)
    ]
    try:
        yield bar, lines
    finally:
        for line in reversed(lines):
            line.close()
        bar.close()
