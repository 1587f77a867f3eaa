"""`grocery`: images of groceries in shops, 81 fine classes below 43 coarse ones."""

from __future__ import annotations

import csv
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from hmc_shared.data.dataset import HierarchicalDataset, Split, targets_with_ancestors
from hmc_shared.data.image_table import ImageTable, needs_pillow
from hmc_shared.data.storage.cache import cached_images
from hmc_shared.data.storage.find import checksums, find_folder
from hmc_shared.data.storage.sources import (
    file_error,
    file_lines,
    read_all,
    read_bytes,
    text_lines,
    whole_number,
)
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import reason, shown

READER_VERSION = 1
MOST_CLASSES = 10_000
PARTS = {"train": "train", "validation": "val", "test": "test"}


def load(data_dir: str | Path) -> HierarchicalDataset:
    """Read the folder of classes.csv, train.txt, val.txt and test.txt, with the images beside them.

    The images are folders train/, val/ and test/ as in the repository GroceryStoreDataset, or archives
    train.tar, val.tar and test.tar of these folders, which are read in place. Many coarse classes have one
    fine class of the same name, so the name of a fine class is its path: "Banana/Banana". Ids are in the
    order of classes.csv. Source: Klasson, Zhang and Kjellström, "A Hierarchical Grocery Store Image Dataset
    with Visual and Semantic Labels", WACV 2019.

    Raises ValueError, naming file and line, for a damaged list; and for a missing or damaged image.
    """
    needs_pillow("grocery")
    folder = find_folder("grocery", data_dir)
    hierarchy, classes = read_classes(folder / "classes.csv")
    splits, sources = {}, checksums("grocery", folder)
    for part, stem in PARTS.items():
        names, fine = read_list(folder / f"{stem}.txt", classes)
        images, sources[f"{stem} images"] = read_images(folder, stem, names)
        targets = targets_with_ancestors([hierarchy.index[name] for name in fine], hierarchy)
        splits[part] = Split(images, targets, tuple(names))
    return HierarchicalDataset(
        name="grocery",
        hierarchy=hierarchy,
        evaluated=torch.ones(len(hierarchy), dtype=torch.bool),
        kind="image",
        **splits,
        sources=sources,
    )


def read_images(folder: Path, stem: str, names: Sequence[str]) -> tuple[ImageTable, str]:
    """The table of the named images, and the SHA-256 of its content."""
    reader, archive = f"grocery-{stem} {READER_VERSION}", folder / f"{stem}.tar"
    if not (folder / stem).is_dir():
        return cached_images(reader, archive, names, [archive], lambda: read_tar(archive, names))
    paths = [folder / name for name in names]
    return cached_images(reader, folder, names, paths, lambda: read_all(paths))


def read_classes(path: Path) -> tuple[Hierarchy, dict[tuple[int, int], str]]:
    """The hierarchy of classes.csv, and the name of each pair of fine and coarse label.

    Raises ValueError, naming file and line, for a row without name, label, coarse name and coarse label, and
    for a label with two names.
    """
    fine: dict[int, tuple[str, int]] = {}
    coarse: dict[int, str] = {}
    rows = csv.reader(text_lines(read_bytes(path), path))
    try:
        next(rows, None)  # the header
        for row in filter(None, rows):
            line = rows.line_num
            if len(row) < 4 or not (row[0].strip() and row[2].strip()):
                raise file_error(path, line, "a row should be name, label, coarse name, coarse label")
            name, coarse_name = row[0], row[2]
            label = whole_number(row[1].strip(), MOST_CLASSES, "a label", path, line)
            coarse_label = whole_number(row[3].strip(), MOST_CLASSES, "a coarse label", path, line)
            if label in fine or coarse.setdefault(coarse_label, coarse_name) != coarse_name:
                raise file_error(path, line, "a label should have one name")
            fine[label] = (f"{coarse_name}/{name}", coarse_label)
    except csv.Error as error:
        raise file_error(path, rows.line_num, str(error)) from error
    if not fine:
        raise file_error(path, 1, "no class below the header")
    parents: dict[str, str | None] = {coarse[label]: None for label in sorted(coarse)}
    parents |= {name: coarse[parent] for _, (name, parent) in sorted(fine.items())}
    try:
        hierarchy = Hierarchy.from_parents(parents)
    except ValueError as error:
        raise ValueError(f"{path}: {reason(error)}") from error
    return hierarchy, {(label, parent): name for label, (name, parent) in fine.items()}


def read_list(path: Path, classes: dict[tuple[int, int], str]) -> tuple[list[str], list[str]]:
    """Image paths and the names of their fine classes. Raises ValueError, naming file and line."""
    names: dict[str, str] = {}
    for number, line in file_lines(path):
        fields = [field.strip() for field in line.rsplit(",", 2)]
        if len(fields) != 3 or not fields[0]:
            raise file_error(path, number, "a line should be image, label, coarse label")
        fine, coarse = (whole_number(field, MOST_CLASSES, "a label", path, number) for field in fields[1:])
        labels = (fine, coarse)
        if labels not in classes:
            raise file_error(path, number, f"classes.csv has no class {labels[0]} below {labels[1]}")
        if fields[0] in names:
            raise file_error(path, number, f"the image {fields[0]!r} is listed twice")
        names[fields[0]] = classes[labels]
    if not names:
        raise file_error(path, 1, "no image is listed")
    return list(names), list(names.values())


def read_tar(path: Path, names: Sequence[str]) -> Iterator[bytes]:
    """The named members of an archive. Nothing is extracted, so nothing is written outside the cache.

    Raises ValueError, naming the archive, if it is damaged or a member is missing.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            members = {member.name.removeprefix("./"): member for member in archive if member.isreg()}
            for name in names:
                if name not in members:
                    raise ValueError(f"{path} has no file {shown(name)}.")
                if members[name].issparse():  # a few bytes may stand for gigabytes
                    raise ValueError(f"{path} has holes in {name!r}: pack it anew.")
                yield archive.extractfile(members[name]).read()  # pyright: ignore[reportOptionalMemberAccess]
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {reason(error)}.") from error
