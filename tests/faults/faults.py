"""A training in a process of its own, in which something goes wrong at one event of the file system.

An event is what Python tells its audit hooks when a file is opened for writing, renamed, removed or made,
below the folder of the experiment. Processes are forked from one that has imported everything: an experiment
takes a second.
"""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}
FAULTS = ("kill", "torn", "full", "denied")
"""Killed at the event, or in the middle of the next write; no more space from there on; no permission."""
ROOM = 64
"""Bytes that still fit into a file on the full disk."""


@dataclass(frozen=True)
class Outcome:
    code: int
    """Exit code; negative for a signal."""
    events: int
    text: str
    """What it wrote to standard error."""


def run(main: Callable[[], None], folder: Path, fault: str | None = None, at: int = 0) -> Outcome:
    """Call ``main`` in a fork, where ``fault`` strikes at event number ``at`` (from 1) below ``folder``."""
    read, write = os.pipe()  # not a file, which a full disk would cut
    process = os.fork()
    if process == 0:
        code = 70
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(write, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            warnings.simplefilter("default")  # for users they are no errors, as they are in tests
            count = _watch(folder, fault, at)
            code = _exit_code(main)
            print(f"\n{count[0]}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    events = int(text.split()[-1]) if code >= 0 else 0
    return Outcome(code, events, text)


def _exit_code(main: Callable[[], None]) -> int:
    try:
        main()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        return 70
    return 0


def _watch(folder: Path, fault: str | None, at: int) -> list[int]:
    count, root = [0], str(folder)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in EVENTS or not str(arguments[0]).startswith(root):
            return
        if event == "open" and not _is_writing(arguments):
            return
        count[0] += 1
        if count[0] == at:
            _strike(fault)

    sys.addaudithook(hook)
    return count


def _is_writing(arguments: tuple[object, ...]) -> bool:
    _path, _mode, flags = arguments
    return bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR))


def _strike(fault: str | None) -> None:
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "denied":
        raise PermissionError(errno.EACCES, "Permission denied")
    if fault in ("torn", "full"):  # beyond the limit the system kills, or refuses to write
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fault == "torn" else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))


def digest(run: Path) -> str:
    """Of the weights and the predictions of a run: the same bits, the same digest."""
    import numpy as np
    from safetensors.numpy import load_file

    sha = hashlib.sha256()
    with np.load(run / "predictions.npz") as arrays:
        content = dict(arrays) | load_file(run / "model" / "model.safetensors")
    for name, array in sorted(content.items()):
        sha.update(f"{name} {array.shape} {array.dtype}".encode() + array.tobytes())
    return sha.hexdigest()


def leftovers(folder: Path) -> list[str]:
    """What no run should leave: half files, half checkpoints, half entries of the cache."""
    names = [path for path in folder.rglob("*") if path.name.endswith("partial")]
    # An empty lock is removed with the next entry that is written.
    names += [path for path in (folder / "cache").glob(".*") if path.suffix != ".lock"]
    return [str(path.relative_to(folder)) for path in names]
