"""What a study remembers of a run beside its folder: who is at it, how it ended, how long it took."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hmc_shared.object_files import read_json

_KINDS: dict[str, Any] = {
    "seconds": int | float,
    "since": int | float,
    "words": list,
    "state": str,
    "host": str,
}
_TAIL = 8192  # bytes of a log in which its last lines are looked for


def _options(words: Sequence[str]) -> list[list[str]]:
    """The options of a command line, less those that say where things lie, each with its values."""
    options: list[list[str]] = []
    for word in words[1:]:
        if word.startswith("--") or not options:
            options.append([])
        options[-1].append(word)
    return sorted(option for option in options if option[0] not in ("--data-dir", "--output-dir", "--resume"))


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
        return (self.folder / self.done_file).is_file()

    @property
    def record(self) -> Path:
        return self.log.with_suffix(".json")

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
        before = self.read().get("words")
        if not isinstance(before, list) or not all(isinstance(word, str) for word in before):
            return
        if _options(before) != _options(self.words):
            now, then = _options(self.words), _options(before)
            different = [shlex.join(one) for one in now if one not in then] or ["fewer options"]
            raise ValueError(
                f"{self.folder} was run as `{shlex.join(before)}`; the plan says {', '.join(different)} now. "
                "Choose another --output, or delete that folder."
            )

    def read(self) -> Mapping[str, Any]:
        """The record, less values of other types; empty if there is none that can be read."""
        try:
            content = read_json(self.record)
        except ValueError:
            return {}
        return {name: value for name, value in content.items() if isinstance(value, _KINDS.get(name, object))}

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
        return [line.strip() for line in lines if line.strip()][-count:]
