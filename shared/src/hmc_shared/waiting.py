"""What a terminal shows while something takes long; nothing in processes but the first."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

from hmc_shared.cli.stopping import is_first_process

Item = TypeVar("Item")


def is_quiet() -> bool | None:
    """What tqdm takes for ``disable``: None is quiet without a terminal."""
    return None if is_first_process() else True


@contextmanager
def waiting(text: str) -> Generator[None, None, None]:
    """A line that is gone when what is within is done."""
    with tqdm(desc=f"{text} ...", bar_format="{desc}", leave=False, disable=is_quiet()):
        yield


def watched(items: Iterable[Item], text: str, total: int, unit: str) -> Iterable[Item]:
    """The items, with a bar from the second second on."""
    return tqdm(items, text, total, unit=f" {unit}", leave=False, disable=is_quiet(), delay=1)
