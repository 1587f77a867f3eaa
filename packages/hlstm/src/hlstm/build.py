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
from hmc_shared.data import HierarchicalDataset
from hmc_shared.model import load_pretrained
from hmc_shared.partial_labels import unknown_classes, without_unknown

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
        targets = dataset.train.targets
        model.init_output_bias((targets.sum(0) + 1) / (len(targets) + 2))  # never 0 or 1
    return model


def method_loss(
    config: Config, hierarchy: Hierarchy, evaluated: Tensor
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The loss of ``config.method``: (global_logits, local_logits, targets) to one loss a sample."""
    weight = mean_class_weight(evaluated)

    def hlstm(global_logits: Tensor, local_logits: Tensor, targets: Tensor) -> Tensor:
        return hybrid_loss(
            global_logits,
            local_logits,
            targets,
            hierarchy,
            weight,
            global_weight=config.global_weight,
            mask_positive_parent=config.mask_positive_parent,
        )

    def constrained(global_logits: Tensor, local_logits: Tensor, targets: Tensor) -> Tensor:
        return mc_loss(global_logits, targets, hierarchy, weight)

    def flat(global_logits: Tensor, local_logits: Tensor, targets: Tensor) -> Tensor:
        return bce(global_logits, targets, weight)

    def hmcn(global_logits: Tensor, local_logits: Tensor, targets: Tensor) -> Tensor:
        """L_L + L_G + lambda L_H, the last on the mixed output."""
        is_chmc = config.method == "hmcn-chmc"
        global_loss = (constrained if is_chmc else flat)(global_logits, local_logits, targets)
        violations = violation_loss(mixed_logits(global_logits, local_logits), hierarchy, weight)
        return bce(local_logits, targets, weight) + global_loss + config.violation_weight * violations

    def dhn(global_logits: Tensor, local_logits: Tensor, targets: Tensor) -> Tensor:
        return dhn_loss(
            global_logits, local_logits, targets, hierarchy, weight, global_weight=config.global_weight
        )

    def partial(global_logits: Tensor, local_logits: Tensor, targets: Tensor) -> Tensor:
        """What is unknown costs nothing; the second output of dhn is "is not of this class"."""
        sign = -1 if config.method == "dhn" else 1
        unknown = unknown_classes(targets, hierarchy)
        return loss(
            without_unknown(global_logits, unknown),
            sign * without_unknown(sign * local_logits, unknown),
            targets,
        )

    loss = {
        "hlstm": hlstm,
        "chmcnn": constrained,
        "dhn": dhn,
        "chmc-lstm": constrained,
        "hmcn-r": hmcn,
        "hmcn-f": hmcn,
        "hmcn-chmc": hmcn,
        "hmc-lmlp": flat,
    }[config.method]
    return partial if config.partial_labels else loss


def load_model(folder: str | Path) -> CoherentModel:
    """Load what ``save_pretrained`` wrote, whichever method it is."""
    return load_pretrained(folder, MODELS)
