"""`folder:PATH`: nested folders of images, whose nesting is the tree of classes."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.image_dataset import image_dataset
from hmc_shared.data.image_table import SUFFIXES, is_hidden, needs_pillow
from hmc_shared.data.split_names import parts_of, split_of
from hmc_shared.data.storage.sources import check_text
from hmc_shared.hierarchy import Hierarchy

READER_VERSION = 1


def load(path: str) -> HierarchicalDataset:
    """Read a folder in which every folder is a class, below the class it lies in, named by its path.

    Images may lie in any of them: those of an inner class belong to no class below. Where all folders at the
    top have names of splits, such as ``train``, ``valid`` and ``Test``, each holds such a tree, and the
    classes are those of all; see :mod:`hmc_shared.data.split_names`. Missing splits are sampled by iterative
    stratification: 20 % of the training images for validation, or 60, 20 and 20 % of all. An empty folder is
    a class without images. Hidden files and folders, ``__MACOSX``, and files without the suffix of an image
    are left out.

    Raises ValueError, naming the folder, if there is none, for fewer than two classes, splits beside other
    folders, a folder that links lead to twice, and for an image in no class or one that is damaged.
    """
    needs_pillow("folder:PATH")
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise ValueError(f"folder:PATH should name a folder. Found none at {root}.")
    classes: set[str] = set()
    node_of: dict[str, dict[str, str]] = {}  # images of each split, as paths below root, to classes
    others, seen = 0, {}
    parts, notes = split_folders(root)
    for folder, part in parts.items():
        names, images, rest = walk(folder, seen)
        classes.update(names)
        below = [PurePosixPath(folder.relative_to(root), image).as_posix() for image in images]
        nodes = node_of.setdefault(part, {})
        nodes |= dict(zip(below, (image.parent.as_posix() for image in images), strict=True))
        others += rest
    if not any(node_of.values()):
        raise ValueError(f"{root} should hold a folder of images for each class. Found no image.")
    if len(classes) < 2:
        raise ValueError(f"{root} should hold two classes or more. Found {min(classes)!r} only.")
    hierarchy = Hierarchy.from_paths(sorted(classes))
    if (root / "__MACOSX").is_dir():
        notes.append("the folder __MACOSX was left out")
    if others:
        notes.append(f"{others} files without the suffix of an image were left out")
    return image_dataset(
        root.name,
        root,
        {
            part: {image: [hierarchy.index[node]] for image, node in nodes.items()}
            for part, nodes in node_of.items()
        },
        hierarchy,
        reader=f"folder {READER_VERSION}",
        sources={},
        notes=notes,
    )


def split_folders(root: Path) -> tuple[dict[Path, str], list[str]]:
    """Folder to part of each split, and notes; the root itself is "all" where its folders are classes.

    They are classes if one has a name that no split has. But beside a training split and another one, of
    folders without images of their own, that is more likely a mistake, and refused.
    """
    folders = sorted(p.name for p in root.iterdir() if p.is_dir() and not is_hidden(p.name))
    splits = {split_of(name) for name in folders}
    if not folders or None in splits:
        inside = (path for name in folders if split_of(name) for path in (root / name).iterdir())
        is_mixed = "train" in splits and {"validation", "test"} & splits
        if not is_mixed or any(path.suffix.lower() in SUFFIXES for path in inside):
            return {root: "all"}, []
    part_of, notes = parts_of(folders, root)
    return {root / name: part for name, part in part_of.items()}, notes


def walk(top: Path, seen: dict[str, Path]) -> tuple[list[str], list[PurePosixPath], int]:
    """Classes and images below a folder, as sorted paths from there, and the number of other files.

    ``seen`` are the folders that were read before, by their real paths. Raises ValueError for an image beside
    the classes, and for a folder that was read before: links may lead in a circle.
    """
    classes, images, others = [], [], 0
    for place, folders, files in os.walk(top, onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in seen or (Path(place) != top and top.is_relative_to(real)):
            raise ValueError(f"{place} is {seen.get(real, real)} once more, by a link: remove the link.")
        seen[real] = Path(place)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in (*folders, *files):
            check_text(name, place)
        below = PurePosixPath(Path(place).relative_to(top).as_posix())
        classes += [below.as_posix()] if below.parts else []
        for name in sorted(name for name in files if not is_hidden(name)):
            if PurePosixPath(name).suffix.lower() not in SUFFIXES:
                others += 1
            elif not below.parts:
                raise ValueError(f"{top / name} should lie in the folder of a class.")
            else:
                images.append(below / name)
    return classes, images, others


def refuse(error: OSError) -> None:
    raise ValueError(f"{error.filename} cannot be read: {error.strerror}.") from error
