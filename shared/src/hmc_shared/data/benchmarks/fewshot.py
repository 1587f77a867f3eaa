"""Few-shot settings of VOC 2007 and COCO 2014: base classes with many images, novel ones with one or five.

"voc2007-base" and "coco2014-base" are the images without any novel class; base classes are evaluated.
"voc2007-1shot-3" is the third of ten episodes: training rows are a support set with one image of each novel
class, test rows are the images with a novel class, and novel classes are evaluated. Validation rows are the
support set again, because nothing else has labels in such a setting. All settings have the classes of the
whole set, so a model trained on the base images fits the episodes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hmc_shared.data.benchmarks import coco, voc
from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.preprocessing import shuffled
from hmc_shared.data.storage.cache import cached_labels
from hmc_shared.data.storage.find import find_folder
from hmc_shared.data.storage.sources import read_json
from hmc_shared.messages import reason, shown

NAME = re.compile(r"(?P<set>voc2007|coco2014)-(base|(?P<shots>[15])shot-(?P<run>10|[1-9]))")
EPISODES = 10
VOC_NOVEL = ("cat", "dog", "pottedplant", "sheep", "sofa", "tvmonitor")
COCO_NOVEL = (
    *("bicycle", "boat", "stop sign", "bird", "backpack", "frisbee", "snowboard", "surfboard"),
    *("cup", "fork", "spoon", "broccoli", "chair", "keyboard", "microwave", "vase"),
)
LASO = "fewshot/coco_laso.json"


def load(name: str, data_dir: str | Path) -> HierarchicalDataset:
    """Read a setting, such as "voc2007-base" or "coco2014-5shot-10".

    The novel classes of VOC are those of Yan et al., "Inferring Prototypes for Multi-Label Few-Shot Image
    Classification with Word Vector Guided Attention", AAAI 2022, those of COCO are LaSO's (Alfassy et al.,
    CVPR 2019). Support sets of VOC are sampled from the official training split, seeded by the number of the
    episode; none are published. Those of COCO are LaSO's, read from ``fewshot/coco_laso.json`` in
    ``data_dir`` or up to two folders below: its positions count the images of instances_train2014.json in
    the order of the file.

    Raises ValueError for an unknown name, as the readers of `voc2007` and `coco2014` do, and if a support
    image does not have its class.
    """
    if not (match := NAME.fullmatch(name)):
        rule = f"should be voc2007 or coco2014 with -base, -1shot-N or -5shot-N, N from 1 to {EPISODES}"
        raise ValueError(f"A few-shot setting {rule}. Found {name!r}.")
    is_voc = match["set"] == "voc2007"
    dataset = (voc if is_voc else coco).load(match["set"], data_dir)
    novel = [dataset.hierarchy.index[label] for label in (VOC_NOVEL if is_voc else COCO_NOVEL)]
    if match["shots"] is None:
        return base(dataset, novel)
    shots, run = int(match["shots"]), int(match["run"])
    if is_voc:
        rows = sample_support(dataset.train.targets.numpy()[:, novel], shots, seed=run)
        support = [dataset.train.ids[row] for row in rows]
        return episode(dataset, novel, support, name, [f"support set: sampled with seed {run}"])
    support, digest = laso_support(dataset, f"{shots}shot_run{run}", data_dir)
    result = episode(dataset, novel, support, name, [f"support set: run {run} of LaSO"])
    return replace(result, sources={**result.sources, "coco_laso.json": digest})


def base(dataset: HierarchicalDataset, novel: Sequence[int]) -> HierarchicalDataset:
    """The rows of every split without any novel class; the other classes are evaluated."""
    splits = {}
    for part, split in dataset.splits.items():
        splits[part] = split.select(np.flatnonzero(~split.targets[:, novel].any(1).numpy()))
    return replace(
        dataset,
        name=f"{dataset.name}-base",
        evaluated=dataset.evaluated & ~_mask(novel, len(dataset.hierarchy)),
        **splits,
        notes=(*dataset.notes, f"images with one of {len(novel)} novel classes are left out of all splits"),
    )


def episode(
    dataset: HierarchicalDataset,
    novel: Sequence[int],
    support: Sequence[str],
    name: str,
    notes: Sequence[str] = (),
) -> HierarchicalDataset:
    """One episode: train and validate on a support set, test the novel classes on the images that have one.

    ``support`` are ids of training or validation rows.
    """
    labelled = dataset.train.concatenate(dataset.validation)
    row_of = {image: row for row, image in enumerate(labelled.ids)}
    rows = labelled.select(np.array([row_of[image] for image in support]))
    return replace(
        dataset,
        name=name,
        evaluated=dataset.evaluated & _mask(novel, len(dataset.hierarchy)),
        train=rows,
        validation=rows,
        test=dataset.test.select(np.flatnonzero(dataset.test.targets[:, novel].any(1).numpy())),
        sources={**dataset.sources, "support set": hashlib.sha256("\n".join(support).encode()).hexdigest()},
        notes=(*notes, "validation: the support set", "test: images with a novel class"),
    )


def sample_support(targets: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Rows of ``targets`` (n, C) bool in which every class has exactly ``shots`` positives.

    The classes take turns, the rarest first. A row is taken if none of its classes has its ``shots`` yet.
    Raises ValueError if that leaves a class without enough rows.
    """
    order = shuffled(len(targets), seed)
    missing = np.full(targets.shape[1], shots)
    rows: list[int] = []
    for label in np.argsort(targets.sum(0), kind="stable"):
        for row in order[targets[order, label]]:
            if missing[label] and row not in rows and (missing[targets[row]] > 0).all():
                rows.append(int(row))
                missing -= targets[row]
        if missing[label]:
            raise ValueError(f"`shots` should leave enough rows of every class. Found {shots}, too many.")
    return np.array(rows)


