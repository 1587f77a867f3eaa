"""`folder:PATH`: nested folders of images, whose nesting is the tree of classes."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from hmc_shared.data.cache import cached_images
from hmc_shared.data.dataset import HierarchicalDataset, Split, closed_targets
from hmc_shared.data.files import read_all
from hmc_shared.data.images import needs_pillow
from hmc_shared.data.preprocessing import draw_splits, stratified_draw
from hmc_shared.hierarchy import Hierarchy

READER_VERSION = 1
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
PARTS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
VALIDATION_SHARE, SEED = 0.2, 0


def load(path: str) -> HierarchicalDataset:
    """Read a folder in which every folder is a class, below the class it lies in, named by its path.

    Images may lie in any of them: those of an inner class belong to no class below. Where there are folders
    ``train`` and ``test``, and perhaps ``validation`` or ``val``, each holds such a tree, and the classes are
    those of all. Splits that are not there are drawn by iterative stratification: 20 % of the training images
    for validation, or 60, 20 and 20 % of all. Hidden files and folders, and files without the suffix of an
    image, are left out.

    Raises ValueError, naming the folder, if it is none, if a class has no image, for fewer than two classes,
    and for an image in no class or one that Pillow cannot read.
    """
    needs_pillow("folder:PATH")
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise ValueError(f"folder:PATH should name a folder. Found none at {root}.")
    classes: set[str] = set()
    rows: dict[str, list[int]] = {}
    names, nodes, others = [], [], 0  # of each image its path below root and its class
    for part, folder in split_folders(root).items():
        found, images, rest = walk(folder)
        classes.update(found)
        rows[part] = list(range(len(names), len(names) + len(images)))
        names += [PurePosixPath(folder.relative_to(root), image).as_posix() for image in images]
        nodes += [image.parent.as_posix() for image in images]
        others += rest
    hierarchy = build_hierarchy(classes, nodes, root)
    labels = np.array([hierarchy.index[node] for node in nodes])
    split_rows, notes = draw_missing(rows, np.eye(len(hierarchy), dtype=bool)[labels])
    for part, chosen in split_rows.items():
        if not len(chosen):
            raise ValueError(
                f"{root}: the {part} split should have images. Found none in {len(names)} images."
            )
    if others:
        notes.append(f"{others} files without the suffix of an image were left out")

    paths = [root / name for name in names]
    reader = f"folder {READER_VERSION}"
    table, digest = cached_images(reader, root, names, paths, lambda: read_all(paths))
    splits = {}
    for part, chosen in split_rows.items():
        ids = tuple(names[row] for row in chosen)
        splits[part] = Split(table.select(chosen), closed_targets(labels[chosen], hierarchy), ids)
    return HierarchicalDataset(
        name=root.name,
        hierarchy=hierarchy,
        evaluated=torch.ones(len(hierarchy), dtype=torch.bool),
        kind="image",
        **splits,
        sources={"images": digest},
        notes=tuple(notes),
    )


def split_folders(root: Path) -> dict[str, Path]:
    """The folders of the given splits; or "all", the root itself, if there are none."""
    folders = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if "train" not in folders or not {"validation", "val", "test"} & set(folders):
        return {"all": root}
    parts = {PARTS[name]: root / name for name in folders if name in PARTS}
    if "test" not in parts or len(parts) < len(folders):
        found = ", ".join(folders)
        raise ValueError(f"{root} should hold train, test and perhaps validation or val. Found {found}.")
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


def draw_missing(rows: dict[str, list[int]], one_hot: np.ndarray) -> tuple[dict[str, np.ndarray], list[str]]:
    """Row numbers of the three splits, and a note on what was drawn; ``one_hot`` is (n, C) bool."""
    if "all" in rows:
        note = f"splits: 60 % training, 20 % validation and 20 % test, stratified by class, seed {SEED}"
        return draw_splits(one_hot, SEED), [note]
    given = {part: np.array(chosen, dtype=np.int64) for part, chosen in rows.items()}
    if "validation" in given:
        return {part: given[part] for part in ("train", "validation", "test")}, []
    train = given["train"]
    drawn = stratified_draw(one_hot[train], VALIDATION_SHARE, SEED)
    note = f"validation: {VALIDATION_SHARE:.0%} of the training images, stratified by class, seed {SEED}"
    return {"train": train[~drawn], "validation": train[drawn], "test": given["test"]}, [note]
