"""Runs as tasks of Ray, on this machine or on a cluster whose machines share the disk of the study."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping
from typing import Any

import ray
import ray.exceptions

from hmc_shared.cli.stopping import PARENT
from hmc_shared.study.local import launch_words
from hmc_shared.study.records import Task

RETRIES = 3
"""Starts after one whose machine or worker was lost; each goes on from the last checkpoint."""


class RayWorkers:
    """Tasks that each take a core, or a GPU where the cluster has any; ``jobs`` at a time at most.

    Raises ValueError if there is no cluster at the address.
    """

    def __init__(self, jobs: int | None, address: str | None) -> None:
        try:  # one that has been started in this process already is taken
            ray.init(
                ignore_reinit_error=True,
                address=address,
                log_to_driver=False,
                configure_logging=False,
                include_dashboard=False,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ValueError(f"`--address` should be of a running Ray cluster: {error}") from error
        resources = ray.cluster_resources()
        self.gpus = int(resources.get("GPU", 0))
        self.slots = jobs or self.gpus or max(1, int(resources.get("CPU", 1)))
        self._running: dict[Task, Any] = {}

    @property
    def room(self) -> int:
        return self.slots - sum(task.processes for task in self._running)

    def start(self, task: Task) -> None:
        share: dict[str, Any] = {"num_gpus": task.processes} if self.gpus else {"num_cpus": task.processes}
        environment = {name: value for name, value in os.environ.items() if name.startswith("HMC_")}
        remote = ray.remote(max_retries=RETRIES, **share)(_execute)
        self._running[task] = remote.remote(task, os.getcwd(), environment)

    def wait(self, seconds: float) -> list[tuple[Task, int]]:
        if not self._running:
            return []
        done, _ = ray.wait(list(self._running.values()), num_returns=1, timeout=seconds)
        ended = []
        for task in [task for task, reference in self._running.items() if reference in done]:
            try:
                code = ray.get(self._running.pop(task))
            except ray.exceptions.RayError as error:  # cancelled, or lost more often than it is tried again
                with task.log.open("a") as log:
                    log.write(f"\n{type(error).__name__}: {' '.join(str(error).split())[:300]}\n")
                code = 1
            ended.append((task, code))
        return ended

    def stop(self, tasks: Collection[Task]) -> None:
        for task in tasks:
            ray.cancel(self._running[task], force=False)

    def kill(self, tasks: Collection[Task]) -> None:
        for task in tasks:
            ray.cancel(self._running[task], force=True)


def _execute(task: Task, folder: str, environment: Mapping[str, str]) -> int:
    """In a worker: run a command line, which ends with the worker, and return its exit code."""
    os.chdir(folder)
    task.wait_until_free()
    environment = {"OMP_NUM_THREADS": "1", **os.environ, **environment}
    if task.processes == 1:  # torchrun's processes have torchrun as parent, which ends them
        environment[PARENT] = str(os.getpid())
    with task.log.open("wb") as file:
        process = subprocess.Popen(
            launch_words(task),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            return process.wait()
        except BaseException:  # cancelled
            process.terminate()
            process.wait()
            raise
