"""What a study remembers of a run beside its folder: who is at it, how it ended, how long it took."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hmc_shared.cli.parse import OPTION
from hmc_shared.messages import clipped
from hmc_shared.object_files import read_json
from hmc_shared.runs.files import naming
from hmc_shared.study.programs import options_of

_KINDS: dict[str, Any] = {
    "seconds": int | float,
    "since": int | float,
    "words": list,
    "state": str,
    "host": str,
}
_PLACES = ("data_dir", "output_dir", "resume")
PATIENCE = 60.0
"""Seconds to wait for a run that was killed and is not gone yet."""
LOST = 255
"""What multiprocessing gives as exit code of a process whose forkserver has ended before it."""
_TORCHRUN = re.compile(r"[EW]\d{4} .*torch/distributed/elastic/")
"""How it begins to tell that a process has failed."""
_TAIL = 8192  # bytes of a log in which its last lines are looked for


def _is_right(name: str, value: Any) -> bool:
    is_finite = not isinstance(value, float) or math.isfinite(value)
    return is_finite and isinstance(value, _KINDS.get(name, object))


def settings_of(words: Sequence[str]) -> dict[str, list[str]]:
    """What a command line sets: the last values of each option, and as "" what stands before the options.

    Less the options that say where things lie.
    """
    settings = {"": list(takewhile(lambda word: not OPTION.match(word), words)), **dict(options_of(words))}
    return {name: values for name, values in settings.items() if name not in _PLACES}


def killed(code: int) -> str:
    """What ended a program that did not end itself; "" for other exit codes."""
    if code == LOST:
        return "lost its parent, from which runs are started: it was killed, as where memory runs out"
    if code >= 0:
        return ""
    names = {number.value: number.name for number in signal.Signals}
    why = ", as where memory runs out" if names.get(-code) == "SIGKILL" else ""
    return f"was killed by {names.get(-code, f'signal {-code}')}{why}"


def _of_the_program(lines: list[str]) -> list[str]:
    """The lines without the report of torchrun, of which the signal that was the cause is kept."""
    at = next((at for at, line in enumerate(lines) if _TORCHRUN.match(line)), len(lines))
    causes = [line for line in lines[at:] if line.startswith("exitcode")]
    return [*lines[:at], *(line for line in causes[-1:] if "(SIG" in line)]


def _told(name: str, values: Sequence[str]) -> str:
    """One setting as a command line says it."""
    return shlex.join([*(["--" + name.replace("_", "-")] if name else []), *values])


def _is_whole(path: Path) -> bool:
    """Whether a file of JSON is there and ends as one does: what is cut off or empty is not finished."""
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 16, 0))
            return file.read().rstrip().endswith(b"}")
    except OSError:
        return False


@dataclass(frozen=True)
class Task:
    """Something to start: a run, or a trial of a search."""

    place: str
    """Its folder below the study's, which is also its name."""
    study: Path
    words: tuple[str, ...]
    """The whole command line."""
    done_file: str = "results.json"
    """The file of its folder whose presence says that it is finished."""
    processes: int = 1

    @property
    def folder(self) -> Path:
        return self.study / self.place

    @property
    def log(self) -> Path:
        """What the program prints."""
        return self.study / "logs" / f"{self.place}.log"

    @property
    def is_finished(self) -> bool:
        return _is_whole(self.folder / self.done_file)

    @property
    def record(self) -> Path:
        return self.log.with_suffix(".json")

    def wait_until_free(self, seconds: float = PATIENCE) -> None:
        """Wait for what still writes the run: a start that was killed may be at its last checkpoint."""
        if (self.folder / ".lock").exists():
            with suppress(Timeout, OSError), FileLock(self.folder / ".lock", timeout=seconds):
                pass

    def failure(self, code: int) -> str:
        """Why it is not finished, in a line."""
        said = clipped(self.last_line, 200)
        how = killed(code) or (f"failed with exit code {code}" if code else f"ended without {self.done_file}")
        return f"{how}: {said}" if said else how

    def lock(self) -> FileLock | None:
        """Held by the study that is at it, on whatever machine; None if another one is."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.log.with_suffix(".lock"), timeout=0)
        try:
            return lock.acquire().lock  # type: ignore[return-value]
        except Timeout:
            return None

    def write(self, **values: Any) -> None:
        """Write the record; it is worth no waiting for the disk."""
        temporary = self.record.with_suffix(".partial")
        with naming(self.record):
            temporary.write_text(json.dumps(values), encoding="utf-8")
            temporary.replace(self.record)

    def begin(self) -> None:
        where = {"host": socket.gethostname(), "process": os.getpid()}
        self.write(state="running", **where, since=time.time(), words=self.words)

    def end(self, code: int, seconds: float) -> None:
        ended = {"state": "done" if self.is_finished else "failed", "exit_code": code, "seconds": seconds}
        self.write(**ended, words=self.words, lines=[] if self.is_finished else self.last_lines())

    def check(self) -> None:
        """Raise ValueError for a finished run that was started with other options."""
        if (before := self._words_before()) is None:
            return
        now, then = settings_of(self.words), settings_of(before)
        if now != then:
            different = [_told(name, values) for name, values in now.items() if then.get(name) != values]
            different += [f"no {_told(name, values)}" for name, values in then.items() if name not in now]
            raise ValueError(
                f"{self.folder} was run as `{clipped(shlex.join(before), 300)}`; the plan says "
                f"{clipped(', '.join(different), 200)} now. Choose another --output, or delete that folder."
            )

    def _words_before(self) -> list[str] | None:
        """The command line of a finished run, as the study remembers it, else as its results do."""
        before = self.read().get("words")
        if isinstance(before, list) and all(isinstance(word, str) for word in before):
            return before
        try:
            command = read_json(self.folder / "results.json").get("command")
            words = shlex.split(command) if isinstance(command, str) else []
        except ValueError:
            return None
        return [*self.words[:2], *words[words.index("train") + 1 :]] if "train" in words else None

    def read(self) -> Mapping[str, Any]:
        """The record, less values of other types; empty if there is none that can be read."""
        try:
            content = read_json(self.record)
        except ValueError:
            return {}
        return {name: value for name, value in content.items() if _is_right(name, value)}

    @property
    def last_line(self) -> str:
        """What the program printed last, such as its progress bar."""
        return next(iter(reversed(self.last_lines())), "")

    def last_lines(self, count: int = 3) -> list[str]:
        try:
            with self.log.open("rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - _TAIL, 0))
                lines = re.split(r"[\r\n]+", file.read().decode(errors="replace"))
        except FileNotFoundError:
            return []
        plain = (line.strip(" │╭╮╰╯─\t") for line in lines)  # such as the box around an error of options
        return _of_the_program([line for line in plain if line])[-count:]
