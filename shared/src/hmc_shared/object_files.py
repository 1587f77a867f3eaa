"""Small files that hold one object, JSON or YAML, as people exchange them: read, or refused by name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from hmc_shared.messages import reason, shown

LARGEST_JSON, LARGEST_YAML = 256 << 20, 1 << 17
"""Bytes: of the hierarchy of a million classes, and of a file of options, which takes a second."""


def read_json(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ValueError, naming the file, for anything else."""
    return parse_object(read_text(path, LARGEST_JSON), path)


def parse_object(text: str, path: str | Path) -> dict[str, Any]:
    """The object in a JSON text. Raises ValueError, naming ``path``, for anything else."""
    return check_object(parse_json(text, path), path)


def parse_json(
    text: str, path: str | Path, hook: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """The value of a JSON text; ``hook`` makes objects, by default ones whose names stand once.

    Raises ValueError, naming the file, and the line where it is damaged; and for deep nesting.
    """
    try:
        return json.loads(text, object_pairs_hook=hook or _once_each)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: damaged JSON ({error.msg}).") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply.") from error
    except ValueError as error:  # a name twice, a number of thousands of digits
        raise ValueError(f"{path}: {error}") from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ValueError, naming the file, for anything else."""
    try:
        return check_object(yaml.load(read_text(path, LARGEST_YAML), LoaderWithoutAliases), path)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        said = reason(error).replace('in "<unicode string>", ', "")
        raise ValueError(
            said if said.startswith(str(path)) else f"{path} is not readable as YAML: {said}"
        ) from error


def line_of(path: str | Path, *keys: object) -> str:
    """ ":" and the line of a YAML file where the last of the keys stands, each below the one before.

    Empty for keys that are not written out.
    """
    node, line = yaml.compose(read_text(path, LARGEST_YAML), LoaderWithoutAliases), ""
    for key in map(str, keys):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        line, node = next(
            ((f":{name.start_mark.line + 1}", value) for name, value in pairs if name.value == key),
            ("", None),
        )
    return line


def read_text(path: str | Path, largest: int) -> str:
    """UTF-8 text. Raises ValueError, naming the file, for other bytes, too many, and if it cannot be read."""
    try:
        size = Path(path).stat().st_size
        if size > largest:
            raise ValueError(f"{path} should be of {largest} bytes or fewer. Found {size}.")
        return Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text.") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error


def check_object(content: Any, path: str | Path) -> dict[str, Any]:
    """The content itself. Raises ValueError unless it is a mapping whose keys are text."""
    if not isinstance(content, dict):
        raise ValueError(f"{path} should hold a mapping of names to values. Found {type(content).__name__}.")
    if others := [key for key in content if not isinstance(key, str)]:  # as no, 3 and dates are in YAML
        raise ValueError(f"{path} should have names as keys. Found {shown(others[0])}: put it in quotes.")
    return content


class LoaderWithoutAliases(yaml.SafeLoader):
    """Without a key twice; and without aliases, by which a few lines stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            where = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not allowed", problem_mark=where)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        _once_each([(key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"each name should be given once. Found {shown(twice)} again.")
    return content