def laso_support(dataset: HierarchicalDataset, run: str, data_dir: str | Path) -> tuple[list[str], str]:
    """The ids of the support images of a run such as "1shot_run3", and the SHA-256 of the file that has it.

    Raises ValueError, naming the file, if it is missing or damaged, and if an image lacks its class.
    """
    paths = [path for below in ("", "*/", "*/*/") for path in sorted(Path(data_dir).glob(below + LASO))]
    if not paths:
        raise ValueError(f"The episodes of coco2014 need {LASO} in {data_dir} or up to two folders below.")
    rows_of, digest = read_episode(paths[0], run, len(dataset.hierarchy))

    instances = find_folder("coco2014", data_dir) / "instances_train2014.json"
    reader = f"coco-train2014-labels {coco.READER_VERSION}"  # as coco.load, so they are in the cache
    labels = cached_labels(reader, [instances], lambda: coco.read_instances(instances, "train2014"))["images"]
    images = list(labels)  # in the order of the file
    for label, rows in rows_of.items():
        for row in rows:
            if not row < len(images) or label not in labels[images[row]]:
                name = dataset.hierarchy.names[label]
                raise ValueError(f"{paths[0]}: the image at {row} in {instances.name} has no {name!r}.")
    support = sorted({row for rows in rows_of.values() for row in rows})
    return [images[row] for row in support], digest


def read_episode(path: Path, run: str, classes: int) -> tuple[dict[int, list[int]], str]:
    """Class to positions of its images, and the SHA-256 of the file. Raises ValueError, naming the file."""
    content, digests = read_json(path)
    rows_of: dict[int, list[int]] = {}
    try:
        for label, rows in content["runs"][run]["class_to_positions"].items():
            if not (label.isascii() and label.isdecimal() and len(label) < 5 and int(label) < classes):
                raise ValueError(f"a class should be a number from 0 to {classes - 1}. Found {shown(label)}")
            if not all(type(row) is int and row >= 0 for row in rows):
                raise ValueError(f"positions should be numbers from 0. Found {shown(rows)}")
            rows_of[int(label)] = rows
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{type(error).__name__} {reason(error)}"
        raise ValueError(f"{path} has no {run} of LaSO: {said}.") from error
    return rows_of, digests[path.name]


def _mask(classes: Sequence[int], size: int) -> torch.Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[list(classes)] = True
    return mask
