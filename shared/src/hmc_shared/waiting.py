"""What a terminal shows while something takes long; nothing in processes but the first."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

from hmc_shared.cli.stopping import is_first_process

Item = TypeVar("Item")


def is_shown() -> bool:
    """Whether there is somebody to look.

    Where there is not, tqdm is not even made: its lock is one for all processes that were forked from this
    one, and a process that is killed while it has the lock would leave the others waiting for ever.
    """
    return is_first_process() and sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def waiting(text: str) -> Generator[None, None, None]:
    """A line that is gone when what is within is done."""
    if not is_shown():
        yield
        return
    with tqdm(desc=f"{text} ...", bar_format="{desc}", leave=False):
        yield


def watched(items: Iterable[Item], text: str, total: int, unit: str) -> Iterable[Item]:
    """The items, with a bar from the second second on."""
    return tqdm(items, text, total, unit=f" {unit}", leave=False, delay=1) if is_shown() else items
