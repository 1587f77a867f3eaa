"""Which network and which loss each ``--method`` is; loading a saved network."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path

from torch import Tensor

from hlstm.baselines import mixed_logits
from hlstm.config import Config
from hlstm.forest import Forest
from hlstm.losses import bce, dhn_loss, hybrid_loss, mc_loss, mean_class_weight, violation_loss
from hlstm.members import NETWORKS, Members
from hlstm.model import CoherentModel
from hmc_shared import Hierarchy
from hmc_shared.data import HierarchicalDataset, Split
from hmc_shared.model import load_pretrained
from hmc_shared.partial_labels import without_unknown

MODELS: dict[str, type[CoherentModel]] = {**NETWORKS, Members.method: Members, Forest.method: Forest}


def build_model(config: Config, dataset: HierarchicalDataset) -> CoherentModel:
    """The network of ``config.method``, with those options of ``config`` that its constructor names."""
    model_type = NETWORKS[config.method]
    names = signature(model_type.__init__).parameters.keys() & vars(config).keys()
    options = {name: getattr(config, name) for name in sorted(names)}
    shape = (dataset.num_features, dataset.hierarchy)
    if config.members == 1:
        model = model_type(*shape, **options)
    else:
        model = Members(*shape, network=config.method, members=config.members, options=options)
    model.learn_statistics(dataset)
    if config.prior_bias:
        model.init_output_bias(frequencies(dataset.train))
    return model


def frequencies(split: Split) -> Tensor:
    """(C,): the share of positives of each class, among the rows of which it is known; never 0 or 1."""
    known = len(split) if split.unknown is None else (~split.unknown).sum(0)
    return (split.targets.sum(0) + 1) / (known + 2)


def method_loss(config: Config, hierarchy: Hierarchy, evaluated: Tensor) -> Callable[..., Tensor]:
    """The loss of ``config.method``: (global_logits, local_logits, targets, unknown) to one loss a sample.

    Entries that are ``unknown``, (B, C) bool or by default none, have no term, and no other class is scored
    by them: they are the least of every maximum and the largest of every minimum. The mean stays that over
    all classes.
    """
    of_classes = mean_class_weight(evaluated)

    def loss(
        global_logits: Tensor, local_logits: Tensor, targets: Tensor, unknown: Tensor | None = None
    ) -> Tensor:
        weight = of_classes if unknown is None else of_classes * ~unknown
        least = without_unknown(global_logits, unknown)
        match config.method:
            case "hlstm":
                return hybrid_loss(
                    least,
                    largest_unknown(local_logits, unknown),
                    targets,
                    hierarchy,
                    weight,
                    global_weight=config.global_weight,
                    mask_positive_parent=config.mask_positive_parent,
                )
            case "dhn":
                negative = without_unknown(local_logits, unknown)
                share = config.global_weight
                return dhn_loss(least, negative, targets, hierarchy, weight, global_weight=share)
            case "chmcnn" | "chmc-lstm":
                return mc_loss(least, targets, hierarchy, weight)
            case "hmc-lmlp":
                return bce(global_logits, targets, weight)
            case _:  # HMCN: L_L + L_G + lambda L_H, the last on the mixed output
                if config.method == "hmcn-chmc":
                    of_global = mc_loss(least, targets, hierarchy, weight)
                else:
                    of_global = bce(global_logits, targets, weight)
                mixed = largest_unknown(mixed_logits(global_logits, local_logits), unknown)
                violations = violation_loss(mixed, hierarchy, weight)
                return bce(local_logits, targets, weight) + of_global + config.violation_weight * violations

    return loss


def largest_unknown(logits: Tensor, unknown: Tensor | None) -> Tensor:
    """Logits (B, C) in which unknown entries are above all others, as those of ``without_unknown`` below."""
    return logits if unknown is None else -without_unknown(-logits, unknown)


def load_model(folder: str | Path) -> CoherentModel:
    """Load what ``save_pretrained`` wrote, whichever method it is."""
    return load_pretrained(folder, MODELS)
