"""Finds the files of the CLUS and Mulan sets by the pattern of their names, and the folders of image sets."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from hmc_shared.data.catalog import CATALOG, EMBEDDED

# <set>.train.arff, <Set>_Train.arff, <Set>_corr_trainvalid.arff.gz, ...
FILE_NAME = re.compile(
    r"(?P<set>.+?)(?P<separator>\.|_corr_|_)(?P<part>trainvalid|train|valid|test)\.arff(\.gz)?", re.IGNORECASE
)
PARTS = {"train": "train", "trainvalid": "train", "valid": "validation", "test": "test"}
# <set>-train.arff, <set>-test.arff.gz, or all rows in <set>.arff; beside <set>.xml, which names the labels
MULAN_NAME = re.compile(r"(?P<set>.+?)(-(?P<part>train|test))?\.arff(\.gz)?", re.IGNORECASE)
LABELS = "labels"


def find_sets(data_dir: str | Path) -> dict[str, dict[str, list[Path]]]:
    """All sets in ``data_dir`` and up to two folders below: name -> part -> files.

    Parts are "train", "validation" and "test"; those of a Mulan set are "train" and "test", or "all", and
    "labels". A Mulan set in a folder ``<set>_<variant>`` has the name of the folder. Where a file is there
    both plain and with .gz, the plain one is used. Raises ValueError if ``data_dir`` is not a folder.
    """
    top = Path(data_dir)
    if not top.is_dir():
        raise ValueError(f"`data_dir` should be a folder. Found {str(top)!r}.")
    sets: dict[str, dict[str, list[Path]]] = {}
    for path in sorted({p for folder in ("", "*/", "*/*/") for p in top.glob(f"{folder}*.arff*")}):
        if path.suffix == ".gz" and path.with_suffix("").exists():
            continue
        if match := FILE_NAME.fullmatch(path.name):
            parts = sets.setdefault(match["set"], {})
            parts.setdefault(PARTS[match["part"].lower()], []).append(path)
        elif match := MULAN_NAME.fullmatch(path.name):
            labels = label_file(path, match["set"])
            if match["part"] is None and labels is None:
                continue  # any other ARFF file
            folder = path.parent.name
            is_variant = folder.lower().startswith(f"{match['set']}_".lower())
            parts = sets.setdefault(folder if is_variant else match["set"], {})
            parts.setdefault((match["part"] or "all").lower(), []).append(path)
            listed = parts.setdefault(LABELS, [])
            listed += [labels] if labels and labels not in listed else []
    return dict(sorted(sets.items(), key=lambda item: item[0].lower()))


def label_file(path: Path, stem: str) -> Path | None:
    """The XML file that names the labels of a Mulan file, plain or with .gz, if there is one beside it."""
    beside = [path.with_name(f"{stem}.xml"), path.with_name(f"{stem}.xml.gz")]
    return next((labels for labels in beside if labels.exists()), None)


def find_files(name: str, data_dir: str | Path) -> tuple[str, dict[str, Path]]:
    """The files of one set, its name in any case where that is unambiguous: (name as written, part -> file).

    A set named after its folder, such as "mediamill_reduced", is also found by the name of its files,
    "mediamill", if no other set has it. Raises ValueError, listing what is there, for an unknown name; and
    for a part without a file or with two. Sets named like ``<set>.train.arff`` come with a validation file;
    the others hold training and validation rows in one.
    """
    sets = find_sets(data_dir)
    same = [name] if name in sets else [known for known in sets if known.lower() == name.lower()]
    same = same or [
        known for known in sets if known.lower().startswith(f"{name.lower()}_") and LABELS in sets[known]
    ]
    if not same:
        images = [
            known for known, entry in CATALOG.items() if entry.files and any(find_folders(known, data_dir))
        ]
        known = ", ".join([*EMBEDDED, *images, *sets])
        raise ValueError(f"Unknown data set {name!r}. Embedded or found under {data_dir}: {known}.")
    if len(same) > 1:
        raise ValueError(f"The name {name!r} stands for several sets under {data_dir}: {', '.join(same)}.")
    parts = sets[same[0]]
    present = [path for paths in parts.values() for path in paths]
    if LABELS in parts and parts.keys() - {"all", LABELS}:
        needed = ("train", "test", LABELS)  # a file of all rows beside these repeats them
    elif LABELS in parts:
        needed = ("all", LABELS)
    elif any(f"{same[0]}." in path.name for path in present):
        needed = ("train", "validation", "test")
    else:
        needed = ("train", "test")
    optional = [part for part in parts if part not in needed and part != "all"]
    for part in needed:
        if not parts.get(part):
            raise ValueError(f"{present[0].parent}: the {part} file of {same[0]} is missing.")
    for part in (*needed, *optional):
        if len(paths := parts[part]) > 1:
            raise ValueError(f"{same[0]} has two files for its {part} part: {paths[0]} and {paths[1]}.")
    return same[0], {part: parts[part][0] for part in (*needed, *optional)}


def find_folders(name: str, data_dir: str | Path) -> Iterator[Path]:
    """The folders, nearest first, that hold the first file of an image set."""
    first = CATALOG[name].files[0]
    for below in ("", "*/", "*/*/"):
        yield from (path.parent for path in sorted(Path(data_dir).glob(below + first)))


def find_folder(name: str, data_dir: str | Path) -> Path:
    """The folder of an image set, in ``data_dir`` or up to two folders below.

    Raises ValueError if there is none, or none that has all its files; and if ``data_dir`` is not a folder.
    """
    if not Path(data_dir).is_dir():
        raise ValueError(f"`data_dir` should be a folder. Found {str(data_dir)!r}.")
    needed = [Path(file).name for file in CATALOG[name].files]
    missing = ""
    for folder in find_folders(name, data_dir):
        absent = [file for file in needed if not (folder / file).is_file()]
        if not absent:
            return folder
        missing = missing or f"{folder}: {absent[0]} of {name} is missing."
    first = CATALOG[name].files[0]
    raise ValueError(
        missing or f"{name} is not under {data_dir}: no {first} there or up to two folders below."
    )


def checksums(name: str, folder: Path) -> dict[str, str]:
    """The SHA-256 of each list of an image set."""
    lists = [folder / Path(file).name for file in CATALOG[name].files]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in lists}
