"""Several networks of one method in one: trained together, they predict the mean of their probabilities."""

# Annotations must be types here: see model.py.
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from hlstm.baselines import CHMCLSTM, CHMCNN, DHN, HMCLMLP, HMCNCHMC, HMCNF, HMCNR
from hlstm.model import CARD, HLSTM, CoherentModel
from hmc_shared import Hierarchy
from hmc_shared.mixture import mean_logits
from hmc_shared.model import check_arguments

NETWORKS: dict[str, type[CoherentModel]] = {
    model.method: model for model in (HLSTM, CHMCNN, DHN, CHMCLSTM, HMCNR, HMCNF, HMCNCHMC, HMCLMLP)
}
"""The networks that steps of gradient train, by method."""


class Members(CoherentModel, **CARD):
    """``members`` networks of one method, each with its own initial weights, dropout and order of rows.

    Their parameters stand behind one another in one tensor, so that a step of all is a step of one larger
    network. ``forward`` takes (members, batch, F), or (batch, F) for all, and returns the logits of one
    member after the other, (members x batch, C). A matrix of the networks is kept as (members, in, out).

    Args:
        num_features: F, width of an input row.
        hierarchy: the C classes.
        network: method of the members, a key of :data:`NETWORKS`.
        members: how many.
        options: of their constructor.
    """

    method = "members"

    def __init__(
        self,
        num_features: int,
        hierarchy: Hierarchy,
        network: str,
        members: int,
        options: dict[str, Any],
    ) -> None:
        super().__init__(num_features, hierarchy)
        if network not in NETWORKS or members < 1:
            raise ValueError(f"`network` should be of {sorted(NETWORKS)}. Found {network!r}.")
        kind = NETWORKS[network]
        check_arguments(kind, options)
        self.members = members
        self.batch_size = max(1, CoherentModel.batch_size // members)
        networks = [kind(num_features, hierarchy, **options) for _ in range(members)]
        parameters, buffers = stack_module_state(networks)  # type: ignore[arg-type]
        # The statistics of features and the calibration are those of the whole, not of a member.
        common = {name for name, _ in CoherentModel(num_features, hierarchy).named_buffers()}
        self.networks = networks[0]
        self.stacked = [*parameters, *(name for name in buffers if name not in common)]
        for name in self.stacked:
            owner, _, leaf = name.rpartition(".")
            stack = parameters[name] if name in parameters else buffers[name]
            if name in parameters:
                stack = nn.Parameter(transposed(stack.detach()).contiguous(), stack.requires_grad)
            setattr(self.networks.get_submodule(owner), leaf, stack)

    def stacked_state(self) -> dict[str, Tensor]:
        """Parameters and buffers of the members, (members, ...): entry i is the state of network i."""
        state = {**dict(self.networks.named_parameters()), **dict(self.networks.named_buffers())}
        return {name: transposed(state[name]) for name in self.stacked}

    def init_output_bias(self, frequencies: Tensor) -> None:
        self.networks.init_output_bias(frequencies)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised features to global and local logits, one member after the other."""
        stacked = self.stacked_state()

        def one(member: dict[str, Tensor], rows: Tensor) -> Any:
            return functional_call(self.networks, member, (rows,))

        if features.ndim == 2:  # one by one: torch.export takes no vmap over a batch of any size
            members = ({name: stack[i] for name, stack in stacked.items()} for i in range(self.members))
            outputs = [one(member, features) for member in members]
            global_logits, local_logits = (torch.cat(parts) for parts in zip(*outputs, strict=True))
            return global_logits, local_logits
        global_logits, local_logits = vmap(one, randomness="different")(stacked, features)
        return global_logits.flatten(0, 1), local_logits.flatten(0, 1)

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits (batch, C) of the mean of the members' coherent probabilities, itself coherent."""
        each = self.networks.final_logits(*self(inputs)).float()
        coherent = self.constrained(each).unflatten(0, (self.members, -1))
        return self.constrained(mean_logits(coherent))  # once more, against rounding


def transposed(stack: Tensor) -> Tensor:
    """Matrices are kept transposed, as products of batches give their gradients: else each is copied."""
    return stack.mT if stack.ndim == 3 else stack
