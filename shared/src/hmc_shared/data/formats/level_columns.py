"""Labels in tables: columns of levels, names of splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hmc_shared.data.split_names import parts_of, split_of
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import shown


def split_levels(levels: str | Sequence[str]) -> list[str]:
    """Names of columns, coarse to fine, from a list or from text with commas.

    One name alone may have ";" or ">" at its end, which is then what separates the parts of the paths in the
    column: see :mod:`hmc_shared.data.formats.taxonomy`.

    Raises ValueError for no name, and for one that comes twice.
    """
    names = [name.strip() for name in (levels.split(",") if isinstance(levels, str) else levels)]
    if not names or not all(names) or len(set(names)) < len(names):
        raise ValueError(f"`--levels` should name columns, coarse to fine, each once. Found {levels!r}.")
    return names


def tree_of(paths: Sequence[Sequence[str]], where: Callable[[int], str]) -> tuple[Hierarchy, bool]:
    """The tree that label paths spell out, and whether names are paths: where a label stands for several.

    Raises ValueError, at the place that ``where`` gives of a path, for two classes of one path.
    """
    try:
        return Hierarchy.from_levels(paths), False
    except ValueError:
        parts_of: dict[str, Sequence[str]] = {}
    for number, path in enumerate(paths):
        for end in range(1, 1 + sum(map(bool, path))):
            name, parts = "/".join(path[:end]), path[:end]
            if (other := parts_of.setdefault(name, parts)) != parts:
                two = f"{shown([*other], 200)} and {shown([*parts], 200)}"
                raise ValueError(
                    f"{where(number)}: {two} would be one class, {shown(name)}: take '/' out of the labels."
                )
    return Hierarchy.from_levels(paths, qualify=True), True


def level_labels(
    columns: Mapping[str, Sequence[str]], origin: str, where: Callable[[int], str]
) -> tuple[Hierarchy, list[list[int]], list[str]]:
    """The tree that columns of labels spell out, coarse to fine, and the deepest class of each row.

    A class has its label as its name; where a label stands below two parents or in two columns, all names are
    paths, joined by "/". A path may end early, with "" from there on, and a row may have no label at all.

    Returns the tree, for each of the n rows a list of one id or none, and notes.

    Raises ValueError for a gap in a path and two classes of one path, at the place that ``where`` gives of
    the row, and, naming ``origin``, for no label at all.
    """
    rows = list(zip(*columns.values(), strict=True))
    for number, row in enumerate(rows):
        length = sum(map(bool, row))
        if any(row[length:]):
            raise ValueError(
                f"{where(number)}: a label should have one in each column before it. Found {shown(row, 200)}."
            )
    paths = [path for path in dict.fromkeys(rows) if path[0]]
    if not paths:
        raise ValueError(f"{origin} should have labels in the column {next(iter(columns))!r}. Found none.")
    notes = [f"levels: {', '.join(columns)}"]
    hierarchy, qualified = tree_of(paths, lambda number: where(rows.index(paths[number])))
    if qualified:
        notes.append("classes are named by their paths: a label stands for several")

    def deepest(row: tuple[str, ...]) -> list[int]:
        parts = [part for part in row if part]
        return [hierarchy.index["/".join(parts) if qualified else parts[-1]]] if parts else []

    of_path = {path: deepest(path) for path in dict.fromkeys(rows)}
    return hierarchy, [of_path[row] for row in rows], notes


def split_rows(
    names: Sequence[str], origin: str, where: Callable[[int], str] | None = None
) -> tuple[dict[str, list[int]], list[str]]:
    """Part to row numbers, from the name of each row's split, and notes: see :func:`parts_of`.

    Parts are "train", "test" and perhaps "validation"; or "all". ``where`` says where a row stands, for
    messages; default: ``origin`` and its number, counted from 1. Raises ValueError, naming the row, for a
    name that says no split; and as :func:`parts_of` does.
    """
    distinct = dict.fromkeys(names)
    if unknown := [name for name in distinct if split_of(name) is None]:
        row = names.index(unknown[0])
        place = where(row) if where else f"{origin}, row {row + 1}"
        raise ValueError(
            f"{place}: the split should be train, val, test or unlabeled. Found {shown(unknown[0])}."
        )
    part_of, notes = parts_of(distinct, origin)
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name in part_of:
            rows.setdefault(part_of[name], []).append(row)
    return {part: rows[part] for part in ("all", "train", "validation", "test") if part in rows}, notes
