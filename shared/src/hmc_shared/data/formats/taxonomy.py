"""Classes as paths: "a > b > c", "a;b;c", the strings of SpeciesNet, and Google's product taxonomy."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from hmc_shared.data.formats.cells import MISSING, whole
from hmc_shared.data.formats.level_columns import tree_of
from hmc_shared.data.storage.sources import file_error, read_bytes, text_lines
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import shown

Parts = tuple[str, ...]
"""Names from a root down."""
SEPARATORS = (";", ">")
"""What may stand between the parts of a path."""
PRODUCTS = re.compile(r"taxonomy([._-].*)?\.txt", re.IGNORECASE)
"""Files such as taxonomy.en-US.txt and taxonomy-with-ids.en-US.txt."""

_SPECIESNET = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12};[^;]*(;[^;]*){5}")
_SEVERAL = {";": re.compile(r"\|"), ">": re.compile("[|;]")}


def parts_of_path(text: str, separator: str) -> Parts:
    """The names of a path, without empty ones and words for missing values at its end.

    What SpeciesNet writes, "id;class;order;family;genus;species;common name", is the path of its ranks; or,
    without any, its common name, such as "blank". Raises ValueError, a sentence, for a gap.
    """
    text = text.strip()
    if separator == ";" and _SPECIESNET.fullmatch(text):
        _, *ranks, common = text.split(";")
        text = ";".join(ranks) if any(ranks) else common
    parts = [part.strip() for part in text.split(separator)]
    while parts and parts[-1].lower() in MISSING:
        parts.pop()
    if not all(parts):
        raise ValueError(f"a path should have no gap. Found {shown(text, 200)}.")
    return tuple(parts)


def paths_of_cell(text: str, separator: str) -> list[Parts]:
    """The paths in a cell, with "|" between them, or also ";" where that is not their separator."""
    paths = (parts_of_path(path, separator) for path in _SEVERAL[separator].split(text))
    return [path for path in dict.fromkeys(paths) if path]


def labels_of_paths(
    paths: Sequence[Sequence[Parts]], origin: str, where: Callable[[int], str]
) -> tuple[Hierarchy, list[list[int]], list[str]]:
    """The tree that the paths of n rows spell out, the ids of their ends, and notes.

    Names are as those of :func:`hmc_shared.data.formats.level_columns.level_labels`. Raises ValueError,
    naming ``origin``, for no path at all, and, at the place of the row, for two classes of one path.
    """
    row_of: dict[Parts, int] = {}
    for row, of_row in enumerate(paths):
        for path in of_row:
            row_of.setdefault(path, row)
    if not row_of:
        raise ValueError(f"{origin} should have paths of classes. Found none.")
    width, distinct = max(map(len, row_of)), [*row_of]
    matrix = [(*path, *[""] * (width - len(path))) for path in distinct]
    hierarchy, qualified = tree_of(matrix, lambda number: where(row_of[distinct[number]]))
    node_of = {path: hierarchy.index["/".join(path) if qualified else path[-1]] for path in distinct}
    notes = ["classes are named by their paths: a label stands for several"] if qualified else []
    return hierarchy, [[node_of[path] for path in of_row] for of_row in paths], notes


@dataclass(frozen=True)
class Taxonomy:
    """Paths by what a cell may say."""

    file: Path
    of: dict[str, Parts]
    """Paths, with " > " between their parts, and numbers, if there are such."""

    def paths(self, cell: str) -> list[Parts]:
        """The paths that a cell names. Raises ValueError, a sentence, for one that the taxonomy lacks."""
        found: list[Parts] = []
        for text in _SEVERAL[">"].split(cell):
            key = " > ".join(part.strip() for part in text.split(">"))
            if key.lower() in MISSING:
                continue
            if whole(key) not in self.of:
                raise ValueError(f"{shown(key, 120)} is no path or number of {self.file.name}.")
            found.append(self.of[whole(key)])
        return [*dict.fromkeys(found)]


def read_products(file: Path) -> Taxonomy:
    """Google's product taxonomy: lines "Animals & Pet Supplies > Pet Supplies", or "2 - " and such a path.

    Lines that begin with "#" and blank ones are left out. Raises ValueError, naming file and line, for a path
    or number given twice, a gap, and a path whose parent does not stand before it.
    """
    of: dict[str, Parts] = {}
    for number, line in enumerate(text_lines(read_bytes(file), file), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        numbered = re.fullmatch(r"\s*(\d+)\s+-\s+(.*)", line)
        try:
            parts = parts_of_path(numbered[2] if numbered else line, ">")
        except ValueError as error:
            raise file_error(file, number, str(error)) from error
        keys = [" > ".join(parts), *([numbered[1]] if numbered else [])]
        if repeated := [key for key in keys if key in of]:
            raise file_error(file, number, f"each class should stand once. Found {shown(repeated[0])} again")
        if len(parts) > 1 and " > ".join(parts[:-1]) not in of:
            raise file_error(file, number, f"the class above {shown(keys[0], 120)} should stand before it")
        of |= dict.fromkeys(keys, parts)
    if not of:
        raise ValueError(f"{file} should hold a path of classes in each line. Found none.")
    return Taxonomy(file, of)


def separator_of(column: str, known: Collection[str]) -> str | None:
    """What separates paths in a column that is named with it at the end, as "taxon;"; None for another."""
    return column[-1] if column[-1:] in SEPARATORS and column not in known else None


def column_of(column: str, known: Collection[str]) -> str:
    """The name itself of a column that may be named with a separator of paths at the end."""
    return column[:-1] if separator_of(column, known) else column
