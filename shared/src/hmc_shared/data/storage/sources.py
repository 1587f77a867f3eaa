"""Source files: their bytes, their lines, their JSON, and the error that names file and line."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def read_bytes(path: Path) -> bytes:
    """The uncompressed content. Raises ValueError with the line where a damaged gzip file ends."""
    if path.suffix != ".gz":
        return path.read_bytes()
    blocks = []
    try:
        with gzip.open(path) as file:
            while block := file.read1(1 << 20):  # read1 keeps what could be read before the damage
                blocks.append(block)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        line = b"".join(blocks).count(b"\n") + 1
        raise file_error(path, line, f"the gzip file is truncated or damaged ({error})") from error
    return b"".join(blocks)


def text_lines(content: bytes, path: Path) -> list[str]:
    """The lines of a text file, with their \\r if they have one. Raises ValueError if it is not UTF-8."""
    try:
        return content.decode().split("\n")
    except UnicodeDecodeError as error:
        raise file_error(path, content[: error.start].count(b"\n") + 1, "not UTF-8 text") from error


def file_error(path: Path, line: int, message: str) -> ValueError:
    """The one-line error of a reader: which file, which line, what is wrong."""
    return ValueError(f"{path}:{line}: {message.rstrip('.')}.")


def read_json(path: Path) -> tuple[Any, dict[str, str]]:
    """The content, and file name to SHA-256.

    Raises ValueError, naming file and line, if it is damaged, and for a key that an object has twice.
    """
    content = path.read_bytes()
    try:
        whole = json.loads(content, object_pairs_hook=_once_each)
        return whole, {path.name: hashlib.sha256(content).hexdigest()}
    except json.JSONDecodeError as error:
        raise file_error(path, error.lineno, f"damaged JSON ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text.") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply.") from error
    except ValueError as error:  # a key twice, a number of thousands of digits
        raise ValueError(f"{path}: {error}") from error


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"each name should be given once. Found {twice!r} again.")
    return content


def check_text(name: str, origin: object) -> None:
    """Raise ValueError, naming ``origin``, for a name that cannot be written as UTF-8, or that has a NUL."""
    if "\0" in name or (not name.isascii() and name.encode(errors="replace").decode() != name):
        raise ValueError(f"{origin}: a name should be UTF-8 text. Found {name!r}.")


def read_all(paths: Iterable[Path]) -> Iterator[bytes]:
    """The content of each file. Raises ValueError for one that cannot be read."""
    for path in paths:
        try:
            yield path.read_bytes()
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
