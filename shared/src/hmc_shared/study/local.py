"""Runs as processes of this machine, forked from one that has imported torch and the rest already."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Sequence
from importlib.metadata import EntryPoint
from multiprocessing import connection
from types import ModuleType
from typing import Any

from hmc_shared.study.programs import find_entry, find_program, train_module
from hmc_shared.study.records import Task

PRELOAD = (
    *("torch", "torchvision", "accelerate", "datasets", "sklearn.datasets", "scipy.optimize", "jinja2"),
    *("psutil", "tyro", "hmc_shared.data.load", "hmc_shared.runs.folder", "hmc_shared.cli.commands"),
)
"""Imported once, as far as they are installed."""
GPUS = "CUDA_VISIBLE_DEVICES"


class LocalWorkers:
    """As many runs at a time as GPUs, or as cores where there is none, four at most; or ``jobs``."""

    def __init__(self, jobs: int | None, programs: Collection[str]) -> None:
        self.gpus = visible_gpus()
        self.slots = jobs or len(self.gpus) or min(os.cpu_count() or 1, 4)
        self._running: dict[Task, tuple[Any, list[str]]] = {}
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: threads wait more than they compute
        is_posix = sys.platform != "win32"
        self._context: Any = multiprocessing.get_context("forkserver" if is_posix else "spawn")
        if is_posix:
            modules = [module for program in programs if (module := train_module(program))]
            self._context.set_forkserver_preload(
                [*PRELOAD, *dict.fromkeys(modules), "hmc_shared.study.preloaded"]
            )

    def has_room(self) -> bool:
        """Whether another task could start now; one of several processes may take more than there are."""
        return sum(task.processes for task in self._running) < self.slots

    def start(self, task: Task) -> None:
        taken = [gpu for _, gpus in self._running.values() for gpu in gpus]
        gpus = [gpu for gpu in self.gpus if gpu not in taken][: task.processes]
        program, *options = task.words
        entry = find_entry(program) if task.processes == 1 else None
        target, words = (_call, (entry, *options)) if entry else (_execute, launch_words(task))
        process = self._context.Process(target=target, args=(words, str(task.log), gpus), daemon=False)
        process.start()
        self._running[task] = process, gpus

    def wait(self, seconds: float) -> list[tuple[Task, int]]:
        """Wait until a run ends, or so long; those that have ended, with their exit codes."""
        connection.wait([process.sentinel for process, _ in self._running.values()], timeout=seconds)
        ended = [(task, process) for task, (process, _) in self._running.items() if not process.is_alive()]
        for task, process in ended:
            process.join()
            del self._running[task]
        return [(task, process.exitcode) for task, process in ended]

    def stop(self, tasks: Collection[Task]) -> None:
        """Ask runs to write a checkpoint and end."""
        for task in tasks:
            self._running[task][0].terminate()

    def kill(self, tasks: Collection[Task]) -> None:
        for task in tasks:
            self._running[task][0].kill()


def launch_words(task: Task) -> tuple[str, ...]:
    """The command line of a program; of one that needs several processes, torchrun's."""
    program, *options = task.words
    if task.processes == 1:
        return find_program(program) or program, *options
    entry = find_entry(program)
    module = entry.module.removesuffix(".__main__") if entry else program
    start = (
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={task.processes}",
        "-m",
        module,
    )
    return sys.executable, *start, *options


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (named := os.environ.get(GPUS)) is not None:
        return [gpu for gpu in named.split(",") if gpu]
    if shutil.which("nvidia-smi") is None:
        return []
    words = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()


def _call(words: tuple[EntryPoint, *tuple[str, ...]], log: str, gpus: Sequence[str]) -> None:
    """In the new process: be the program, as if a shell had started it."""
    entry, *options = words
    _prepare(log, gpus)
    _end_with_parent(os.getpid())
    sys.argv = [find_program(entry.name) or entry.name, *options]
    sys.modules["__main__"] = ModuleType("__main__")  # which says what was started: not the study
    entry.load()()


def _execute(words: Sequence[str], log: str, gpus: Sequence[str]) -> None:
    """In the new process: start another program, and be stopped together with it."""
    _prepare(log, gpus)
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the program, too
    _end_with_parent(process.pid)
    sys.exit(process.wait())


def _prepare(log: str, gpus: Sequence[str]) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for stream in (1, 2):
        os.dup2(file, stream)
    if gpus:
        os.environ[GPUS] = ",".join(gpus)


def _end_with_parent(process: int) -> None:
    """Send SIGTERM to a process when the study ends, however it ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(process, signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
