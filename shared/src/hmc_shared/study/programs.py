"""The programs that a plan names: where they are, and which options their `train` has."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

from hmc_shared.cli.parse import OPTION
from hmc_shared.messages import listed, shown
from hmc_shared.methods import PUBLISHED

TRAINING = ("train", "peer", "blend")
"""The commands that write run folders."""
MIXING = "blend"
"""That of them which trains nothing, but mixes finished runs."""


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


def lacks(program: str) -> str:
    """How to install a program that is not here."""
    if find_program(program) is not None:
        return ""
    published = program in PUBLISHED
    return f"not installed: pip install {program}" if published else f"there is no program {program}"


def _training(program: str) -> dict[str, Any]:
    """The commands by which a program trains; none for another program."""
    return {name: command for name, command in _commands(program).items() if name in TRAINING}


def train_options(command: Sequence[str]) -> type | None:
    """The dataclass of the options of a training; None if it is another command, or not known."""
    commands = _training(command[0])
    return next((commands[name].options for name in command[1:2] if name in commands), None)


def train_modules(program: str) -> list[str]:
    """The modules that do the training of a method's program."""
    return [command.run.partition(":")[0] for command in _training(program).values()]


def takes_for_all(command: Sequence[str], option: str) -> bool:
    """Whether an option set for every run goes to this command: to a mix only if it has the option."""
    options = train_options(command) if command[1:2] == (MIXING,) else None
    return options is None or option in {field.name for field in fields(options)}


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
    known = [f"`{words[0]} {name}`" for name in _training(words[0])]
    if known and f"`{' '.join(words[:2])}`" not in known:
        raise ValueError(f"the command should be {' or '.join(known)}. Found {shown(' '.join(words[:2]))}.")
    for name, value in _values(words):
        check_train_options(words, name, value)


def _values(words: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The options of a command line, as ``batch_size``, with their values as those of its dataclass.

    Raises ValueError for a word that should be a number.
    """
    options = train_options(words)
    defaults = {field.name: field.default for field in fields(options)} if options else {}
    for name, values in options_of(words[2:]):
        positive = name.removeprefix("no_")
        if isinstance(defaults.get(positive), bool):
            yield positive, name == positive
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
        yield name, value


def check_train_options(command: Sequence[str], name: str, value: Any) -> None:
    """Raise ValueError for an option that the command does not have, and a value out of its bounds.

    The value may need another option, if the command has that. Of a program that does not tell its options
    nothing is checked.
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
    required = {field.name: () for field in fields(options) if _is_required(field)}
    beside = {
        of: is_now for of, is_now in _values(command) if of in defaults and not isinstance(is_now, list)
    }
    options(**{**required, **beside, name: value})


def _is_required(option: Field[Any]) -> bool:
    return option.default is MISSING and option.default_factory is MISSING


@lru_cache
def _configs(program: str) -> frozenset[str]:
    """The names of the configurations that a method's package ships."""
    entry = find_entry(program)
    folder = Path(str(files(entry.module.partition(".")[0]))) / "configs" if entry else Path("configs")
    return frozenset(path.stem for path in folder.glob("*.yaml")) if entry else frozenset()
