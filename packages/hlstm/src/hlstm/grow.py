"""``--method clus-ens``: a forest of predictive clustering trees is grown, by scikit-learn."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from joblib import Parallel, delayed
from sklearn.tree import DecisionTreeRegressor, ExtraTreeRegressor
from torch import Tensor

from hlstm.config import Config
from hlstm.forest import Forest
from hmc_shared import Hierarchy
from hmc_shared.cli.parse import to_yaml
from hmc_shared.data import HierarchicalDataset, Split, load_dataset
from hmc_shared.data.vector_dataset import with_validation_rows
from hmc_shared.metrics import au_prc
from hmc_shared.predict.score import score_split
from hmc_shared.runs.folder import Results, RunFolder
from hmc_shared.runs.progress import Progress
from hmc_shared.runs.refit import select, use_held_out


def grow(config: Config, dataset: HierarchicalDataset | None = None) -> Results | None:
    """As :func:`hlstm.train.train`, of which this is the part for forests; a run that goes on begins again.

    Raises ValueError, too, for several processes: the trees are dealt out to threads.
    """
    started = time.perf_counter()
    accelerator = Accelerator(cpu=True)
    if accelerator.num_processes > 1:
        raise ValueError(f"`--method clus-ens` should have one process. Found {accelerator.num_processes}.")
    folder = RunFolder.open(config, accelerator)
    dataset = dataset or load_dataset(
        config.dataset, config.data_dir, view="vector", protocol=config.preprocessing, **config.reading
    )
    dataset.refuse_unknown("hlstm --method clus-ens")
    selection = select(config, grow, dataset, folder, accelerator) if config.protocol == "refit" else None
    fitted = with_validation_rows(dataset) if selection else dataset
    folder.write_config(to_yaml(config))
    begun = time.perf_counter()
    training = fitted.training_split(config.protocol)
    model = grow_forest(config, fitted, training)
    progress = Progress()
    progress.train_seconds = time.perf_counter() - begun
    held_out = None
    if config.protocol == "default":
        evaluated, targets = dataset.evaluated, dataset.validation.targets
        held_out = score_split(model, dataset.validation)
        progress.best_score = float(au_prc(held_out[:, evaluated], targets[:, evaluated]))
        if not config.test:
            return folder.finish_trial(progress, accelerator)
    if selection:
        selection.give_to(model, folder)
    logits = score_split(model, dataset.test)
    use_held_out(model, dataset, folder, config, held_out)
    model.save_pretrained(folder.model)
    return folder.finish(
        dataset,
        model.to_scores(logits),
        model.to_probabilities(logits),
        model.to_labels(logits),
        config=config,
        parameters=model.branches.numel() // 2,
        seconds={"train": progress.train_seconds, "total": time.perf_counter() - started},
        device=torch.device("cpu"),
        extra=progress.summary() | (selection.summary if selection else {}),
    )


class Tree(NamedTuple):
    """A tree of scikit-learn's, as arrays over its nodes, with what the training rows have in it."""

    feature: np.ndarray
    threshold: np.ndarray
    children: np.ndarray
    row: np.ndarray
    share: np.ndarray
    first: np.ndarray
    size: np.ndarray
    depth: int


