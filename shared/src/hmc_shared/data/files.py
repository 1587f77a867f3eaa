"""Finds the files of the CLUS sets by the pattern of their names, and the folders of the image sets."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from hmc_shared.data.dataset import EMBEDDED

# <set>.train.arff, <Set>_Train.arff, <Set>_corr_trainvalid.arff.gz, ...
FILE_NAME = re.compile(
    r"(?P<set>.+?)(?P<separator>\.|_corr_|_)(?P<part>trainvalid|train|valid|test)\.arff(\.gz)?", re.IGNORECASE
)
PARTS = {"train": "train", "trainvalid": "train", "valid": "validation", "test": "test"}
# The usual benchmark, for listings only: sets are found by their files.
YEAST = ("cellcycle", "derisi", "eisen", "expr", "gasch1", "gasch2", "seq", "spo")
PUBLISHED = (
    *(f"{yeast}_{ontology}" for ontology in ("FUN", "GO") for yeast in YEAST),
    *("Diatoms", "Enron", "ImCLEF07A", "ImCLEF07D"),
)
# Image set -> the lists that its folder has; looked for in data_dir and up to two folders below.
AIRCRAFT = tuple(
    f"fgvc-aircraft-2013b/data/images_{level}_{part}.txt"
    for level in ("variant", "family", "manufacturer")
    for part in ("train", "val", "test")
)
IMAGE_SETS = {
    "cifar100": tuple(f"cifar-100-python/{name}" for name in ("meta", "train", "test")),
    "fgvc-aircraft": AIRCRAFT,
    "fgvc-aircraft-boxes": (*AIRCRAFT, "fgvc-aircraft-2013b/data/images_box.txt"),
    "grocery": ("classes.csv", "train.txt", "val.txt", "test.txt"),
}


def find_sets(data_dir: str | Path) -> dict[str, dict[str, list[Path]]]:
    """All sets in ``data_dir``, in ``data_dir/hmc`` and one folder below each: name -> part -> files.

    Parts are "train", "validation" and "test". Where a file is there both plain and with .gz, the plain one
    is taken. Raises ValueError if ``data_dir`` is no folder.
    """
    top = Path(data_dir)
    if not top.is_dir():
        raise ValueError(f"`data_dir` should be a folder. Found {str(top)!r}.")
    found: dict[str, dict[str, list[Path]]] = {}
    for path in sorted({p for folder in ("", "*/", "hmc/*/") for p in top.glob(f"{folder}*.arff*")}):
        match = FILE_NAME.fullmatch(path.name)
        if match and not (path.suffix == ".gz" and path.with_suffix("").exists()):
            parts = found.setdefault(match["set"], {})
            parts.setdefault(PARTS[match["part"].lower()], []).append(path)
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def find_files(name: str, data_dir: str | Path) -> tuple[str, dict[str, Path]]:
    """The files of one set, its name in any case where that is unambiguous: (name as written, part -> file).

    Raises ValueError, listing what is there, for an unknown name; and for a part without a file or with two.
    Sets named like ``<set>.train.arff`` come with a validation file, the others hold training and validation
    rows in one.
    """
    sets = find_sets(data_dir)
    same = [name] if name in sets else [known for known in sets if known.lower() == name.lower()]
    if not same:
        images = [known for known in IMAGE_SETS if any(find_folders(known, data_dir))]
        known = ", ".join([*EMBEDDED, *images, *sets])
        raise ValueError(f"Unknown data set {name!r}. Embedded or found under {data_dir}: {known}.")
    if len(same) > 1:
        raise ValueError(f"The name {name!r} stands for several sets under {data_dir}: {', '.join(same)}.")
    parts = sets[same[0]]
    present = [path for paths in parts.values() for path in paths]
    dotted = any(f"{same[0]}." in path.name for path in present)
    for part in ("train", "validation", "test") if dotted else ("train", "test"):
        if part not in parts:
            raise ValueError(f"{present[0].parent}: the {part} file of {same[0]} is missing.")
    for part, paths in parts.items():
        if len(paths) > 1:
            raise ValueError(f"{same[0]} has two files for its {part} part: {paths[0]} and {paths[1]}.")
    return same[0], {part: paths[0] for part, paths in parts.items()}


def find_folders(name: str, data_dir: str | Path) -> Iterator[Path]:
    """The folders, nearest first, that hold the first of the files of an image set."""
    first = IMAGE_SETS[name][0]
    for below in ("", "*/", "*/*/"):
        yield from (path.parent for path in sorted(Path(data_dir).glob(below + first)))


def find_folder(name: str, data_dir: str | Path) -> Path:
    """The folder of an image set, in ``data_dir`` or up to two folders below.

    Raises ValueError if there is none, or none that has all its files; and if ``data_dir`` is no folder.
    """
    if not Path(data_dir).is_dir():
        raise ValueError(f"`data_dir` should be a folder. Found {str(data_dir)!r}.")
    needed = [Path(file).name for file in IMAGE_SETS[name]]
    missing = ""
    for folder in find_folders(name, data_dir):
        absent = [file for file in needed if not (folder / file).is_file()]
        if not absent:
            return folder
        missing = missing or f"{folder}: {absent[0]} of {name} is missing."
    first = IMAGE_SETS[name][0]
    raise ValueError(
        missing or f"{name} is not under {data_dir}: no {first} there or up to two folders below."
    )


def checksums(name: str, folder: Path) -> dict[str, str]:
    """The SHA-256 of each list of an image set."""
    lists = [folder / Path(file).name for file in IMAGE_SETS[name]]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in lists}


def read_all(paths: Iterable[Path]) -> Iterator[bytes]:
    """The content of each file. Raises ValueError for one that cannot be read."""
    for path in paths:
        try:
            yield path.read_bytes()
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
