"""`voc-lt` and `coco-lt`: long-tailed parts of PASCAL VOC and MS-COCO, by published lists of their images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from hmc_shared.data.benchmarks.voc import CLASSES as VOC
from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.image_dataset import image_dataset
from hmc_shared.data.image_table import needs_pillow
from hmc_shared.data.storage.find import checksums, find_folder
from hmc_shared.data.storage.sources import file_error, file_lines, whole_number
from hmc_shared.hierarchy import Hierarchy

READER_VERSION = 1
COCO = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase"),
    *("frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard"),
    *("surfboard", "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl"),
    *("banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake"),
    *("chair", "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote"),
    *("keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock"),
    *("vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)
CLASSES = {"voc-lt": VOC, "coco-lt": COCO}


def load(name: str, data_dir: str | Path) -> HierarchicalDataset:
    """Read ``voc_lt`` or ``coco_lt``, folders with train.txt and test.txt, and the images that they list.

    A line of a list is the path of an image and the numbers of its classes, as in
    ``VOCdevkit/VOC2012/JPEGImages/2008_000023.jpg 14 4 19`` or ``train2017/000000554625.jpg 0 62``. Images
    lie where these sets are unpacked: in ``data_dir``, or a folder or two below. Classes are roots: those of
    VOC in alphabetical order, those of COCO in the order of their official ids. Training images are parts of
    VOC2012 train-val and COCO train2017, test images all of VOC2007 test and COCO val2017. 20 % of the
    training images are sampled for validation, because the source has none; head, medium and tail follow
    the published counts, which are those of training and validation images together. In the test list of
    VOC-LT objects marked difficult count. Source: Wu et al., "Distribution-Balanced Loss for Multi-Label
    Classification in Long-Tailed Datasets", ECCV 2020.

    Raises ValueError, naming file and line, for a damaged list; if the images are not found; and for an image
    that is missing or damaged.
    """
    needs_pillow(name)
    lists, classes = find_folder(name, data_dir), CLASSES[name]
    parts = {part: read_list(lists / f"{part}.txt", len(classes)) for part in ("train", "test")}
    dataset = image_dataset(
        name,
        find_root(next(iter(parts["train"])), data_dir, name),
        parts,
        Hierarchy.from_edges([], nodes=classes),
        reader=f"{name} {READER_VERSION}",
        sources=checksums(name, lists),
        notes=["head, medium and tail: by the published training counts, validation included"],
    )
    published = torch.zeros(len(classes), dtype=torch.int64)
    for labels in parts["train"].values():
        published[labels] += 1
    return replace(dataset, published_counts=published)


def read_list(path: Path, classes: int) -> dict[str, list[int]]:
    """Image to the numbers of its classes, in the order of the list.

    Raises ValueError, naming file and line, for anything but class numbers, and for an image listed twice.
    """
    labels: dict[str, list[int]] = {}
    for number, line in file_lines(path):
        image, *words = line.split()
        if image in labels:
            raise file_error(path, number, f"the image {image!r} is listed twice")
        labels[image] = sorted({whole_number(word, classes - 1, "a label", path, number) for word in words})
    if not labels:
        raise ValueError(f"{path} should list images. Found none.")
    return labels


def find_root(image: str, data_dir: str | Path, name: str) -> Path:
    """The folder, in ``data_dir`` or up to two folders below, from which the path of an image leads to it."""
    for below in ("", "*/", "*/*/"):
        for path in sorted(Path(data_dir).glob(below + image)):
            return path.parents[image.count("/")]
    top = image.split("/")[0]
    raise ValueError(
        f"the images of {name} are not under {data_dir}: no {image} there or up to two folders below. "
        f"Unpack the official archives, so that {top} stands in it."
    )
