"""Ctrl-C, and the SIGTERM of a cluster: a command ends at once, a training when its step is done."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from types import FrameType

AGAIN = 1.0
"""Seconds after which a second signal is meant: a terminal and a launcher both send the first."""


class Stopped(KeyboardInterrupt):
    """A command was asked to stop. Its text, if it has any, says what it leaves and how to go on."""

    def __init__(self, number: int, text: str = "") -> None:
        super().__init__(text)
        self.number = number


class StopRequest:
    """What the signals of this process have asked for."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The signal that came while a loop was ready to stop by itself."""
        self.is_awaited = False
        """Whether such a loop is running; else a signal raises :class:`Stopped` where it comes."""
        self._process = 0
        self._since = 0.0

    def catch(self) -> None:
        """Take SIGINT and SIGTERM of this process from now on; only its main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._process = os.getpid()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that was forked: its parent ends it
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        now = time.monotonic()
        if not self.is_awaited or (self.number is not None and now - self._since > AGAIN):
            raise Stopped(number)
        if self.number is None:
            self.number, self._since = number, now
            if not is_first_process():
                return
            message = "\nstopping after this step, with a checkpoint; once more to stop at once\n"
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, message.encode())


STOP = StopRequest()


def is_first_process() -> bool:
    """Whether a launcher has started no process before this one: one speaks for all."""
    return os.environ.get("RANK", "0") == "0"


PARENT = "HMC_PARENT"
"""Environment variable with the number of the process without which this one should not go on."""
_PR_SET_PDEATHSIG = 1


def stop_with_parent() -> None:
    """Be sent SIGTERM when the process that started this one ends, however it ends, if that has asked for it.

    Only Linux can do so.
    """
    parent = os.environ.pop(PARENT, None)
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if str(os.getppid()) != parent:  # it has ended already
        raise Stopped(signal.SIGTERM)
