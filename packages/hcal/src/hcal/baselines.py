"""The methods of Table 1 beside HCAL and the flat network.

MMoE is a network of its own, CMT the flat one with more losses. CAGrad, IMTL-G and Nash-MTL train the flat
network with its losses: what differs is how the levels' gradients are combined on the encoder. That part is
``torchjd``'s (``hcal[baselines]``).
"""

# Annotations must be types here: see model.py.
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from hcal.config import Config, Decode
from hcal.model import CARD, Flat, LevelClassifier
from hcal.networks import build_encoder
from hcal.processes import num_processes
from hmc_shared import Hierarchy
from hmc_shared.data import HierarchicalDataset
from hmc_shared.resizing import Resize

AGGREGATED = frozenset({"cagrad", "imtl-g", "nash-mtl"})
"""The methods that combine gradients."""


class MMoE(LevelClassifier, **CARD):
    """MMoE (Ma et al. 2018): experts on the encoder's features, mixed for each level by a gate of its own.

    Level k sees f_k(x) = sum_i softmax(G_k x + g_k)_i ReLU(W_i x + b_i); its tower has one hidden layer. The
    sizes are those of the repository of HCAL. Other arguments as for :class:`hcal.HCAL`.

    Args:
        experts: their number.
        expert_size, tower_size: units of an expert, and of the hidden layer of a tower.
    """

    method = "mmoe"

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        encoder: str = "resnet18",
        stem: str = "imagenet",
        max_pool: bool = True,
        width: int | None = None,
        experts: int = 3,
        expert_size: int = 128,
        tower_size: int = 256,
        decode: Decode = "independent",
        resize: Resize = "crop",
    ) -> None:
        super().__init__(hierarchy, input_shape, decode, resize)
        self.encoder, size = build_encoder(encoder, input_shape, stem=stem, max_pool=max_pool, width=width)
        self.experts = nn.Sequential(
            nn.Linear(size, experts * expert_size), nn.ReLU(), nn.Unflatten(1, (experts, expert_size))
        )
        self.gates = level_gates(size, hierarchy.num_levels, experts)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(expert_size, tower_size), nn.ReLU(), nn.Linear(tower_size, len(level)))
            for level in hierarchy.levels
        )

    def backbones(self) -> list[nn.Module]:
        return [self.encoder]

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.encoder(inputs)
        return logits_of_mixtures(self.gates(features), self.experts(features), self.heads)

    def logits_of_outputs(self, outputs: Tensor) -> Tensor:
        return outputs


def level_gates(size: int, levels: int, experts: int) -> nn.Sequential:
    """From x (B, size) to softmax(G_k x + g_k), the weights of the experts for each level, (B, L, E)."""
    return nn.Sequential(
        nn.Linear(size, levels * experts), nn.Unflatten(1, (levels, experts)), nn.Softmax(dim=2)
    )


def logits_of_mixtures(weights: Tensor, experts: Tensor, towers: nn.ModuleList) -> Tensor:
    """Logits (B, C) of experts (B, E, units), mixed by weights (B, L, E), through the tower of each level."""
    levels = zip(towers, (weights @ experts).unbind(1), strict=True)
    return torch.cat([tower(mixture) for tower, mixture in levels], dim=1).float()


class CMT(Flat, **CARD):
    """CMT (Kollias 2024): the flat network, whose levels are coupled by :func:`hcal.losses.coupling_losses`.

    It keeps what these need of the training samples: the share of a class among those of its parent.
    """

    method = "cmt"
    parents: Tensor
    shares: Tensor

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        encoder: str = "resnet18",
        stem: str = "imagenet",
        max_pool: bool = True,
        width: int | None = None,
        decode: Decode = "independent",
        resize: Resize = "crop",
    ) -> None:
        super().__init__(hierarchy, input_shape, encoder, stem, max_pool, width, decode, resize)
        parents = [next(iter(hierarchy.parents(node)), 0) for node in range(len(hierarchy))]
        self.register_buffer("parents", torch.tensor(parents), persistent=False)
        self.register_buffer("shares", torch.ones(len(hierarchy)))

    def learn_statistics(self, dataset: HierarchicalDataset) -> None:
        super().learn_statistics(dataset)
        counts = dataset.train.targets.sum(0).to(self.shares)
        self.shares.copy_(counts / counts[self.parents].clamp(min=1))


def check_aggregation(config: Config) -> None:
    """Raise ValueError if ``config.method`` combines gradients and cannot do so with these options."""
    if config.method not in AGGREGATED:
        return
    solvers = () if config.method == "imtl-g" else ("cvxpy", "ecos")
    missing = [name for name in ("torchjd", *solvers) if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"`--method {config.method}` needs {', '.join(missing)}: pip install hcal[baselines]"
        )
    if num_processes() > 1:  # each would combine the gradients of its own rows
        raise ValueError(f"`--method {config.method}` runs in one process. Found {num_processes()}.")
    if config.mixed_precision == "fp16":  # the scaler of fp16 takes one loss
        raise ValueError(
            f"`--mixed-precision` should be no or bf16 with `--method {config.method}`. Found 'fp16'."
        )
    if config.compile:  # what was compiled takes one backward pass for each forward pass
        raise ValueError(f"`--compile` should be off with `--method {config.method}`.")
    if config.accumulate > 1:  # a rule combines the gradients of one batch
        raise ValueError(f"`--accumulate` should be 1 with `--method {config.method}`.")
    if config.freeze == "all":
        raise ValueError(f"`--freeze all` leaves `--method {config.method}` no gradients to combine.")


