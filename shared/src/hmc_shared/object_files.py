"""Small files that hold one object, JSON or YAML, as people exchange them: read, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

LARGEST_JSON, LARGEST_YAML = 256 << 20, 1 << 20
"""Bytes: of the hierarchy of a million classes, and of a file of options."""


def read_json(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ValueError, naming the file, for anything else."""
    try:
        return check_object(json.loads(read_text(path, LARGEST_JSON)), path)
    except (ValueError, RecursionError) as error:
        raise _named(path, "JSON", error) from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ValueError, naming the file, for anything else."""
    try:
        return check_object(yaml.load(read_text(path, LARGEST_YAML), _Loader), path)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise _named(path, "YAML", error) from error


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
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        found = "other keys" if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path} should hold a mapping of names to values. Found {found}.")
    return content


class _Loader(yaml.SafeLoader):
    """Without aliases, by which a few lines stand for gigabytes; no file of options needs them."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)


def _named(path: str | Path, form: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).replace('in "<unicode string>", ', "").split())
    if reason.startswith(str(path)):
        return ValueError(reason)
    return ValueError(f"{path} is not readable as {form}: {reason[:200]}")
