"""What a data set contains, as text."""

from __future__ import annotations

import numpy as np

from hmc_shared.data.dataset import HierarchicalDataset, Split
from hmc_shared.data.image_table import ImageTable
from hmc_shared.metrics.ranking import head_medium_tail


def describe(dataset: HierarchicalDataset) -> str:
    """Text: splits, levels, long tail, origin. Labels are those of evaluated classes, ancestors added."""
    hierarchy, evaluated = dataset.hierarchy, dataset.evaluated
    shape = "tree" if hierarchy.is_tree else "DAG"
    left_out = int((~evaluated).sum())
    lines = [
        f"{dataset.name}: {_inputs(dataset)}",
        f"{shape} of {len(hierarchy)} classes, {len(hierarchy.edges)} edges, {hierarchy.num_levels} levels",
        f"classes left out of the evaluation: {left_out or 'none'}",
        "labels: " + ("one path for each sample" if dataset.is_single_path else "several paths for a sample"),
        "",
    ]
    rows = [("split", "samples", "labels per sample", "density", "classes without positives")]
    for name, split in dataset.splits.items():
        per_sample = cardinality(split, evaluated.numpy())
        without = int((~split.targets.any(0) & evaluated).sum())
        rows.append(
            (name, f"{len(split)}", f"{per_sample:.2f}", f"{per_sample / evaluated.sum():.4f}", f"{without}")
        )
    lines += [*_table(rows), ""]

    rows = [("level", "classes", "leaves", "labels per training sample")]
    leaves = set(hierarchy.leaves.tolist())
    for depth, level in enumerate(hierarchy.levels):
        mask = np.zeros(len(hierarchy), dtype=bool)
        mask[level.start : level.stop] = evaluated[level.start : level.stop]
        count = sum(node in leaves for node in level)
        rows.append((f"{depth}", f"{len(level)}", f"{count}", f"{cardinality(dataset.train, mask):.2f}"))
    lines += [*_table(rows), ""]

    rows = [("training positives", "classes", "without test positives")]
    tested = dataset.test.targets.any(0).numpy()
    for title, mask in long_tail(dataset).items():
        rows.append((title, f"{mask.sum()}", f"{(mask & ~tested).sum()}"))
    lines += [*_table(rows), ""]
    lines += [f"note: {note}" for note in dataset.notes]
    lines += [f"source: {file} sha256 {digest[:16]}" for file, digest in dataset.sources.items()]
    return "\n".join([*lines, f"checksum: {dataset.checksum}"])


def _inputs(dataset: HierarchicalDataset) -> str:
    """Kind and shape of an input, or the range of the sizes of encoded images."""
    if not isinstance(dataset.train.inputs, ImageTable):
        return f"{' x '.join(map(str, dataset.train.inputs.shape[1:]))} {dataset.kind} inputs"
    sizes = image_sizes(dataset)
    (width, height), (widest, highest) = sizes.min(0), sizes.max(0)
    median = " x ".join(f"{side:.0f}" for side in np.median(sizes, axis=0))
    return f"images {width} to {widest} pixels wide, {height} to {highest} high, median {median}"


def image_sizes(dataset: HierarchicalDataset) -> np.ndarray:
    """(n, 2) width and height of all encoded images of a data set; n is 0 if its inputs are tensors."""
    tables = [split.inputs.sizes for split in dataset.splits.values() if isinstance(split.inputs, ImageTable)]
    return np.concatenate([np.zeros((0, 2), dtype=np.int32), *tables])


def cardinality(split: Split, mask: np.ndarray) -> float:
    """Mean number of positive classes per sample, among those in ``mask`` (C,)."""
    return float(split.targets.numpy()[:, mask].sum() / len(split))


def long_tail(dataset: HierarchicalDataset) -> dict[str, np.ndarray]:
    """(C,) masks of the evaluated classes, by the number of their training positives."""
    counts, evaluated = dataset.train_counts.numpy(), dataset.evaluated.numpy()
    groups = head_medium_tail(counts)
    return {
        "head (100 or more)": groups["head"] & evaluated,
        "medium (20 to 99)": groups["medium"] & evaluated,
        "tail (1 to 19)": groups["tail"] & evaluated & (counts > 0),
        "none": evaluated & (counts == 0),
    }


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Aligned columns, the first to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
