"""The methods of Table 1 beside HCAL and the flat network.

MMoE is a network of its own. CAGrad, IMTL-G and Nash-MTL train the flat network with its losses: what differs
is how the levels' gradients are combined on the encoder. That part is ``torchjd``'s (``hcal[baselines]``).
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
from hmc_shared.resizing import Resize

AGGREGATED = frozenset({"cagrad", "imtl-g", "nash-mtl"})
"""The methods that combine gradients."""


class MMoE(LevelClassifier, **CARD):
    """MMoE (Ma et al. 2018): experts on the encoder's features, mixed for each level by a gate of its own.

    Level k sees f_k(x) = sum_i softmax(G_k x)_i ReLU(W_i x + b_i), of as many features as the encoder has;
    its tower is one linear layer. Other arguments as for :class:`hcal.HCAL`.

    Args:
        experts: their number.
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
        experts: int = 4,
        decode: Decode = "independent",
        resize: Resize = "crop",
    ) -> None:
        super().__init__(hierarchy, input_shape, decode, resize)
        self.encoder, size = build_encoder(encoder, input_shape, stem=stem, max_pool=max_pool, width=width)
        self.experts = nn.Sequential(
            nn.Linear(size, experts * size), nn.ReLU(), nn.Unflatten(1, (experts, size))
        )
        self.gates = nn.Sequential(
            nn.Linear(size, hierarchy.num_levels * experts, bias=False),
            nn.Unflatten(1, (hierarchy.num_levels, experts)),
            nn.Softmax(dim=2),
        )
        self.heads = nn.ModuleList(nn.Linear(size, len(level)) for level in hierarchy.levels)

    def backbones(self) -> list[nn.Module]:
        return [self.encoder]

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.encoder(inputs)
        mixtures = self.gates(features) @ self.experts(features)  # (B, L, E) @ (B, E, size)
        levels = zip(self.heads, mixtures.unbind(1), strict=True)
        return torch.cat([head(mixture) for head, mixture in levels], dim=1).float()

    def logits_of_outputs(self, outputs: Tensor) -> Tensor:
        return outputs


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


def aggregator(method: str) -> Callable[[Tensor], Tensor]:
    """The rule of CAGrad, IMTL-G or Nash-MTL: a Jacobian (L, P), one row a level, to one gradient (P,).

    A level without a gradient (no sample of the batch reaches it, it has one class, or it is solved, to
    ``SOLVED`` of the largest gradient) is no task of this step: CAGrad would stop at once, since that level
    cannot improve. One task alone is taken as it is. In float64: of a gradient of 1e-4, the products that
    CAGrad takes lose all digits in float32, and torchjd returns 0 for what it takes for rounding.
    """
    from torchjd.aggregation import IMTLG, CAGrad, NashMTL  # pyright: ignore[reportMissingImports]

    rules: dict[str, Callable[[int], Callable[[Tensor], Tensor]]] = {
        "cagrad": lambda tasks: CAGrad(c=0.4, norm_eps=1e-12),  # c as the authors' code on NYUv2
        "imtl-g": lambda tasks: IMTLG(),
        "nash-mtl": lambda tasks: NashMTL(n_tasks=tasks),  # with the settings of the authors' code
    }
    rule = cache(rules[method])

    def aggregate(jacobian: Tensor) -> Tensor:
        norms = jacobian.norm(dim=1)
        tasks = jacobian[~(norms <= SOLVED * norms.max())]
        if len(tasks) < 2 or not tasks.isfinite().all():  # NaN: the training loop reports it
            return tasks.sum(0)
        with warnings.catch_warnings():
            # cvxpy says that it cannot speed up Nash-MTL's problem, which is known.
            warnings.simplefilter("ignore", UserWarning)
            return rule(len(tasks))(tasks.double()).to(tasks.dtype)

    return aggregate


def combined_backward(method: str, model: Flat) -> Callable[[Tensor, Tensor], None]:
    """The backward pass of CAGrad, IMTL-G or Nash-MTL: takes the losses of the levels, (L,), sets gradients.

    The encoder gets what :func:`aggregator` makes of its Jacobian, the linear layer of a level the gradient
    of that level's loss. The second argument, the weights of the levels, is not used. Nash-MTL starts each
    step from the solution of the last one: what is returned has a memory.
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
        combined = aggregate(torch.stack(rows)).split([parameter.numel() for parameter in shared])
        for parameter, gradient in zip(shared, combined, strict=True):
            # In the memory layout of the parameter, channels-last or not: fused optimisers need it.
            parameter.grad = torch.empty_like(parameter).copy_(gradient.view_as(parameter))

    return backward


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
