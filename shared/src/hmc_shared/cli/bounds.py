"""What a value of an option may be, said at its field: ``epochs: Count = 100``."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from numbers import Integral, Real
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Bounds:
    """A finite number between two bounds; an open bound is not reached itself."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below and math.isfinite(value)

    @property
    def rule(self) -> str:
        """What a value should do, for messages."""
        if math.isfinite(self.high):
            left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
            return f"lie in {left}{_plain(self.low)}, {_plain(self.high)}{right}"
        if self.low == 0:
            return "be finite and above 0" if self.open_low else "be finite and not negative"
        return f"be at least {self.low:g}"


@dataclass(frozen=True)
class FreeOnResume:
    """Marks an option with which a run may be resumed whatever it was before."""


FREE = FreeOnResume()


def _plain(number: float) -> str:
    """All digits of a whole number."""
    return str(int(number)) if float(number).is_integer() else f"{number:g}"


LARGEST_SEED = 2**32 - 1
"""As numpy and scikit-learn have it."""
Seed = Annotated[int, Bounds(0, LARGEST_SEED)]
Count = Annotated[int, Bounds(1)]
NonNegativeInt = Annotated[int, Bounds(0)]
NonNegative = Annotated[float, Bounds(0)]
Positive = Annotated[float, Bounds(0, open_low=True)]
Share = Annotated[float, Bounds(0, 1)]
ShareBelow1 = Annotated[float, Bounds(0, 1, open_high=True)]


def check_options(config: Any) -> None:
    """Raise ValueError for a value out of its field's bounds, or that is none of its field's choices."""
    hints = get_type_hints(type(config), include_extras=True)
    for field in fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if value is None and type(None) in types_of(hint):
            continue
        if choices := _choices(hint):
            check(config, field.name, value in choices, f"be one of {', '.join(map(str, choices))}")
        for bounds in _markers(hint, Bounds):
            is_whole = int in types_of(hint)
            kind, rule = (Integral, "be an integer") if is_whole else (Real, "be a number")
            if not isinstance(value, Real):
                check(config, field.name, False, rule)
            check(config, field.name, bounds.holds(value), bounds.rule)
            check(config, field.name, isinstance(value, kind), rule)


def check(config: Any, name: str, holds: bool, rule: str) -> None:
    """Raise ValueError unless ``holds``, with option and value: "`--name` should <rule>. Found <value>."."""
    if not holds:
        raise ValueError(f"`--{name.replace('_', '-')}` should {rule}. Found {getattr(config, name)!r}.")


def check_output(path: str | Path | None, name: str = "output") -> None:
    """Raise ValueError, before any work is done for it, unless a file can be written there."""
    if path is None:
        return
    folder = Path(path).parent
    if Path(path).is_dir():
        raise ValueError(f"`--{name}` should be a file. Found the folder {path}.")
    if not folder.is_dir():
        raise ValueError(f"`--{name}` should be a file in a folder that is there. Found no folder {folder}.")
    is_plain = Path(path).is_file() or not Path(path).exists()  # and no device or pipe
    if is_plain and not os.access(folder, os.W_OK):
        raise ValueError(f"`--{name}` should be where files can be written. Found {path}.")


def free_options(config_type: type) -> frozenset[str]:
    """The names of the options that are marked as free on resume.

    A subclass that gives such an option another default need not mark it again.
    """
    return frozenset(
        name
        for base in config_type.__mro__
        for name, hint in get_type_hints(base, include_extras=True).items()
        if any(_markers(hint, FreeOnResume))
    )


def types_of(hint: Any) -> list[Any]:
    """The types in a hint: itself, what is annotated, or the members of a union."""
    if get_origin(hint) is Annotated:
        return types_of(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return [kind for part in get_args(hint) for kind in types_of(part)]
    return [hint]


def _choices(hint: Any) -> tuple[Any, ...]:
    return next((get_args(kind) for kind in types_of(hint) if get_origin(kind) is Literal), ())


def _markers(hint: Any, kind: type) -> Iterator[Any]:
    """The markers of one kind in a type, also inside a union."""
    if get_origin(hint) is Annotated:
        inner, *markers = get_args(hint)
        yield from (marker for marker in markers if isinstance(marker, kind))
        hint = inner
    if get_origin(hint) is not Literal:
        for part in get_args(hint):
            yield from _markers(part, kind)
