"""What ``evaluate`` of every method does around its scores: find the run's data set, take the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hmc_shared.data import HierarchicalDataset, ImageTable, load_dataset
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.metrics import summarize
from hmc_shared.runs.folder import or_null


def dataset_of_run(
    run: str,
    options: Mapping[str, Any],
    hierarchy: Hierarchy,
    input_shape: tuple[int, ...],
    *,
    name: str | None = None,
    data_dir: str | None = None,
    **how: Any,
) -> HierarchicalDataset:
    """The data set that a run was trained on, or another one that fits its model.

    Args:
        run: the folder, for messages.
        options: of the run, as :func:`hmc_shared.runs.read.open_run` returns them.
        hierarchy, input_shape: of its model; photographs fit any shape.
        name, data_dir: instead of those of the options.
        how: view and protocol, for :func:`hmc_shared.data.load_dataset`.

    Raises ValueError if no name is given and the options have none, and for a data set with other classes
    or inputs.
    """
    name = name or options.get("dataset")
    if name is None:
        raise ValueError(f"{run} is not a run folder, so `--dataset` is needed.")
    levels = options.get("levels") if name.startswith(("hf:", "table:")) else None
    dataset = load_dataset(name, data_dir or options.get("data_dir"), levels=levels, **how)
    if hierarchy != dataset.hierarchy:
        raise ValueError(f"{run} was trained on another hierarchy than that of {name!r}.")
    inputs = dataset.test.inputs
    if not isinstance(inputs, ImageTable) and tuple(inputs.shape[1:]) != input_shape:
        found = tuple(inputs.shape[1:])
        raise ValueError(f"{run} takes inputs of shape {input_shape}. Found {found} in {name!r}.")
    return dataset


def split_metrics(
    dataset: HierarchicalDataset, split: str, scores: Tensor, threshold: float = 0.0
) -> dict[str, float | None]:
    """The metrics of :func:`hmc_shared.metrics.summarize`, named ``<split>/<metric>``; None if undefined."""
    metrics = summarize(
        scores,
        dataset.splits[split].targets,
        dataset.hierarchy,
        evaluated=dataset.evaluated,
        train_counts=dataset.train_counts,
        threshold=threshold,
    )
    return {f"{split}/{metric}": or_null(value) for metric, value in metrics.items()}
