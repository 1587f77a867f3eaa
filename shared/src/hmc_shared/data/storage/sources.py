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

FREE_BYTES, GROWTH = 2 << 20, 100
"""A gzip file may unpack to 2 MiB, or to 100 times its size; published sets unpack to at most 32 times."""
LONGEST_MESSAGE = 400


def read_bytes(path: Path) -> bytes:
    """The uncompressed content.

    Raises ValueError for a file that cannot be read; with the line where a damaged gzip file ends; and for
    one that unpacks to more than ``FREE_BYTES`` and ``GROWTH`` times its size.
    """
    blocks, size = [], 0
    try:
        if path.suffix != ".gz":
            return path.read_bytes()
        limit = max(FREE_BYTES, GROWTH * path.stat().st_size)
        with gzip.open(path) as file:
            while block := file.read1(1 << 20):  # read1 keeps what could be read before the damage
                blocks.append(block)
                size += len(block)
                if size > limit:
                    raise ValueError(
                        f"{path} unpacks to more than {GROWTH} times its size: unpack it yourself."
                    )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        line = b"".join(blocks).count(b"\n") + 1
        raise file_error(path, line, f"the gzip file is truncated or damaged ({error})") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    return b"".join(blocks)


def text_lines(content: bytes, path: Path) -> list[str]:
    r"""The lines of a text file, which end with \n, \r\n or \r; a byte order mark is left out.

    Raises ValueError if it is not UTF-8.
    """
    try:
        text = content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise file_error(path, content[: error.start].count(b"\n") + 1, "not UTF-8 text") from error
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def file_error(path: Path, line: int, message: str) -> ValueError:
    """The one-line error of a reader: which file, which line, what is wrong."""
    return ValueError(f"{path}:{line}: {shortened(message.rstrip('.'))}.")


def shortened(message: str) -> str:
    """One line of a bounded length, for what quotes a file."""
    line = " ".join(message.splitlines())
    return line if len(line) <= LONGEST_MESSAGE else f"{line[: LONGEST_MESSAGE - 100]} ... {line[-90:]}"


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
