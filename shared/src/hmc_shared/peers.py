"""Classifiers of other libraries as rows of a comparison: ``hmc peer``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import ClassifierChain
from torch import Tensor

from hmc_shared.cli.commands import format_metrics
from hmc_shared.cli.parse import to_yaml
from hmc_shared.cli.peer import Peer
from hmc_shared.constraints import max_over_descendants
from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.metrics.levels import level_targets
from hmc_shared.runs.folder import Results, RunFolder
from hmc_shared.runs.samples import Samples

SMALLEST = 1e-30
"""Probability that is taken for 0, which has no log-odds."""

METRIC = "validation/map"
"""By which a search chooses."""

ROOT = -1
"""Id of what HiClass puts above the roots."""

Fitted = tuple[Callable[[Tensor], np.ndarray], int]
"""From raw inputs (n, F) to probabilities (n, C) float64; and the number of parameters."""


def train(config: Peer, dataset: HierarchicalDataset | None = None) -> Results | None:
    """Fit on the training split, score the test split, write the run folder.

    Scores are the log-odds of the probabilities, which are not calibrated. ``dataset`` is used in place of
    loading ``config.dataset``. Returns the content of ``results.json``; or None with ``--no-test``, where
    ``validation.json`` is all that is left. Raises ValueError for wrong options
    or data, a library that is not installed, and an occupied run folder.
    """
    started = time.perf_counter()
    match config.method:
        case "hiclass":
            fit = partial(fit_hiclass, _library("hiclass"))
        case "chains":
            fit = fit_chains
    folder = RunFolder(config.run_folder, resume=config.resume, overwrite=config.overwrite)
    folder.check_resumed(config)
    dataset = dataset or load_dataset(config.dataset, config.data_dir, view="vector", **config.reading)
    dataset.refuse_unknown("hmc peer")
    folder.write_config(to_yaml(config))
    begun = time.perf_counter()
    predict, parameters = fit(config, dataset)
    train_seconds = time.perf_counter() - begun
    if not config.test:
        scores = log_odds(predict(dataset.validation.inputs))  # type: ignore[arg-type]
        value = Samples.of_split(dataset, "validation").metrics(scores, split="validation")[METRIC]
        content = {"validation": value, "seconds": train_seconds}
        folder.write("validation.json", (json.dumps(content) + "\n").encode())
        return None
    return folder.finish(
        dataset,
        log_odds(predict(dataset.test.inputs)),  # type: ignore[arg-type]
        config=config,
        parameters=parameters,
        seconds={"train": train_seconds, "total": time.perf_counter() - started},
        device=torch.device("cpu"),
    )


def command(config: Peer) -> None:
    if results := train(config):
        print(format_metrics(results["metrics"]))


def log_odds(probabilities: np.ndarray) -> Tensor:
    """(n, C) float32 of probabilities (n, C) float64; in the order of the probabilities, and finite."""
    p = probabilities.clip(SMALLEST, 1 - 1e-15)
    return torch.from_numpy(np.log(p) - np.log1p(-p)).float()


def standardised(dataset: HierarchicalDataset, inputs: Tensor) -> np.ndarray:
    """Raw vectors (n, F) as every method sees them, float64: by mean and scale, 0 where missing."""
    mean, scale = dataset.feature_mean, dataset.feature_scale
    assert mean is not None
    assert scale is not None
    return ((inputs.double() - mean) / scale).nan_to_num(nan=0.0).numpy()


def fit_hiclass(hiclass: ModuleType, config: Peer, dataset: HierarchicalDataset) -> Fitted:
    """A logistic regression at each parent, by HiClass; a class is as probable as all choices on its path.

    The products are taken here: ``predict_proba`` of HiClass 5 asks those parents alone that it predicts for
    some row, and gives each row the same ones. A class without training samples has probability 0. Raises
    ValueError if the hierarchy is no tree, or a sample has two paths.
    """
    hierarchy = dataset.hierarchy
    if not (hierarchy.is_tree and dataset.is_single_path):
        kind = "several classes in one level" if hierarchy.is_tree else "a class with two parents"
        rule = "`--dataset` should have a tree and one path for each sample with `--method hiclass`"
        raise ValueError(f"{rule}. Found {kind} in {dataset.name!r}.")
    known = dataset.train.targets.any(1)
    paths = level_targets(dataset.train.targets[known], hierarchy)
    labels = np.where(paths >= 0, paths.astype(str), "")  # "" where a path has ended
    model = hiclass.LocalClassifierPerParentNode(LogisticRegression(C=config.c, max_iter=1000))
    model.fit(standardised(dataset, dataset.train.inputs[known]), labels)  # type: ignore[index]

    def class_of(name: str) -> int:
        return ROOT if name == model.root_ else int(name.split(model.separator_)[-1])

    nodes = model.hierarchy_.nodes(data=True)
    local = {class_of(name): content["classifier"] for name, content in nodes if content}

    def predict(inputs: Tensor) -> np.ndarray:
        x = standardised(dataset, inputs)
        probabilities = np.zeros((len(x), len(hierarchy)))
        for node, classifier in sorted(local.items()):  # by depth: a parent comes before its children
            children = [class_of(name) for name in classifier.classes_]
            above = 1.0 if node == ROOT else probabilities[:, node, None]
            probabilities[:, children] = above * classifier.predict_proba(x)
        return probabilities

    coefficients = [classifier.coef_ for classifier in local.values() if hasattr(classifier, "coef_")]
    return predict, sum(part.size + len(part) for part in coefficients)


def fit_chains(config: Peer, dataset: HierarchicalDataset) -> Fitted:
    """Classifier chains (Read et al. 2009): a logistic regression for each class, by scikit-learn.

    Each sees the features and the classes before it in :func:`chain_order`: their labels in training, what
    the chain has decided in prediction. A class that no training sample has, or every one, is as certain. No
    class is less probable than its descendants.
    """
    targets = dataset.train.targets.numpy()
    varies = np.logical_and(targets.any(0), ~targets.all(0))
    order = [node for node in chain_order(dataset) if varies[node]]
    place = np.cumsum(varies) - 1  # among the classes that vary
    chain = ClassifierChain(LogisticRegression(C=config.c, max_iter=1000), order=place[order].tolist())
    chain.fit(standardised(dataset, dataset.train.inputs), targets[:, varies])  # type: ignore[arg-type]

    def predict(inputs: Tensor) -> np.ndarray:
        probabilities = np.tile(targets.all(0).astype(float), (len(inputs), 1))
        probabilities[:, varies] = chain.predict_proba(standardised(dataset, inputs))
        return max_over_descendants(torch.from_numpy(probabilities), dataset.hierarchy).numpy()

    links: Any = chain.estimators_
    return predict, sum(link.coef_.size + 1 for link in links)


def chain_order(dataset: HierarchicalDataset) -> list[int]:
    """All classes: level by level, so that parents come first; in a level those of most training samples."""
    counts = dataset.train.targets.sum(0).numpy()
    return np.lexsort((-counts, dataset.hierarchy.depth.numpy())).tolist()


def _library(name: str) -> ModuleType:
    """Raises ValueError, saying how to install it, if a library of the extra `peers` is not there."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ValueError(f"{name} is not installed: pip install 'hmc-shared[peers]'") from error
