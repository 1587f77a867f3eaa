"""One dataclass of options becomes a command line, in groups, and a YAML file."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import Field, asdict, field, fields, make_dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro
import yaml

from hmc_shared.cli.bounds import types_of
from hmc_shared.cli.stopping import is_first_process
from hmc_shared.messages import shown
from hmc_shared.object_files import line_of, read_yaml

Config = TypeVar("Config")

METHOD = "method"
"""The group of the options that a ``Config`` defines itself."""
GROUPS = (METHOD, "data", "images", "network", "forest", "loss", "optimisation", "run")
"""The groups in the order of ``--help``."""
PAPER = "paper"
"""The protocol, and the section of its settings."""
KINDS = {str: "TEXT", int: "N", float: "NUMBER", Path: "PATH"}
"""What a value is called in help."""
OPTION = re.compile(r"-(?![\d.])")
"""How an option begins on a command line, and no number."""


def parse(config_type: type[Config], argv: Sequence[str], *, prog: str, package: str | None = None) -> Config:
    """Read options: defaults of the dataclass, then a YAML file, then the command line; the last one wins.

    The YAML file is ``--config``: a path, or the name of a file in the folder ``configs`` of ``package``.
    Without ``--config``, the shipped file named like ``--dataset`` is used if there is one. In the file, a
    key is an option; a nested mapping is a section that counts only if its name is the value of an option
    with fixed choices, on the command line or in the file (``paper:`` counts under ``--protocol paper``), and
    it overrides the keys around it. Under ``--protocol paper`` a line on standard error says so if the file
    has no such section, and is none of that protocol alone.

    Raises ValueError for a file that is missing, is not a YAML mapping, or has an unknown section or key. A
    wrong option on the command line, or value, ends the program with exit code 2, as tyro does.
    """
    options: Any = parse_arguments(config_type, argv, prog)
    if not hasattr(options, "config"):
        return options  # the other commands: their --dataset has no configuration
    path = _find(options.config, getattr(options, "dataset", None), package)
    if path is None:
        _tell_of_missing_settings(options, {})
        return options
    content = read_yaml(path)
    _check_keys(content, options, path)
    plain = {name: value for name, value in content.items() if not isinstance(value, dict)}
    # Sections count by the choices of the file, too.
    options = parse_arguments(config_type, [*_as_flags(plain, options, path), *argv], prog)
    options = parse_arguments(config_type, [*_as_flags(content, options, path), *argv], prog)
    _tell_of_missing_settings(options, content)
    return options


def _tell_of_missing_settings(options: Any, content: dict[str, Any]) -> None:
    is_paper = getattr(options, "protocol", None) == PAPER
    if is_paper and PAPER not in (*content, content.get("protocol")) and is_first_process():
        source = options.config or getattr(options, "dataset", "")
        print(
            f"note: no settings of the paper are known for {source!r}: --protocol paper chooses the rows and "
            "the last epoch here, nothing else",
            file=sys.stderr,
        )


def parse_arguments(config_type: type[Config], argv: Sequence[str], prog: str) -> Config:
    """Read a command line. In its help, options stand in the groups of the classes that define them.

    A group is a base class with a ``title``, one of ``GROUPS``.
    """
    description = inspect.getdoc(config_type)
    grouped = _grouped(config_type)
    if len(fields(grouped)) < 2:
        return config_type(**vars(tyro.cli(readable(config_type), args=list(argv), prog=prog)))
    answer = tyro.cli(grouped, args=list(argv), prog=prog, description=description)
    values: dict[str, Any] = {}
    for part in fields(answer):
        values |= vars(getattr(answer, part.name))
    return config_type(**values)


@cache
def _grouped(config_type: type) -> Any:
    """A dataclass with a field for each group of options, which is a dataclass of them."""
    parts = []
    for title, members in _groups(config_type).items():
        group = make_dataclass(title, members, frozen=True)
        hint = Annotated[tyro.conf.OmitArgPrefixes[group], tyro.conf.arg(help="")]
        parts.append((title, hint, field(default_factory=group)))
    return make_dataclass("Options", parts, frozen=True)


def _groups(config_type: type) -> dict[str, list[tuple[str, Any, Field[Any]]]]:
    """Title to name, annotated type and field of each option, as ``make_dataclass`` takes them."""
    hints = get_type_hints(config_type, include_extras=True)
    groups: dict[str, list[tuple[str, Any, Field[Any]]]] = {}
    for option in fields(config_type):  # type: ignore[arg-type]
        owners = [c for c in config_type.__mro__ if option.name in inspect.get_annotations(c)]
        title = METHOD if owners[-1] is config_type else getattr(owners[-1], "title", METHOD)
        text = next((docs for c in owners if (docs := _texts(c).get(option.name))), "")
        groups.setdefault(title, []).append(_member(option, hints[option.name], text))
    return dict(sorted(groups.items(), key=lambda item: GROUPS.index(item[0])))


def _unset(option: Field[Any], hint: Any) -> dict[str, Any]:
    """How an option without a value stands in help; tyro would say {None}|STR and "(default: None)"."""
    if option.default is not None:
        return {}
    if any(getattr(marker, "metavar", None) for marker in getattr(hint, "__metadata__", ())):
        return {"help_behavior_hint": ""}
    kind = next(kind for kind in types_of(hint) if kind is not type(None))
    choices = get_args(kind)
    return {
        "metavar": f"{{{','.join(choices)}}}" if choices else KINDS[kind],
        "help_behavior_hint": "",
    }


def readable(config_type: Any) -> Any:
    """The same options, as ``hmc`` takes them, with paragraphs and without Python's None in their help."""
    hints = get_type_hints(config_type, include_extras=True)
    owners = reversed(config_type.__mro__[:-1])
    texts = {name: text for owner in owners for name, text in _texts(owner).items()}
    members = [
        _member(option, hints[option.name], texts.get(option.name, "")) for option in fields(config_type)
    ]
    space = {"__doc__": config_type.__doc__}
    return make_dataclass(config_type.__name__, members, bases=(config_type,), frozen=True, namespace=space)


