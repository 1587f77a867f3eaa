"""`coco2014` and `coco2017`: images of MS-COCO with the categories of the objects in them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.image_dataset import NO_TEST, image_dataset
from hmc_shared.data.image_table import needs_pillow
from hmc_shared.data.storage.cache import cached_labels
from hmc_shared.data.storage.find import find_folder
from hmc_shared.data.storage.sources import path_below, read_bytes, text_lines
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import reason
from hmc_shared.object_files import parse_json

READER_VERSION = 1
TREE = "-tree"


def load(name: str, data_dir: str | Path) -> HierarchicalDataset:
    """Read the folders ``train2017``, ``val2017`` and ``annotations``, with the instances_*.json files.

    The 80 categories are roots in the order of their ids; "coco2017-tree" puts them below their 12
    supercategories. There a category is named by its path, as "person/person", and only categories are
    evaluated. All instances count, including crowds, and images without any are kept. The official validation
    split is the test split, and 20 % of the training images are sampled for validation. Source: Lin et al.,
    "Microsoft COCO: Common Objects in Context", ECCV 2014.

    Raises ValueError, naming the file, for damaged annotations and for a missing or damaged image.
    """
    needs_pillow(name)
    year = name.removesuffix(TREE)[-4:]
    folder = find_folder(name, data_dir)
    contents = {}
    for part, stem in {"train": f"train{year}", "test": f"val{year}"}.items():
        path = folder / f"instances_{stem}.json"
        reader = f"coco-{stem}-labels {READER_VERSION}"
        contents[part] = cached_labels(
            reader, [path], lambda path=path, stem=stem: read_instances(path, stem)
        )
    categories = contents["train"]["categories"]
    if contents["test"]["categories"] != categories:
        raise ValueError(f"{folder}: the categories of training and validation images should be the same.")
    try:
        hierarchy = build_hierarchy(categories, name.endswith(TREE))
    except ValueError as error:
        raise ValueError(f"{folder / f'instances_train{year}.json'}, categories: {error}") from error
    evaluated = torch.arange(len(hierarchy)) >= len(hierarchy) - len(categories)
    first = int(evaluated.int().argmax())
    return image_dataset(
        name,
        folder.parent,
        {
            part: {image: [first + label for label in labels] for image, labels in content["images"].items()}
            for part, content in contents.items()
        },
        hierarchy,
        reader=f"coco{year} {READER_VERSION}",
        sources={content["file"]: content["digest"] for content in contents.values()},
        evaluated=evaluated,
        notes=[NO_TEST],
    )


def build_hierarchy(categories: list[tuple[str, str]], tree: bool) -> Hierarchy:
    """Of (category, supercategory): the categories alone, or below their supercategories.

    Raises ValueError for a category that is given twice or has no name.
    """
    if not tree:
        return Hierarchy.from_edges([], nodes=[name for name, _ in categories])
    paths = [(above, name) for name, above in categories]
    if repeated := [path for number, path in enumerate(paths) if path in paths[:number]]:
        raise ValueError(f"each should be given once. Found again: {'/'.join(repeated[0])}.")
    return Hierarchy.from_levels(paths, qualify=True)


def read_instances(path: Path, stem: str) -> dict[str, Any]:
    """File name and its SHA-256, (category, supercategory) in the order of ids, image -> categories.

    Images lie in the folder ``stem``; categories are counted from 0. Raises ValueError, naming the file, if
    it is damaged, and for an instance of an unknown image or category.
    """
    content = read_bytes(path)
    # Outlines of objects are most of the file: dropping them while reading takes a tenth of the memory.
    text = "\n".join(text_lines(content, path))
    whole = parse_json(text, path, lambda pairs: {k: v for k, v in pairs if k != "segmentation"})
    try:
        categories = sorted(whole["categories"], key=lambda category: category["id"])
        position = {category["id"]: i for i, category in enumerate(categories)}
        labels: dict[int, set[int]] = {image["id"]: set() for image in whole["images"]}
        for instance in whole["annotations"]:
            labels[instance["image_id"]].add(position[instance["category_id"]])
        return {
            "file": path.name,
            "digest": hashlib.sha256(content).hexdigest(),
            "categories": [
                [category["name"] + "", category["supercategory"] + ""] for category in categories
            ],
            "images": {
                f"{stem}/{path_below(image['file_name'], path)}": sorted(labels[image["id"]])
                for image in whole["images"]
            },
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} has no COCO instances: {type(error).__name__} {reason(error)}.") from error
