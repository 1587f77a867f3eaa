"""Runs as processes of this machine, forked from one that has imported torch and the rest already."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence
from multiprocessing import connection
from types import ModuleType
from typing import Any

from hmc_shared.study.programs import find_entry, find_program, train_modules
from hmc_shared.study.records import Task

PRELOAD = (
    *("torch", "torchvision", "accelerate", "datasets", "sklearn.datasets", "scipy.optimize", "jinja2"),
    *("psutil", "tyro", "hmc_shared.data.load", "hmc_shared.runs.folder", "hmc_shared.cli.commands"),
)
"""Imported once, as far as they are installed."""
GPUS = "CUDA_VISIBLE_DEVICES"
KILL = getattr(signal, "SIGUSR1", signal.SIGTERM)  # Windows has neither this nor SIGKILL, nor groups
"""Sent to the process that has started another program: kill it and all its own."""
PATIENCE = 60.0
"""Seconds that a run has to write a checkpoint when the study is gone."""


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
            modules = [module for program in programs for module in train_modules(program)]
            self._context.set_forkserver_preload([*PRELOAD, *dict.fromkeys(modules)])
            _start_forkserver()

    @property
    def room(self) -> int:
        """Processes that may start now."""
        return self.slots - sum(task.processes for task in self._running)

    def start(self, task: Task) -> None:
        taken = [gpu for _, gpus in self._running.values() for gpu in gpus]
        gpus = [gpu for gpu in self.gpus if gpu not in taken][: task.processes]
        target, words = (_call, task.words) if _is_called(task) else (_execute, launch_words(task))
        process = self._context.Process(target=target, args=(task, words, gpus), daemon=False)
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
            process = self._running[task][0]
            if _is_called(task):
                process.kill()
            else:
                with contextlib.suppress(ProcessLookupError):  # it may end at this moment, as any run
                    os.kill(process.pid, KILL)  # it takes its program along


def _start_forkserver() -> None:
    """With SIGINT ignored: Ctrl-C in a terminal goes to all its processes, and this one would print where."""
    from multiprocessing import forkserver  # which Windows has not

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
    try:
        forkserver.ensure_running()
    finally:
        if is_main:
            signal.signal(signal.SIGINT, before or signal.SIG_DFL)  # None: of no Python code


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
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return [word for word in done.stdout.split() if word.isdigit()] if done.returncode == 0 else []


def _is_called(task: Task) -> bool:
    """Whether the program is a function of a package that is installed, and needs one process."""
    return task.processes == 1 and find_entry(task.words[0]) is not None


def _call(task: Task, words: Sequence[str], gpus: Sequence[str]) -> None:
    """In the new process: be the program, as if a shell had started it."""
    program, *options = words
    _prepare(task, gpus)
    _end_with_parent(getattr(signal, "SIGKILL", signal.SIGTERM))
    sys.argv = [find_program(program) or program, *options]
    sys.modules["__main__"] = ModuleType("__main__")  # which says what was started: not the study
    entry = find_entry(program)
    assert entry is not None
    entry.load()()


def _execute(task: Task, words: Sequence[str], gpus: Sequence[str]) -> None:
    """In the new process: start another program, with all its own a group that ends together."""
    _prepare(task, gpus)
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def forward(number: int, _: object) -> None:
        if process is None:
            early.append(number)  # asked while the program starts: told as soon as there is one
        elif sys.platform == "win32":
            process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):  # ended at this moment
                os.killpg(process.pid, signal.SIGKILL if number == KILL else signal.SIGTERM)

    for number in (signal.SIGTERM, KILL):
        signal.signal(number, forward)
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    for number in early:
        forward(number, None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the study says what ends
    _end_with_parent(KILL)
    sys.exit(process.wait())


def _prepare(task: Task, gpus: Sequence[str]) -> None:
    task.wait_until_free()
    file = os.open(task.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for stream in (1, 2):
        os.dup2(file, stream)
    if gpus:
        os.environ[GPUS] = ",".join(gpus)


def _end_with_parent(last: signal.Signals) -> None:
    """Send SIGTERM to this process when the study ends, however it ends; if that does not help, ``last``."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)
        os.kill(os.getpid(), last)

    threading.Thread(target=watch, daemon=True).start()
