"""Words of messages that stay short, whatever stands in a file; and whether notes are shown at all."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextvars import ContextVar

QUIET = ContextVar("quiet", default=False)
"""Whether the trainings of this thread show nothing on standard error, as estimators want it."""

REMEDIES = "Try a lower --learning-rate, --clip-norm 1, or --skip-bad-steps 10"
"""Against a training that diverges."""


def shown(value: object, limit: int = 60) -> str:
    """``repr`` of a value, cut in the middle where it is longer than ``limit``."""
    text = repr(value[: 4 * limit]) if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else f"{text[: limit // 2]}...{text[-limit // 4 :]}"


def clipped(text: str, limit: int = 60) -> str:
    """A name, its beginning where it is longer than ``limit``, on one line."""
    line = " ".join(text.split()) if len(text.splitlines()) > 1 else text
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def listed(names: Iterable[object], limit: int = 10, width: int = 60) -> str:
    """Names with commas between them, the first of many, each cut where it is longer than ``width``."""
    every = list(names)
    more = [f"and {len(every) - limit} more"] if len(every) > limit else []
    return ", ".join([clipped(str(name), width) or "''" for name in every[:limit]] + more)


def counted(number: int, what: str) -> str:
    """The number of things, such as "1 run" and "2 runs"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def some(names: Iterable[str], limit: int = 5) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def reason(error: BaseException) -> str:
    """What an error says, in one line of a bounded length."""
    return clipped(" ".join(str(error).split()) or type(error).__name__, 300)


def tell(text: str) -> None:
    """Print a line on standard error, unless it is to be quiet."""
    if not QUIET.get():
        print(text, file=sys.stderr)
