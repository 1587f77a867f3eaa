"""One dataclass of options becomes a command line and a YAML file; nothing here imports torch."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro
import yaml

Config = TypeVar("Config")


def parse(config_type: type[Config], argv: Sequence[str], *, prog: str, package: str | None = None) -> Config:
    """Read options: defaults of the dataclass, then a YAML file, then the command line; the last one wins.

    The YAML file is ``--config``: a path, or the name of a file in the folder ``configs`` of ``package``.
    Without ``--config``, the shipped file named like ``--dataset`` is used if there is one. In the file, a
    key is an option; a nested mapping is a section that counts only if its name is the value of an option
    with fixed choices, on the command line or in the file (``paper:`` counts under ``--protocol paper``), and
    it overrides the keys around it.

    Raises ValueError for a file that is missing, is not a YAML mapping, or has an unknown section. A wrong
    option or value, on the command line or in the file, ends the program with exit code 2, as tyro does.
    """
    given = _cli(config_type, argv, prog)
    path = _find(getattr(given, "config", None), getattr(given, "dataset", None), package)
    if path is None:
        return given
    content = _read(path)
    plain = {name: value for name, value in content.items() if not isinstance(value, dict)}
    # Sections count by the choices of the file, too.
    given = _cli(config_type, [*_as_flags(plain, given, path), *argv], prog)
    return _cli(config_type, [*_as_flags(content, given, path), *argv], prog)


def _cli(config_type: type[Config], args: Sequence[str], prog: str) -> Config:
    return tyro.cli(config_type, args=list(args), prog=prog)


def _find(config: str | None, dataset: str | None, package: str | None) -> Path | None:
    shipped = {p.stem: p for p in Path(str(files(package) / "configs")).glob("*.yaml")} if package else {}
    if config is None:
        return shipped.get(dataset or "")
    if config in shipped:
        return shipped[config]
    if not Path(config).is_file():
        raise ValueError(
            f"`--config` should be a YAML file or one of {', '.join(sorted(shipped)) or 'none shipped'}. "
            f"Found {config!r}."
        )
    return Path(config)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} should hold a mapping of options. Found {type(content).__name__}.")
    return content


def _as_flags(content: dict[str, Any], given: Any, path: Path) -> list[str]:
    """The options of a mapping as command-line words, those of its sections that count after them."""
    hints = get_type_hints(type(given))
    choices = {f.name: get_args(hints[f.name]) for f in fields(given) if get_origin(hints[f.name]) is Literal}
    known_sections = {choice for values in choices.values() for choice in values}
    chosen = {getattr(given, name) for name in choices}
    flags: list[str] = []
    sections: list[str] = []
    for key, value in content.items():
        flag = "--" + str(key).replace("_", "-")
        if isinstance(value, dict):
            if key not in known_sections:
                raise ValueError(f"{path}: unknown section {key!r}; sections are {sorted(known_sections)}.")
            if key in chosen:
                sections += _as_flags(value, given, path)
        elif isinstance(value, bool):
            flags.append(flag if value else "--no-" + flag[2:])
        else:
            flags += [flag, *map(str, value if isinstance(value, list) else [value])]
    return flags + sections


def to_yaml(config: Any) -> str:
    """The resolved options as YAML that ``--config`` reads back."""
    return yaml.safe_dump(asdict(config), sort_keys=False)


def command_line() -> str | None:
    """The command that repeats the run of this process: as it was started, less where it writes.

    None unless the process was started as the command ``train`` of a method: from Python, the file
    config.yaml says all that there is to say.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # of `python -m NAME`
    if sys.argv[1:2] != ["train"] and not (spec and spec.name.endswith(".train")):
        return None
    words = ["python", "-m", spec.name.removesuffix(".__main__")] if spec else [Path(sys.argv[0]).stem]
    rest = iter(sys.argv[1:])
    for word in rest:
        name = word.split("=")[0].replace("_", "-")
        if name == "--output-dir" and "=" not in word:
            next(rest, None)
        elif name not in {"--output-dir", "--resume", "--no-resume", "--overwrite", "--no-overwrite"}:
            words.append(word)
    return shlex.join(words)


def format_metrics(metrics: dict[str, float | None]) -> str:
    """One line a metric; counts as integers, undefined values as a dash."""
    lines = []
    for name, value in metrics.items():
        shown = (
            "-"
            if value is None
            else f"{value:.0f}"
            if name.endswith(("_classes", "_absent"))
            else f"{value:.4f}"
        )
        lines.append(f"{name:28} {shown}")
    return "\n".join(lines)


def dispatch(argv: list[str], package: str, commands: dict[str, str]) -> None:
    """Run ``package.<command>.command(arguments)`` for the first argument, one of ``commands``.

    ``commands`` maps names to a line of help. Raises ValueError for another name.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: {package.replace('_', '-')} COMMAND [--help] [options]\n")
        print("\n".join(f"  {name:10}{text}" for name, text in commands.items()))
        return
    if argv[0] not in commands:
        raise ValueError(f"the command should be one of {', '.join(commands)}. Found {argv[0]!r}.")
    import_module(f"{package}.{argv[0]}").command(argv[1:])


def main(command: Callable[[list[str]], None], prog: str) -> None:
    """Run a command line and exit: 0 done, 2 wrong usage or input (one line on stderr), 1 failure.

    A file that cannot be read or written is a failure of one line. ``HMC_DEBUG=1`` shows the whole traceback
    of these as well.
    """
    try:
        command(sys.argv[1:])
    except (ValueError, OSError) as error:
        if os.environ.get("HMC_DEBUG"):
            raise
        print(f"{prog}: error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ValueError) else 1)
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        sys.exit(130)


def check(config: Any, name: str, holds: bool, rule: str) -> None:
    """Raise ValueError unless ``holds``, with option and value: "`--name` should <rule>. Found <value>."."""
    if not holds:
        raise ValueError(f"`--{name.replace('_', '-')}` should {rule}. Found {getattr(config, name)}.")
