"""The texts of a class, one rule for all prompts, fixed or learned: its name in words, or what a file has."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hmc_shared import Hierarchy
from hmc_shared.messages import listed, shown
from hmc_shared.object_files import LARGEST_JSON, read_json, read_text, read_yaml

HEADERS = ("class", "name")
"""First cells of a first row that names the columns."""


def class_texts(hierarchy: Hierarchy, file: str | Path | None = None) -> dict[str, tuple[str, ...]]:
    """Of each class, in the order of the hierarchy, one or more texts: its name in words, or those of a file.

    Args:
        hierarchy: the C classes.
        file: names of all classes, as the hierarchy has them, with one or more texts each: .yaml or .json, a
            mapping of a name to a text or a list of them; .csv, two columns, name and text, a row each.

    Raises ValueError for a file of another form, for classes that it lacks or the hierarchy does not have,
    and for a class without any text.
    """
    if file is None:
        texts = {name: (text,) for name, text in zip(hierarchy.names, class_names(hierarchy), strict=True)}
    else:
        content = _read(Path(file), hierarchy)
        unknown = [name for name in content if name not in hierarchy.index]
        missing = [name for name in hierarchy.names if name not in content]
        if unknown or missing:
            what = f"no other classes than the data set. Found {listed(unknown)}"
            raise ValueError(
                f"{file} should have {what if unknown else f'all classes. It lacks {listed(missing)}'}."
            )
        texts = {name: _texts(content[name], name, file) for name in hierarchy.names}
    for name, of_class in texts.items():
        if not all(text.strip(" _") for text in of_class):
            where = f"{file}: " if file else ""
            raise ValueError(
                f"{where}a class should have a text of more than blanks and _. Found {shown(name)}."
            )
    return texts


def class_names(hierarchy: Hierarchy) -> list[str]:
    """The name of each class in words: blanks for underscores, hyphens as they are.

    Of a name that is a path only the part below its parent counts, "cat" of "animal/cat"; a slash in any
    other name belongs to it, as in "TV/monitor". Where that is the same for several classes, but for the case
    of letters, all of their path counts, "person other" and "animal other"; and where that is the same, too,
    a name is taken as it is written.
    """
    words = [_words(hierarchy, node) for node in range(len(hierarchy))]
    same = _alike(words)
    texts = [_path(hierarchy, node, words) if node in same else text for node, text in enumerate(words)]
    same = _alike(texts)
    return [hierarchy.names[node] if node in same else text for node, text in enumerate(texts)]


def _words(hierarchy: Hierarchy, node: int) -> str:
    name = hierarchy.names[node]
    for parent in hierarchy.parents(node):
        name = name.removeprefix(f"{hierarchy.names[parent]}/")
    return " ".join(name.replace("_", " ").split())


def _path(hierarchy: Hierarchy, node: int, words: Sequence[str]) -> str:
    """The words of the classes from a root, each time of the first parent, down to a class."""
    path = [node]
    while parents := list(hierarchy.parents(path[0])):
        path.insert(0, parents[0])
    return " ".join(words[step] for step in path)


def _alike(texts: Sequence[str]) -> set[int]:
    """The places of texts that come twice, the case of letters aside."""
    counts = Counter(text.casefold() for text in texts)
    return {place for place, text in enumerate(texts) if counts[text.casefold()] > 1}


def _read(path: Path, hierarchy: Hierarchy) -> dict[str, Any]:
    if path.suffix == ".json":
        return read_json(path)
    if path.suffix in (".yaml", ".yml"):
        return read_yaml(path)
    if path.suffix != ".csv":
        raise ValueError(f"`--class-texts` should be a .yaml, .json or .csv file. Found {shown(str(path))}.")
    content: dict[str, Any] = {}
    rows = csv.reader(read_text(path, LARGEST_JSON).splitlines(keepends=True))
    for number, row in enumerate(_csv_rows(rows, path)):
        if len(row) not in (0, 2):
            raise ValueError(
                f"{path}:{rows.line_num} should have two cells, a class and a text. Found {len(row)}."
            )
        is_header = number == 0 and row and row[0].lower() in HEADERS and row[0] not in hierarchy.index
        if row and not is_header:
            content.setdefault(row[0], []).append(row[1])
    return content


def _csv_rows(rows: Iterator[list[str]], path: Path) -> Iterator[list[str]]:
    try:
        yield from rows
    except csv.Error as error:
        raise ValueError(f"{path} is not readable as a table: {error}.") from error


def _texts(value: object, name: str, file: str | Path) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(
            f"{file} should have a text, or a list of texts, for {shown(name)}. Found {shown(value)}."
        )
    return tuple(" ".join(text.split()) for text in texts)