def grow_forest(config: Config, dataset: HierarchicalDataset, training: Split) -> Forest:
    """A forest on the training rows, with the data set's statistics.

    Splits reduce the variance of all classes together, each weighted as ``--level-weight`` says.
    """
    shape = (dataset.num_features, dataset.hierarchy)
    scaler = Forest(*shape, trees=1, nodes=1, rows=1, depth=1, leaf_size=1)
    scaler.learn_statistics(dataset)
    features = scaler.normalize(training.inputs).numpy()  # type: ignore[arg-type]
    targets, of_samples = training.targets, training.weights
    weights = class_weights(dataset.hierarchy, config.level_weight)
    of_rows = np.ones(len(features)) if of_samples is None else of_samples.double().numpy()
    weighted = (targets * weights.sqrt()).numpy()  # scikit-learn's variance has no weights of its own
    seeds = np.random.SeedSequence(config.seed).spawn(config.trees)
    threads = torch.get_num_threads()
    grown: Any = Parallel(threads, prefer="threads")(
        delayed(grow_tree)(config, features, weighted, of_rows, seed) for seed in seeds
    )
    trees: list[Tree] = list(grown)
    model = Forest(
        *shape,
        trees=len(trees),
        nodes=max(len(tree.feature) for tree in trees),
        rows=len(features),
        depth=max(tree.depth for tree in trees),
        leaf_size=max(int(tree.size.max()) for tree in trees),
    )
    model.learn_statistics(dataset)
    model.targets.copy_(targets)
    for number, tree in enumerate(trees):
        nodes = len(tree.feature)
        for name in ("feature", "threshold", "first", "size"):
            getattr(model, name)[number, :nodes] = torch.from_numpy(getattr(tree, name))
        model.branches[:, number, :nodes] = torch.from_numpy(tree.children)
        model.row[number], model.share[number] = torch.from_numpy(tree.row), torch.from_numpy(tree.share)
    return model


def grow_tree(
    config: Config,
    features: np.ndarray,
    targets: np.ndarray,
    of_rows: np.ndarray,
    seed: np.random.SeedSequence,
) -> Tree:
    """One tree on standardised features (n, F), weighted targets (n, C) and positive weights of rows (n,)."""
    random = np.random.default_rng(seed)
    is_best = config.splitter == "best"
    rows = len(features)
    drawn = np.bincount(random.integers(rows, size=rows), minlength=rows) if is_best else np.ones(rows, int)
    drawn = drawn * of_rows
    if 0 < config.projections < targets.shape[1]:
        # Gaussian combinations keep the variance in expectation (Joly et al. 2014).
        directions = random.normal(size=(targets.shape[1], config.projections)).astype(np.float32)
        targets = targets @ directions
    kind = DecisionTreeRegressor if is_best else ExtraTreeRegressor
    tree = kind(
        min_samples_leaf=config.min_leaf,
        max_features=config.max_features,
        random_state=int(random.integers(2**31)),
    ).fit(features, targets, sample_weight=drawn)
    nodes, leaf_of_row = tree.tree_, tree.apply(features)
    is_leaf = nodes.children_left < 0
    own = np.arange(nodes.node_count)
    children = np.where(is_leaf, own, np.stack([nodes.children_left, nodes.children_right]))
    order = np.lexsort((leaf_of_row, drawn == 0))
    size = np.bincount(leaf_of_row[drawn > 0], minlength=nodes.node_count)
    drawn_in_leaf = np.bincount(leaf_of_row, weights=drawn, minlength=nodes.node_count)
    return Tree(
        np.where(is_leaf, 0, nodes.feature),
        np.where(is_leaf, np.inf, rounded_down(nodes.threshold)),
        children,
        order,
        (drawn / drawn_in_leaf[leaf_of_row])[order],
        size.cumsum() - size,
        size,
        nodes.max_depth,
    )


def rounded_down(threshold: np.ndarray) -> np.ndarray:
    """The largest float32 that is at most each float64: what float32 features are compared with alike."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)


def class_weights(hierarchy: Hierarchy, level_weight: float) -> Tensor:
    """(C,) float32: 1 for roots, then ``level_weight`` times the mean of the parents' weights."""
    weights = torch.ones(len(hierarchy))
    for parents, children in reversed(hierarchy.edges_bottom_up):
        total = torch.zeros(len(hierarchy)).index_add_(0, children, weights[parents])
        count = torch.zeros(len(hierarchy)).index_add_(0, children, torch.ones(len(children)))
        weights[children] = level_weight * (total / count.clamp(min=1))[children]
    return weights
