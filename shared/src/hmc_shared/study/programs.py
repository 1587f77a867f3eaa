"""The programs that a plan names: where they are, and which options their `train` has."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

from hmc_shared.cli.parse import OPTION
from hmc_shared.messages import listed, shown

TRAINING = ("train", "peer")
"""The commands that train, of which a program has one."""


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


def _training(program: str) -> str | None:
    """The command by which a program trains; None for another program."""
    return next((name for name in TRAINING if name in _commands(program)), None)


def train_options(command: Sequence[str]) -> type | None:
    """The dataclass of the options of a training; None if it is another command, or not known."""
    name = _training(command[0])
    return _commands(command[0])[name].options if name in command[1:2] and name else None


def train_module(program: str) -> str | None:
    """The module that does the training of a method's program."""
    name = _training(program)
    return _commands(program)[name].run.partition(":")[0] if name else None


def options_of(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The options that stand on a command line, as ``batch_size``, each with its values as text."""
    name, values = "", list[str]()
    for word in words:
        if not OPTION.match(word):
            values.append(word)
            continue
        if name:
            yield name, values
        name, equals, value = word.lstrip("-").partition("=")
        name, values = name.replace("-", "_"), [value] if equals else []
    if name:
        yield name, values


def check_command(words: Sequence[str]) -> None:
    """Raise ValueError for a method's command that trains nothing, and for a wrong option in it."""
    if (name := _training(words[0])) and name not in words[1:2]:
        raise ValueError(f"the command should be `{words[0]} {name}`. Found {shown(' '.join(words[:2]))}.")
    options = train_options(words)
    defaults = {field.name: field.default for field in fields(options)} if options else {}
    for name, values in options_of(words[2:]):
        positive = name.removeprefix("no_")
        if isinstance(defaults.get(positive), bool):
            check_train_options(words, positive, name == positive)
            continue
        default = defaults.get(name)
        value: Any = values
        if len(values) == 1 and isinstance(default, int | float | str):
            value = values[0]
            if not isinstance(default, str):
                try:
                    value = type(default)(value)
                except ValueError as error:
                    flag = f"--{name.replace('_', '-')}"
                    kind = "an integer" if isinstance(default, int) else "a number"
                    raise ValueError(f"`{flag}` should be {kind}. Found {shown(value)}.") from error
        check_train_options(words, name, value)


def check_train_options(command: Sequence[str], name: str, value: Any) -> None:
    """Raise ValueError for an option that the command does not have, and a value out of its bounds.

    Of a program that does not tell its options nothing is checked.
    """
    options = train_options(command)
    if options is None:
        return
    defaults = {field.name: field.default for field in fields(options)}
    if name not in defaults:
        raise ValueError(
            f"`{' '.join(command[:2])}` has no option {shown(name)}; it has {listed(sorted(defaults), 99)}."
        )
    default, flag = defaults[name], f"`--{name.replace('_', '-')}`"
    if value is None:
        if default is not None:
            raise ValueError(f"{flag} should have a value. Found nothing.")
        return
    if isinstance(value, list):
        if default is not None and default is not MISSING and not isinstance(default, tuple):
            raise ValueError(f"{flag} should have one value. Found {shown(value)}.")
        return
    if isinstance(default, bool) != isinstance(value, bool):
        rule = "be true or false" if isinstance(default, bool) else "not be true or false"
        raise ValueError(f"{flag} should {rule}. Found {shown(value)}.")
    if default is MISSING:  # one value of a list
        return
    if name == "config" and not Path(str(value)).is_file() and value not in _configs(command[0]):
        known = listed(sorted(_configs(command[0])), 30) or "none shipped"
        raise ValueError(f"{flag} should be a YAML file or one of {known}. Found {shown(value)}.")
    if isinstance(value, int) and isinstance(default, float):
        value = float(value)
    options(**{name: value})


@lru_cache
def _configs(program: str) -> frozenset[str]:
    """The names of the configurations that a method's package ships."""
    entry = find_entry(program)
    folder = Path(str(files(entry.module.partition(".")[0]))) / "configs" if entry else Path("configs")
    return frozenset(path.stem for path in folder.glob("*.yaml")) if entry else frozenset()