SOLVED = 1e-6
"""Of the largest gradient of a level: a level whose gradient is not above it is no task of a step."""


CAGRAD_C = 0.4
"""As the authors' code on NYUv2: the largest distance from the mean gradient, over its length."""

Rule = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From a Jacobian (T, P), one row a task, to one gradient (P,), and weights (T,) of the tasks' own losses."""


def rule_of(method: str, tasks: int) -> Rule:
    """CAGrad, IMTL-G or Nash-MTL for a number of tasks, with the settings of their authors' code.

    There CAGrad's direction is divided by 1 + c^2 and taken once for each task, to match a sum of losses; and
    the weights of Nash-MTL count for what each task has of its own, too, while only the gradient of what they
    share is cut to length 1. The two others leave a task's own part its own loss.
    """
    from torchjd.aggregation import IMTLG, CAGrad, NashMTL  # pyright: ignore[reportMissingImports]

    if method == "nash-mtl":
        weighting = NashMTL(n_tasks=tasks, max_norm=0).weighting

        def bargain(jacobian: Tensor) -> tuple[Tensor, Tensor]:
            alpha = weighting(jacobian)
            combined = alpha @ jacobian
            return combined / combined.norm().clamp(min=1), alpha

        return bargain
    aggregate, factor = IMTLG(), 1.0
    if method == "cagrad":
        aggregate, factor = CAGrad(c=CAGRAD_C, norm_eps=1e-12), tasks / (1 + CAGRAD_C**2)
    return lambda jacobian: (factor * aggregate(jacobian), jacobian.new_ones(tasks))


def aggregator(method: str) -> Rule:
    """The rule of a method for any Jacobian (L, P), one row a level.

    A level without a gradient (no sample of the batch reaches it, it has one class, or it is solved, to
    ``SOLVED`` of the largest gradient) is no task of this step: CAGrad would stop at once, since that level
    cannot improve. Its own loss has weight 1. One task alone is taken as it is. In float64: of a gradient of
    1e-4, the products that CAGrad takes lose all digits in float32, and torchjd returns 0 for what it takes
    for rounding.
    """
    rule = cache(lambda tasks: rule_of(method, tasks))

    def aggregate(jacobian: Tensor) -> tuple[Tensor, Tensor]:
        norms, weights = jacobian.norm(dim=1), jacobian.new_ones(len(jacobian))
        is_task = ~(norms <= SOLVED * norms.max())
        tasks = jacobian[is_task]
        if len(tasks) < 2 or not tasks.isfinite().all():  # NaN: the training loop reports it
            return tasks.sum(0), weights
        with warnings.catch_warnings():
            # cvxpy says that it cannot speed up Nash-MTL's problem, which is known.
            warnings.simplefilter("ignore", UserWarning)
            combined, of_tasks = rule(len(tasks))(tasks.double())
        weights[is_task] = of_tasks.to(weights.dtype)
        return combined.to(tasks.dtype), weights

    return aggregate


def combined_backward(method: str, model: Flat) -> Callable[[Tensor, Tensor], None]:
    """The backward pass of CAGrad, IMTL-G or Nash-MTL: takes the losses of the levels, (L,), sets gradients.

    The encoder gets what :func:`aggregator` makes of its Jacobian, the linear layer of a level the gradient
    of that level's loss, times its weight. The second argument, the weights of the levels, is not used.
    Nash-MTL starts each step from the solution of the last one: what is returned has a memory.
    """
    shared = [parameter for parameter in model.encoder.parameters() if parameter.requires_grad]
    aggregate = aggregator(method)

    def backward(losses: Tensor, weights: Tensor) -> None:
        rows = []
        for level, loss in enumerate(losses):
            loss.backward(retain_graph=level < len(losses) - 1)  # adds up in the heads, which share nothing
            rows.append(torch.cat([_gradient(parameter).flatten() for parameter in shared]))
            for parameter in shared:
                parameter.grad = None
        combined, of_levels = aggregate(torch.stack(rows))
        for parameter in model.heads.parameters():  # (C, ...): the rows of a level are its own
            for level, weight in zip(model.hierarchy.levels, of_levels, strict=True):
                _gradient(parameter)[level.start : level.stop] *= weight
        parts = combined.split([parameter.numel() for parameter in shared])
        for parameter, gradient in zip(shared, parts, strict=True):
            # In the memory layout of the parameter, channels-last or not: fused optimisers need it.
            parameter.grad = torch.empty_like(parameter).copy_(gradient.view_as(parameter))

    return backward


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
