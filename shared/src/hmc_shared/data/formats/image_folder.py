"""`folder:PATH`: nested folders of images, whose nesting is the tree of classes."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.image_dataset import image_dataset
from hmc_shared.data.image_table import SUFFIXES, needs_pillow
from hmc_shared.hierarchy import Hierarchy

READER_VERSION = 1
PARTS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


def load(path: str) -> HierarchicalDataset:
    """Read a folder in which every folder is a class, below the class it lies in, named by its path.

    Images may lie in any of them: those of an inner class belong to no class below. Where there are folders
    ``train`` and ``test``, and perhaps ``validation`` or ``val``, each holds such a tree, and the classes are
    those of all. Missing splits are sampled by iterative stratification: 20 % of the training images for
    validation, or 60, 20 and 20 % of all. Hidden files and folders, and files without the suffix of an image,
    are left out.

    Raises ValueError, naming the folder, if there is none, if a class has no image, for fewer than two
    classes, and for an image in no class or one that Pillow cannot read.
    """
    needs_pillow("folder:PATH")
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise ValueError(f"folder:PATH should name a folder. Found none at {root}.")
    classes: set[str] = set()
    node_of: dict[str, dict[str, str]] = {}  # images of each split, as paths below root, to classes
    others = 0
    for part, folder in split_folders(root).items():
        names, images, rest = walk(folder)
        classes.update(names)
        below = [PurePosixPath(folder.relative_to(root), image).as_posix() for image in images]
        node_of[part] = dict(zip(below, (image.parent.as_posix() for image in images), strict=True))
        others += rest
    hierarchy = build_hierarchy(
        classes, [node for nodes in node_of.values() for node in nodes.values()], root
    )
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
        notes=[f"{others} files without the suffix of an image were left out"] if others else [],
    )


def split_folders(root: Path) -> dict[str, Path]:
    """The folders of the splits; or "all", the root itself, if there are none."""
    folders = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if "train" not in folders or not {"validation", "val", "test"} & set(folders):
        return {"all": root}
    parts = {PARTS[name]: root / name for name in folders if name in PARTS}
    if "test" not in parts or len(parts) < len(folders):
        raise ValueError(
            f"{root} should hold train, test and perhaps validation or val. Found {', '.join(folders)}."
        )
    return parts


def walk(top: Path) -> tuple[list[str], list[PurePosixPath], int]:
    """Classes and images below a folder, as sorted paths from there, and the number of other files.

    Raises ValueError for an image beside the classes.
    """
    classes, images, others = [], [], 0
    for place, folders, files in os.walk(top, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = PurePosixPath(Path(place).relative_to(top).as_posix())
        classes += [below.as_posix()] if below.parts else []
        for name in sorted(name for name in files if not name.startswith(".")):
            if PurePosixPath(name).suffix.lower() not in SUFFIXES:
                others += 1
            elif not below.parts:
                raise ValueError(f"{top / name} should lie in the folder of a class.")
            else:
                images.append(below / name)
    return classes, images, others


def build_hierarchy(classes: set[str], nodes: list[str], root: Path) -> Hierarchy:
    """The tree of the classes. Raises ValueError for one class only, and for a class without an image."""
    occupied = {parent.as_posix() for node in set(nodes) for parent in PurePosixPath(node, "x").parents}
    empty = sorted(classes - occupied)
    if not nodes:
        raise ValueError(f"{root} should hold a folder of images for each class. Found no image.")
    if empty:
        raise ValueError(f"{root}: the class {empty[0]!r} should have an image. Found none in its folder.")
    if len(classes) < 2:
        raise ValueError(f"{root} should hold two classes or more. Found {min(classes)!r} only.")
    return Hierarchy.from_paths(sorted(classes))
