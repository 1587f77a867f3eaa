"""Feeds damaged files to a reader, which must read them or raise its documented error, in bounded resources.

An input is a valid file, mutated; which one depends on reader, seed and number alone. Readers run in a worker
process: one that dies, hangs or takes too much memory is a failure like any other, and another goes on.
"""

from __future__ import annotations

import multiprocessing
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 5  # of CPU time, for one input
MEMORY = 1 << 30  # bytes beyond what the process has before its first input
LONGEST_MESSAGE = 1000
LARGEST = 1 << 20  # bytes of an input
NUMBERS = (b"99999999999", b"-1", b"1e400", b"9" * 5000, b"0x1F", b"1_000", b"NaN", b"-Infinity", b"0")
CONTEXT = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Reader:
    name: str
    read: Callable[[bytes, Path], object]
    """Reads a content; the folder is empty, for readers of paths."""
    seeds: tuple[bytes, ...]
    """Valid contents."""
    tokens: tuple[bytes, ...] = ()
    """What the format is made of, to be put in anywhere."""
    allowed: tuple[type[BaseException], ...] = (ValueError,)
    says: str = ""
    """What every message names."""
    slow: int = 1
    """It gets so many times fewer inputs."""


@dataclass(frozen=True)
class Failure:
    reader: str
    number: int
    what: str
    content: bytes

    def __str__(self) -> str:
        return f"{self.reader} #{self.number}: {self.what}\n    {self.content[:300]!r}"


def damaged(reader: Reader, seed: int, number: int) -> bytes:
    """The input of this number: a seed of the reader with one to four mutations."""
    rng = random.Random(f"{reader.name} {seed} {number}")
    content = rng.choice(reader.seeds)
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = rng.choice(MUTATIONS)(content, rng, reader)[:LARGEST]
    return content


def _flip(content: bytes, rng: random.Random, _: Reader) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 20)) if content else 0):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _span(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randint(0, len(content))
    return start, min(len(content), start + rng.choice((1, 2, 8, 50, len(content))))


def _times(content: bytes, count: int) -> bytes:
    return content * min(count, LARGEST // max(1, len(content)))


def _cut(content: bytes, rng: random.Random, _: Reader) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + content[end:]


def _repeat(content: bytes, rng: random.Random, _: Reader) -> bytes:
    start, end = _span(content, rng)
    return content[:end] + _times(content[start:end], rng.choice((1, 2, 100, 20000))) + content[end:]


def _insert(content: bytes, rng: random.Random, reader: Reader) -> bytes:
    place = rng.randint(0, len(content))
    token = rng.choice(reader.tokens or (b"\0",))
    return content[:place] + _times(token, rng.choice((1, 1, 2, 10000))) + content[place:]


def _number(content: bytes, rng: random.Random, _: Reader) -> bytes:
    places = list(re.finditer(rb"[0-9]+", content))
    if not places:
        return content
    match = rng.choice(places)
    return content[: match.start()] + rng.choice(NUMBERS) + content[match.end() :]


def _move_lines(content: bytes, rng: random.Random, _: Reader) -> bytes:
    lines = content.split(b"\n")
    line = lines.pop(rng.randrange(len(lines)))
    lines.insert(rng.randint(0, len(lines)), line)
    return b"\n".join(lines)


def _nest(content: bytes, rng: random.Random, reader: Reader) -> bytes:
    opening = rng.choice([token for token in reader.tokens if token[:1] in b"{[<("] or [b"["])
    place = rng.randint(0, len(content))
    return content[:place] + _times(opening, rng.choice((10, 5000, 50000))) + content[place:]


def _splice(content: bytes, rng: random.Random, reader: Reader) -> bytes:
    other = rng.choice(reader.seeds)
    return content[: rng.randint(0, len(content))] + other[rng.randint(0, len(other)) :]


MUTATIONS = (_flip, _cut, _repeat, _insert, _insert, _number, _move_lines, _nest, _splice)


def complaint(reader: Reader, content: bytes, folder: Path) -> str | None:
    """What is wrong with the answer of the reader; None if it reads or refuses the content as it should."""
    try:
        with redirect_stdout(None), redirect_stderr(None), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(content, folder)
    except reader.allowed as error:
        message = str(error)
        if isinstance(error, SystemExit):
            return None if error.code == 2 else f"an exit with code {error.code}"
        if reader.says not in message:
            return f"a message without {reader.says}: {message[:200]!r}"
        if "\n" in message or not 0 < len(message) <= LONGEST_MESSAGE:
            return f"a message of {len(message)} characters: {message[:200]!r}"
    except (Exception, _OutOfTime) as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return None


def failures(reader: Reader, count: int, seed: int = 0) -> list[Failure]:
    """Those among ``count`` inputs, at most ten."""
    found: list[Failure] = []
    number = 0
    while number < count and len(found) < 10:
        receiver, sender = CONTEXT.Pipe(duplex=False)
        worker = CONTEXT.Process(target=_work, args=(reader, range(number, count), seed, sender))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about threads and fork: the worker starts none
            worker.start()
        sender.close()
        what: str | None = f"no answer in {10 * SECONDS} s"
        try:
            while receiver.poll(10 * SECONDS):
                number, what = receiver.recv()
                if what is not None:
                    break
                number, what = number + 1, f"no answer in {10 * SECONDS} s"
        except EOFError:
            worker.join()
            what = f"the process died, exit code {worker.exitcode}" if number < count else None
        worker.kill()
        worker.join()
        if what is not None:
            found.append(Failure(reader.name, number, what, damaged(reader, seed, number)))
            number += 1
    return found


class _OutOfTime(BaseException):
    """Not an Exception: a reader must not catch it."""


def _out_of_time(*_: object) -> None:
    raise _OutOfTime(f"more than {SECONDS} s")


def _work(reader: Reader, numbers: range, seed: int, sender: Any) -> None:
    """Send (number, complaint or None) for each input."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    signal.signal(signal.SIGPROF, _out_of_time)
    with tempfile.TemporaryDirectory() as top:
        for number in numbers:
            content = damaged(reader, seed, number)
            folder = Path(top, str(number))
            folder.mkdir()
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            what = complaint(reader, content, folder)
            signal.setitimer(signal.ITIMER_PROF, 0)
            shutil.rmtree(folder)
            sender.send((number, what))
