"""Parser of the ARFF dialect of CLUS: a last attribute of type ``hierarchical`` lists the classes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hmc_shared.data.storage.sources import file_error, text_lines

ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)\s+(.*)", re.IGNORECASE)

Attribute = tuple[str, tuple[str, ...] | None]
"""Name and, for a nominal attribute, its values."""


@dataclass(frozen=True)
class Arff:
    """One parsed file; row i has ``features[i]`` and ``labels[i]`` and is line ``lines[i]``."""

    attributes: tuple[Attribute, ...]
    class_list: tuple[str, ...]
    class_line: int
    features: np.ndarray
    """(n, F) float64; NaN where missing. A nominal attribute becomes one 0/1 column for each declared value,
    in their order; all of them are 0 where it is missing."""
    labels: list[list[str]]
    lines: list[int]


def parse_arff(content: bytes, path: Path) -> Arff:
    """Parse the content of ``path``. Raises ValueError, naming file and line, for anything malformed."""
    lines = [line.strip() for line in text_lines(content, path)]  # strip also takes the \r of CRLF files
    attributes: list[Attribute] = []
    class_list: tuple[str, ...] = ()
    class_line = start = 0
    for number, line in enumerate(lines, 1):
        keyword = line.split(maxsplit=1)[0].lower() if line else ""
        if keyword == "@data":
            start = number
            break
        if not line or keyword.startswith("%") or keyword == "@relation":
            continue
        match = ATTRIBUTE.fullmatch(line)
        if not match or class_list:
            raise file_error(path, number, f"expected an attribute, then @DATA, found {line[:40]!r}")
        name, kind = match[1].strip("'\""), match[2]
        if kind.lower().startswith("hierarchical"):
            class_list = tuple(entry.strip() for entry in kind[len("hierarchical") :].split(","))
            class_line = number
        elif kind.lower() in ("numeric", "real", "integer"):
            attributes.append((name, None))
        elif kind.startswith("{") and kind.endswith("}"):
            attributes.append((name, tuple(value.strip() for value in kind[1:-1].split(","))))
        else:
            rule = "expected the type numeric, {values} or hierarchical"
            raise file_error(path, number, f"{rule}, found {kind[:40]!r}")
    if not start:
        raise file_error(path, len(lines), "the file ends before @DATA")
    if not class_list or not attributes:
        raise file_error(path, start, "@DATA before a numeric or nominal and a hierarchical attribute")

    body = [(number, line) for number, line in enumerate(lines[start:], start + 1) if line and line[0] != "%"]
    if not body:
        raise file_error(path, len(lines), "the file ends before its first row")
    for number, line in body:
        if line.count(",") != len(attributes):
            fields = line.count(",") + 1
            raise file_error(path, number, f"expected {len(attributes) + 1} fields, found {fields}")
    numbers = [number for number, _ in body]
    rows = [line.rpartition(",") for _, line in body]
    cells = [cell.strip() for values, _, _ in rows for cell in values.split(",")]
    table = np.array(cells, dtype=object).reshape(len(rows), len(attributes))
    labels = [[c.strip() for c in classes.split("@")] for _, _, classes in rows]
    features = _features(table, attributes, numbers, path)
    return Arff(tuple(attributes), class_list, class_line, features, labels, numbers)


def _features(table: np.ndarray, attributes: list[Attribute], lines: list[int], path: Path) -> np.ndarray:
    """(n, F) float64 from the (n, attributes) cells, columns in the order of the header."""
    widths = [1 if values is None else len(values) for _, values in attributes]
    starts = np.cumsum([0, *widths[:-1]])
    features = np.zeros((len(table), sum(widths)))
    numeric = np.array([values is None for _, values in attributes])
    features[:, starts[numeric]] = _numbers(table[:, numeric], lines, path)
    for column in np.flatnonzero(~numeric):
        name, values = attributes[column]
        cells = table[:, column]
        for offset, value in enumerate(values or ()):
            features[:, starts[column] + offset] = cells == value
        for line, cell in zip(lines, cells, strict=True):
            if cell != "?" and cell not in (values or ()):
                raise file_error(path, line, f"{cell!r} is not a value of the nominal attribute {name!r}")
    return features


def _numbers(cells: np.ndarray, lines: list[int], path: Path) -> np.ndarray:
    """(n, m) float64 from text, NaN for '?'."""
    missing = cells == "?"
    text = np.where(missing, "nan", cells)
    values = np.zeros(cells.shape)
    try:
        values = text.astype(np.float64)
        bad = ~np.isfinite(values) & ~missing
    except ValueError:
        bad = np.array([[not _is_number(cell) for cell in row] for row in text])
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise file_error(path, lines[row], f"{cells[row, column]!r} is not a number")
    return values


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
