"""The command ``evaluate`` of every method: a trained model on a split of a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hmc_shared.cli.commands import EvaluateOptions, format_metrics
from hmc_shared.data import HierarchicalDataset, ImageTable, load_dataset
from hmc_shared.messages import listed
from hmc_shared.model import HierarchicalModel, load_model_of
from hmc_shared.predict.score import score_split
from hmc_shared.runs.options import open_run
from hmc_shared.runs.samples import Samples


def evaluate(config: EvaluateOptions, model: HierarchicalModel | None = None) -> dict[str, float | None]:
    """The metrics of :func:`hmc_shared.metrics.summarize`, named ``<split>/<metric>``; None if undefined.

    Labels are predicted at the threshold that was stored with the model. ``model`` replaces the saved one.
    Raises ValueError for a folder without a model, or a data set with other classes or inputs.
    """
    trained = open_run(config.run)[1]
    model = model or load_model_of(config.library, config.run, "evaluate", config.device)
    config.apply_to(model)
    dataset = dataset_of_run(
        config.run,
        trained,
        model,
        name=config.dataset,
        data_dir=config.data_dir,
        protocol=config.preprocessing(trained.get("protocol", "default")),
    )
    logits = score_split(model, dataset.splits[config.split], config.workers)
    scores = model.to_scores(logits)
    return Samples.of_split(dataset, config.split).metrics(
        scores, model.decision.threshold or 0.0, config.split, model.to_labels(logits)
    )


def command(config: EvaluateOptions) -> None:
    """Print what :func:`evaluate` gives."""
    metrics = evaluate(config)
    print(json.dumps(metrics, indent=2) if config.json else format_metrics(metrics))


def dataset_of_run(
    run: str | Path,
    options: Mapping[str, Any],
    model: HierarchicalModel,
    *,
    name: str | None = None,
    data_dir: str | None = None,
    protocol: Any = "default",
) -> HierarchicalDataset:
    """The data set that a run was trained on, or another one that fits its model.

    Args:
        run: the folder, for messages.
        options: of the run, as ``open_run`` returns them.
        model: of the run; images of a table fit any shape.
        name, data_dir: instead of those of the options.
        protocol: of the preprocessing.

    Raises ValueError if no name is given and the options have none, and for a data set with other classes
    or inputs.
    """
    share = options.get("set_aside") if name is None else None
    name = name or options.get("dataset")
    if name is None:
        raise ValueError(f"{run} is not a run folder, so `--dataset` is needed.")
    dataset = load_dataset(
        name,
        data_dir or options.get("data_dir"),
        view="image" if model.takes_images else "vector",
        protocol=protocol,
        **columns_of(options, name),
        window=options.get("window") if model.takes_images else None,
        on_error=options.get("on_error", "refuse"),
        set_aside=share or 0.0,
    )
    dataset = with_features(dataset, model.decision.features, run)
    if model.hierarchy != dataset.hierarchy:
        raise ValueError(f"{run} was trained on another hierarchy than that of {name!r}.")
    inputs = dataset.test.inputs
    if not isinstance(inputs, ImageTable) and tuple(inputs.shape[1:]) != model.input_shape:
        shape = tuple(inputs.shape[1:])
        raise ValueError(f"{run} takes inputs of shape {model.input_shape}. Found {shape} in {name!r}.")
    return dataset


def columns_of(options: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the options of a run say of tables, for ``load_dataset``, as far as the set ``name`` takes it."""
    source = name.partition(":")[0].lower() if ":" in name else ""
    if source == "labels":
        unsure = {option: options.get(option) or "refuse" for option in ("uncertain", "blank")}
        return {"levels": options.get("levels"), **unsure}
    if source not in ("hf", "table"):
        return {}
    more = {option: options.get(option) or () for option in ("features", "drop", "categorical", "evidence")}
    return {"levels": options.get("levels"), **more}


def with_features(dataset: HierarchicalDataset, names: Sequence[str], run: str | Path) -> HierarchicalDataset:
    """The data set with its columns in the order that a model takes them, where both have names of columns.

    Raises ValueError, naming the column, for one that the data set lacks.
    """
    if not names or not dataset.feature_names or tuple(names) == dataset.feature_names:
        return dataset
    place = {name: at for at, name in enumerate(dataset.feature_names)}
    if missing := [name for name in names if name not in place]:
        raise ValueError(
            f"{run} takes the feature {missing[0]!r}. {dataset.name!r} has {listed(dataset.feature_names)}."
        )
    order = torch.tensor([place[name] for name in names])
    splits = {
        part: replace(split, inputs=split.inputs[:, order])  # type: ignore[index]
        for part, split in dataset.splits.items()
    }
    return replace(dataset, feature_names=tuple(names), feature_mean=None, feature_scale=None, **splits)
