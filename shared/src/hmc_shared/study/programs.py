"""The programs that a plan names: where they are, and which options their `train` has."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from hmc_shared.messages import listed, shown


@lru_cache
def find_entry(name: str) -> EntryPoint | None:
    """The function that a command of this Python's packages calls."""
    return next(iter(entry_points(group="console_scripts", name=name)), None)


@lru_cache
def find_program(name: str) -> str | None:
    """The path of a command: beside this Python, where pip puts it, or on the PATH."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


@lru_cache
def _commands(program: str) -> dict[str, Any]:
    """The commands of a method's program, as its ``__main__`` names them; none for another program."""
    entry = find_entry(program)
    return getattr(import_module(entry.module), "COMMANDS", {}) if entry else {}


def train_options(command: Sequence[str]) -> type | None:
    """The dataclass of the options of ``PROGRAM train``; None if it is another command, or not known."""
    commands = _commands(command[0]) if command[1:2] == ["train"] or command[1:2] == ("train",) else {}
    return commands["train"].options if "train" in commands else None


def train_module(program: str) -> str | None:
    """The module that does the training of a method's program."""
    commands = _commands(program)
    return commands["train"].run.partition(":")[0] if "train" in commands else None


def check_train_options(command: Sequence[str], name: str, value: Any) -> None:
    """Raise ValueError for an option that the command does not have, and a value out of its bounds.

    Of a program that does not tell its options nothing is checked.
    """
    options = train_options(command)
    if options is None:
        return
    names = [field.name for field in fields(options)]
    if name not in names:
        raise ValueError(
            f"`{' '.join(command[:2])}` has no option {shown(name)}; it has {listed(sorted(names), 99)}."
        )
    default = next(field.default for field in fields(options) if field.name == name)
    if value is None or (default is MISSING and isinstance(value, list)):
        return
    if isinstance(default, bool) and not isinstance(value, bool):
        raise ValueError(f"`--{name.replace('_', '-')}` should be true or false. Found {shown(value)}.")
    if isinstance(value, int) and isinstance(default, float):
        value = float(value)
    options(**{name: value})
