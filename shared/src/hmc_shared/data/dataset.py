"""The two classes that every reader fills: a split, and a data set of three splits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hmc_shared.data.image_table import ImageTable
from hmc_shared.embed.embedder import Embedder
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import some
from hmc_shared.metrics.cafa import information_accretion
from hmc_shared.metrics.levels import is_single_path
from hmc_shared.partial_labels import unknown_classes


@dataclass(frozen=True, eq=False)
class Split:
    """Samples with their targets. Raises ValueError if the lengths differ or targets are not bool."""

    inputs: Tensor | ImageTable
    """Raw: (n, F) float32 vectors, NaN where missing; (n, channels, height, width) uint8 images; or a table
    of encoded images."""
    targets: Tensor
    """(n, C) bool, ancestors included."""
    ids: tuple[str, ...]
    """n names, unique in the data set: where the sample stands in its source."""
    captions: tuple[str, ...] = ()
    """n sentences, or none where the source has none."""
    weights: Tensor | None = None
    """(n,) float32: how much each sample counts in the loss, with the mean 1; None: all alike."""
    unknown: Tensor | None = None
    """(n, C) bool: the classes of which nobody knows whether the sample has them; targets are False there.
    None: all is known."""

    def __post_init__(self) -> None:
        if self.targets.ndim != 2 or str(self.targets.dtype) != "torch.bool":
            actual = f"{tuple(self.targets.shape)} {self.targets.dtype}"
            raise ValueError(f"`targets` should be a bool tensor of shape (n, C). Found {actual}.")
        if self.unknown is not None and bool((self.unknown & self.targets).any()):
            raise ValueError("`unknown` should be False where `targets` are True.")
        for name in ("inputs", "ids", "captions"):
            length = len(getattr(self, name))
            if length != len(self.targets) and not (name == "captions" and length == 0):
                raise ValueError(
                    f"`{name}` should have length {len(self.targets)} as `targets`. Found {length}."
                )

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: np.ndarray) -> Split:
        """The given rows (m,) int64, in this order."""
        inputs = self.inputs.select(rows) if isinstance(self.inputs, ImageTable) else self.inputs[rows]
        ids = tuple(self.ids[row] for row in rows)
        captions = tuple(self.captions[row] for row in rows) if self.captions else ()
        at = torch.as_tensor(rows)
        weights, unknown = (None if of is None else of[at] for of in (self.weights, self.unknown))
        return Split(inputs, self.targets[at], ids, captions, weights, unknown)

    def concatenate(self, other: Split) -> Split:
        """The rows of both, one after the other. Raises ValueError for inputs of two kinds."""
        one, two = self.inputs, other.inputs
        if isinstance(one, ImageTable) and isinstance(two, ImageTable):
            inputs = one + two
        elif isinstance(one, ImageTable) or isinstance(two, ImageTable):
            raise ValueError("Both splits should have tensors, or both tables of images. Found one of each.")
        else:
            inputs = torch.cat([one, two])
        targets = torch.cat([self.targets, other.targets])
        captions, weights, unknown = self.captions + other.captions, None, None
        if self.weights is not None and other.weights is not None:
            weights = torch.cat([self.weights, other.weights])
        if self.unknown is not None or other.unknown is not None:
            of_both = (torch.zeros_like(s.targets) if s.unknown is None else s.unknown for s in (self, other))
            unknown = torch.cat([*of_both])
        return Split(inputs, targets, self.ids + other.ids, captions, weights, unknown)


@dataclass(frozen=True, eq=False)
class HierarchicalDataset:
    """Three splits over one hierarchy.

    What is missing in them, see :func:`gaps`, is added to the notes. Raises ValueError if a split's classes
    are not the hierarchy's, and if no training sample has a label.
    """

    name: str
    hierarchy: Hierarchy
    evaluated: Tensor
    """(C,) bool: the classes that metrics count (the ontology roots of GO are not)."""
    kind: Literal["vector", "image"]
    train: Split
    validation: Split
    test: Split
    sources: dict[str, str] = field(default_factory=dict)
    """Source file name (without .gz) to the SHA-256 of its uncompressed content."""
    feature_mean: Tensor | None = None
    """(F,) float64: with ``feature_scale``, the statistics by which a model standardises a vector."""
    feature_scale: Tensor | None = None
    """(F,) float64, inf for a column that is constant in training."""
    notes: tuple[str, ...] = ()
    """What was done that the source does not say, such as a validation split taken from the training rows."""
    published_counts: Tensor | None = None
    """(C,) int64: training positives of a published training split from which validation rows were taken."""
    feature_names: tuple[str, ...] = ()
    """F names of the columns, or none where the source has none."""
    reserved: Split | None = None
    """Validation rows that were set aside: nothing is fitted or chosen on them."""
    embedder: Embedder | None = None
    """What made the vectors of images or texts, where something did."""

    def __post_init__(self) -> None:
        size = len(self.hierarchy)
        if tuple(self.evaluated.shape) != (size,):
            raise ValueError(f"`evaluated` should have shape ({size},). Found {tuple(self.evaluated.shape)}.")
        for name, split in self.splits.items():
            if split.targets.shape[1] != size:
                columns = split.targets.shape[1]
                raise ValueError(
                    f"`{name}.targets` should have {size} columns as the hierarchy. Found {columns}."
                )
        if self.published_counts is not None and tuple(self.published_counts.shape) != (size,):
            shape = tuple(self.published_counts.shape)
            raise ValueError(f"`published_counts` should have shape ({size},). Found {shape}.")
        if not self.train.targets.any():
            rows = len(self.train)
            raise ValueError(
                f"{self.name}: the training split should have labels. Found none in {rows} rows."
            )
        object.__setattr__(self, "notes", tuple(dict.fromkeys([*self.notes, *gaps(self)])))

    @property
    def splits(self) -> dict[str, Split]:
        """By name; with the ones set aside, if there are such."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return splits if self.reserved is None else splits | {"reserved": self.reserved}

    @property
    def validates_on_training(self) -> bool:
        """Whether the validation split is the training split itself."""
        return self.validation.ids == self.train.ids

    def set_aside(self, share: float, seed: int = 0) -> HierarchicalDataset:
        """The data set with a share of its validation rows, drawn at random, in ``reserved`` instead.

        Raises ValueError if the validation rows are the training rows, or the share leaves no row there.
        """
        if not share:
            return self
        rows, whole = round(share * len(self.validation)), self.validation
        if self.validates_on_training:
            raise ValueError(f"`--set-aside` is for validation rows, which {self.name!r} has not of its own.")
        if not 0 < rows < len(whole):
            raise ValueError(
                f"`--set-aside` should leave validation rows and take some. Found {share:g} of {len(whole)}."
            )
        order = np.random.default_rng(seed).permutation(len(whole))
        taken, kept = (whole.select(np.sort(part)) for part in (order[:rows], order[rows:]))
        note = f"set aside: {rows} of {len(whole)} validation rows, seed {seed}"
        return replace(self, validation=kept, reserved=taken, notes=(*self.notes, note))

    def refuse_unknown(self, what: str) -> None:
        """Raise ValueError, naming ``what`` cannot leave them out, if there are unknown labels."""
        if any(split.unknown is not None for split in self.splits.values()):
            raise ValueError(
                f"{what} cannot leave out labels that are unknown, as {self.name!r} has them: say positive "
                "or negative by `--uncertain` and `--blank`."
            )

    def with_partial_labels(self) -> HierarchicalDataset:
        """The data set whose training and validation labels end where somebody could tell no more.

        The classes below a sample's deepest labels are unknown: see
        :func:`hmc_shared.partial_labels.unknown_classes`.
        """

        def ended(split: Split) -> Split:
            below = unknown_classes(split.targets, self.hierarchy)
            return replace(split, unknown=below if split.unknown is None else below | split.unknown)

        return replace(self, train=ended(self.train), validation=ended(self.validation))

    def training_split(self, protocol: Literal["default", "refit", "paper"]) -> Split:
        """What to train on: the training split, but for "default" with the validation split.

        Without the latter where it is the training split itself, as in a few-shot episode.
        """
        alone = protocol == "default" or self.validates_on_training
        return self.train if alone else self.train.concatenate(self.validation)

    @property
    def num_features(self) -> int:
        """Numbers in one input: F, or channels * height * width. Raises ValueError for a table of images."""
        if isinstance(self.train.inputs, ImageTable):
            raise ValueError(f"The images of {self.name!r} differ in size: they have no number of features.")
        return self.train.inputs[0].numel()

    @cached_property
    def train_counts(self) -> Tensor:
        """(C,) int64: positives of each class in the training split, which tell head, medium and tail.

        The published ones, if there are such: the groups of a benchmark are not those of a part of it.
        """
        return self.train.targets.sum(0) if self.published_counts is None else self.published_counts

    @cached_property
    def information(self) -> np.ndarray:
        """(C,) float64: bits that each class adds to its parents, by the labels of the training split."""
        return information_accretion(self.train.targets, self.hierarchy)

    @cached_property
    def is_single_path(self) -> bool:
        """Whether every sample has at most one class in each level, and what is unknown only goes on there.

        That is below its deepest label, where it says how the path may end.
        """
        return all(
            is_single_path(split.targets, self.hierarchy)
            and (
                split.unknown is None
                or not (split.unknown & ~unknown_classes(split.targets, self.hierarchy)).any()
            )
            for split in self.splits.values()
        )

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over name, sources and hierarchy: two views of the same data have the same."""
        parts = [self.name, *(f"{file} {digest}" for file, digest in sorted(self.sources.items()))]
        return hashlib.sha256("\n".join([*parts, self.hierarchy.checksum]).encode()).hexdigest()


def gaps(dataset: HierarchicalDataset) -> list[str]:
    """Sentences on what makes metrics or classes meaningless: what to know before a training."""
    names, notes = dataset.hierarchy.names, []
    for part in ("validation", "test"):
        if not dataset.splits[part].targets[:, dataset.evaluated].any():
            notes.append(f"{part}: no sample has a label, so its metrics are undefined")
    untrained = (dataset.evaluated & ~dataset.train.targets.any(0)).nonzero().flatten().tolist()
    if untrained:
        notes.append(f"classes without training samples: {some(names[node] for node in untrained)}")
    spellings: dict[str, list[str]] = {}
    for name in names:
        spellings.setdefault(name.casefold(), []).append(name)
    if alike := [name for same in spellings.values() if len(same) > 1 for name in same]:
        notes.append(f"classes that differ only in the case of letters: {some(alike)}")
    return notes


def targets_with_ancestors(nodes: Sequence[int] | np.ndarray, hierarchy: Hierarchy) -> Tensor:
    """(n, C) bool: the targets of n samples that each have one most specific class."""

    targets = torch.zeros(len(nodes), len(hierarchy), dtype=torch.bool)
    targets[torch.arange(len(nodes)), torch.as_tensor(nodes)] = True
    return hierarchy.add_ancestors(targets)