def _member(option: Field[Any], hint: Any, text: str) -> tuple[str, Any, Any]:
    """Name, annotated type and field of an option, as ``make_dataclass`` takes them."""
    factory: Any = option.default_factory
    again: Any = field(default=option.default, default_factory=factory, kw_only=option.kw_only)
    return option.name, Annotated[hint, tyro.conf.arg(help=text, **_unset(option, hint))], again


@cache
def _texts(owner: type) -> dict[str, str]:
    """The text below each field of a class, by its name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
    assert isinstance(tree, ast.ClassDef)
    texts = {}
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            texts[node.target.id] = " ".join(str(after.value.value).split())
    return texts


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


def _check_keys(content: dict[str, Any], options: Any, path: Path, *sections: str) -> None:
    """Raise ValueError for a key that is no option, and for text that would be read as one, as --help."""
    known = {field.name for field in fields(options)}
    for key, value in content.items():
        if isinstance(value, dict):
            _check_keys(value, options, path, *sections, key)
            continue
        items = value if isinstance(value, list) else [value]
        wrong = next((item for item in items if isinstance(item, str) and OPTION.match(item)), None)
        if str(key).replace("-", "_") in known and wrong is None:
            continue
        where = f"{path}{line_of(path, *sections, key)}"
        if wrong is not None:
            raise ValueError(f"{where}: a value of {key!r} should not begin with '-'. Found {shown(wrong)}.")
        like = get_close_matches(str(key), known, 1)
        remedy = f"is it {like[0]!r}?" if like else "`--help` lists them."
        raise ValueError(f"{where}: {shown(key)} is no option: {remedy}")


def _as_flags(content: dict[str, Any], options: Any, path: Path) -> list[str]:
    """The options of a mapping as command-line words, those of its sections that count after them."""
    hints = get_type_hints(type(options))
    literals = {f.name: hints[f.name] for f in fields(options) if get_origin(hints[f.name]) is Literal}
    known_sections = {choice for hint in literals.values() for choice in get_args(hint)}
    values = {getattr(options, name) for name in literals}
    flags: list[str] = []
    sections: list[str] = []
    for key, value in content.items():
        if isinstance(value, dict):
            if key not in known_sections:
                raise ValueError(
                    f"{path}: unknown section {shown(key)}; sections are {sorted(known_sections)}."
                )
            if key in values:
                sections += _as_flags(value, options, path)
        else:
            flags += option_words(str(key), value)
    return flags + sections


def option_words(name: str, value: Any) -> list[str]:
    """An option of a YAML file as words of a command line."""
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag if value else "--no-" + flag[2:]]
    return [flag, *map(str, value if isinstance(value, list) else [value])]


def to_yaml(config: Any) -> str:
    """The resolved options as YAML that ``--config`` reads back."""
    return yaml.safe_dump(asdict(config), sort_keys=False)
