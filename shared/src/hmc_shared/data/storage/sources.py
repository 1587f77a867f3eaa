"""Source files: their bytes, their lines, their JSON, and the error that names file and line."""

from __future__ import annotations

import gzip
import hashlib
import os
import posixpath
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hmc_shared.messages import clipped, shown
from hmc_shared.object_files import parse_json

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
    return ValueError(f"{path}:{line}: {clipped(message.rstrip('.'), LONGEST_MESSAGE)}.")


def file_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text, stripped, of each line of a list of images that is not blank.

    Raises ValueError, naming file and line, for other text than UTF-8 and for a path out of the folder.
    """
    for number, line in enumerate(text_lines(read_bytes(path), path), start=1):
        line = line.strip()
        if line.startswith(("/", "\\")) or ".." in re.split(r"[\s,/\\]+", line) or "\0" in line:
            raise file_error(path, number, f"an image should lie inside the folder. Found {shown(line)}")
        if line:
            yield number, line


def whole_number(word: str, most: int, what: str, path: Path, line: int) -> int:
    """The number that a word is. Raises ValueError, naming file and line, if it is none up to ``most``."""
    if not (word.isascii() and word.isdecimal() and len(word) <= 10 and int(word) <= most):
        raise file_error(path, line, f"{what} should be a number from 0 to {most}. Found {shown(word)}")
    return int(word)


def path_below(name: str, file: Path) -> str:
    """The path of an image without detours, backslashes read as slashes unless a file has that very name.

    Raises ValueError, naming ``file``, for one that leads out of its folder.
    """
    check_text(name, file)
    if "\\" in name and not os.path.isfile(file.parent / name):
        name = name.replace("\\", "/")
    path = posixpath.normpath(name)
    if path.startswith(("/", "../")) or path in ("..", "."):
        raise ValueError(f"{file}: an image should lie inside the folder. Found {shown(name)}.")
    return path


def read_json(path: Path) -> tuple[Any, dict[str, str]]:
    """The content, of any type, and file name to SHA-256. Raises ValueError, naming the file, if damaged."""
    content = read_bytes(path)
    text = "\n".join(text_lines(content, path))
    return parse_json(text, path), {path.name: hashlib.sha256(content).hexdigest()}


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as it is."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_text(name: str, origin: object) -> None:
    """Raise ValueError, naming ``origin``, for a name that cannot be written as UTF-8, or that has a NUL."""
    if "\0" in name or (not name.isascii() and name.encode(errors="replace").decode() != name):
        raise ValueError(f"{origin}: a name should be UTF-8 text. Found {shown(name)}.")


def read_all(paths: Iterable[Path]) -> Iterator[bytes]:
    """The content of each file. Raises ValueError for one that cannot be read."""
    for path in paths:
        try:
            yield path.read_bytes()
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
