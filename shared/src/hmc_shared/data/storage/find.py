"""Finds the files of the CLUS, Mulan and MEKA sets by their names, and the folders of image sets."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from hmc_shared.data.catalog import CATALOG, EMBEDDED
from hmc_shared.data.storage.sources import sha256

# <set>.train.arff, <Set>_Train.arff, <Set>_corr_trainvalid.arff.gz, ...
FILE_NAME = re.compile(
    r"(?P<set>.+?)(?P<separator>\.|_corr_|_)(?P<part>trainvalid|train|valid|test)\.arff(\.gz)?", re.IGNORECASE
)
PARTS = {"train": "train", "trainvalid": "train", "valid": "validation", "test": "test"}
# <set>-train.arff, <set>-test.arff.gz, or all rows in <set>.arff; <set>.xml beside it names the labels
# (Mulan), or the name of the relation counts them (MEKA)
MULAN_NAME = re.compile(r"(?P<set>.+?)(-(?P<part>train|test))?\.arff(\.gz)?", re.IGNORECASE)
LABELS = "labels"
MEKA_LABELS = re.compile(r"-C\s+(-?[0-9]{1,9})\b")
MEKA_HEAD = re.compile(
    rb"^(?:\xef\xbb\xbf)?[ \t]*@relation[^\r\n]*-C\s+-?[0-9]", re.IGNORECASE | re.MULTILINE
)
HEAD_BYTES = 1 << 16
LABELS_SAID = "{}.xml beside it (Mulan), or by -C and their number in the name of the relation (MEKA)"


def find_sets(data_dir: str | Path) -> dict[str, dict[str, list[Path]]]:
    """All sets in ``data_dir`` and up to two folders below: name -> part -> files.

    Parts are "train", "validation" and "test"; those of a Mulan or MEKA set are "train" and "test", or "all",
    and "labels", the XML file or the first ARFF file. Such a set in a folder ``<set>_<variant>`` has the name
    of the folder. Where a file is there both plain and with .gz, the plain one is used. Raises ValueError if
    ``data_dir`` is not a folder.
    """
    top = Path(data_dir)
    if not top.is_dir():
        raise ValueError(f"`data_dir` should be a folder. Found {str(top)!r}.")
    sets: dict[str, dict[str, list[Path]]] = {}
    for path in _arff_files(top):
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
            if labels and labels not in listed and not (listed and is_arff(labels)):
                listed.append(labels)
    return dict(sorted(sets.items(), key=lambda item: item[0].lower()))


def _arff_files(top: Path) -> list[Path]:
    return sorted({path for folder in ("", "*/", "*/*/") for path in top.glob(f"{folder}*.arff*")})


def label_file(path: Path, stem: str) -> Path | None:
    """What names the labels of a file: the XML beside it, plain or with .gz, or of MEKA the file itself."""
    beside = [path.with_name(f"{stem}.xml"), path.with_name(f"{stem}.xml.gz")]
    found = next((labels for labels in beside if labels.exists()), None)
    return found or (path if _counts_labels(path) else None)


def is_arff(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(".arff")


def _counts_labels(path: Path) -> bool:
    """Whether the name of the relation says how many attributes are labels."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            return MEKA_HEAD.search(file.read(HEAD_BYTES)) is not None
    except (OSError, EOFError, zlib.error):
        return False  # damaged: the reader says so, if the file is asked for


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
        for path in _arff_files(Path(data_dir)):
            if (match := MULAN_NAME.fullmatch(path.name)) and match["set"].lower() == name.lower():
                raise ValueError(
                    f"{path}: what its labels are should be said by {LABELS_SAID.format(match['set'])}."
                )
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
            rule = f", {LABELS_SAID.format(same[0])}" if part == LABELS else ""
            raise ValueError(f"{present[0].parent}: the {part} file of {same[0]} is missing{rule}.")
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
    return {path.name: sha256(path) for path in lists}
