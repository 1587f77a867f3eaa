"""HLSTM: an LSTM cell that takes one step for each level of the hierarchy (Section IV-C)."""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
import torch
from torch import Tensor, nn

from hmc_shared import Hierarchy
from hmc_shared.model import HierarchicalModel, model_card

CARD = model_card(
    "hlstm",
    """# {{ model_name | default("Hierarchical multi-label classifier", true) }}

Trained with `hlstm`. It gives every class of its hierarchy a probability, and no class exceeds its parent:

```python
from hlstm import load_model

model = load_model("path/to/this/folder")
probabilities = model.predict_proba(features)  # raw features (n, F), NaN where missing; (n, C)
labels = model.predict(features)  # (n, C) bool
model.hierarchy.names  # the C classes
```

`config.json` holds the hierarchy and the options of the network, `model.safetensors` the weights, the
statistics that standardise the features and the calibration, `decision.json` how labels are chosen. How it
was trained and what it scores is in the `results.json` of its run folder.
""",
    ["hierarchical-multi-label-classification"],
)


class CoherentModel(HierarchicalModel, **CARD):
    """What HLSTM and its baselines have in common: coherent scores from feature vectors.

    ``forward`` returns what the losses need: (global_logits, local_logits), both (batch, C), as they leave
    the network; a method without one of the two returns the other twice.
    """

    library = "hlstm"
    batch_size = 4096

    def __init__(self, num_features: int, hierarchy: Hierarchy) -> None:
        super().__init__(hierarchy, (num_features,))
        self.num_features = num_features

    def output_layers(self) -> list[list[nn.Linear]]:
        """The layers that end in classes, in groups: together, those of a group give the C classes by id."""
        raise NotImplementedError

    @torch.no_grad()
    def init_output_bias(self, frequencies: Tensor) -> None:
        """Start the output biases at the log-odds of ``frequencies`` (C,), each between 0 and 1.

        So the first steps need not find out that most classes are rare (Lin et al. 2017, Section 4.1).
        """
        for layers in self.output_layers():
            parts = frequencies.logit().split([layer.out_features for layer in layers])
            for layer, part in zip(layers, parts, strict=True):
                layer.bias.copy_(part)

    def final_logits(self, global_logits: Tensor, local_logits: Tensor) -> Tensor:
        """The scores that the method predicts with, before the constraint: (batch, C)."""
        return global_logits

    def logits(self, inputs: Tensor) -> Tensor:
        """Coherent logits (batch, C) of standardised features (batch, F): no class above its parent."""
        return self.constrained(self.final_logits(*self(inputs)).float())


class HLSTM(CoherentModel, **CARD):
    """LSTM over levels with a local output for each level and a global output at the end.

    Deviations and readings (see docs/hlstm/deviations.md): the circle in Eq. (6)-(8) is concatenation; the
    features may pass ``num_layers - 1`` hidden layers first (the paper has none: 1); dropout is ours.

    Args:
        num_features: F, width of an input row.
        hierarchy: the C classes; a step of the LSTM for each level by longest path.
        hidden_size: units of the LSTM state, of the local layers and of the hidden layers before the LSTM.
        num_layers: hidden layers, the LSTM counted as one.
        dropout: probability that a unit is dropped, in hidden layers and where the state leaves the LSTM.
        max_levels: merge the levels below into the last of this many.
        local_init: initial local weights W_L, one of the six of Appendix B.
        local_constant: their value for ``local_init="constant"``.
    """

    method = "hlstm"
    has_local_path = True

    def __init__(
        self,
        num_features: int,
        hierarchy: Hierarchy,
        hidden_size: int = 384,
        num_layers: int = 1,
        dropout: float = 0.0,
        max_levels: int | None = None,
        local_init: str = "constant",
        local_constant: float = 0.1,
    ) -> None:
        super().__init__(num_features, hierarchy)
        level_sizes = merged_level_sizes(hierarchy, max_levels)
        self.encoder = hidden_layers(num_features, hidden_size, num_layers - 1, dropout)
        width = hidden_size if num_layers > 1 else num_features
        # The gates F, I, C^, O of Eq. (6)-(8), (10): [A; x] W = A W_a + x W_x, with the same x at every step.
        self.gates_of_input = nn.Linear(width, 4 * hidden_size)
        self.gates_of_state = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        for parameter in (*self.gates_of_input.parameters(), *self.gates_of_state.parameters()):
            nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.global_head = nn.Linear(hidden_size, len(hierarchy))
        self.num_steps = len(level_sizes)
        # A single step has no state before it; data-parallel training would wait for the gradient.
        self.gates_of_state.requires_grad_(self.num_steps > 1)
        local_sizes = level_sizes if self.has_local_path else []
        self.transitions = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in local_sizes)  # W_T^h
        heads = [nn.Linear(hidden_size, size) for size in local_sizes]  # W_L^h
        for head in heads:
            init_local(head, local_init, local_constant)
        self.local_heads = nn.ModuleList(heads)

    def output_layers(self) -> list[list[nn.Linear]]:
        groups: list[list[nn.Linear]] = [[self.global_head], [*self.local_heads]]  # type: ignore[list-item]
        return groups if self.has_local_path else groups[:1]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised features (batch, F) to global and local logits, (batch, C) each."""
        from_input = self.gates_of_input(self.encoder(features))  # (batch, 4 H)
        state, cell = self.step(from_input, None, None)
        states = [state]
        for _ in range(self.num_steps - 1):
            state, cell = self.step(from_input, state, cell)
            states.append(state)
        global_logits = self.global_head(self.dropout(state))
        if not self.has_local_path:
            return global_logits, global_logits
        local = [
            head(torch.relu(transition(self.dropout(state))))  # A_L^h, then the classes of level h
            for state, transition, head in zip(states, self.transitions, self.local_heads, strict=True)
        ]
        return global_logits, torch.cat(local, dim=1)  # ids are sorted by level

    def step(self, from_input: Tensor, state: Tensor | None, cell: Tensor | None) -> tuple[Tensor, Tensor]:
        """One level: Eq. (6)-(11); A^0 = C^0 = 0 as None."""
        gates = from_input if state is None else from_input + self.gates_of_state(state)
        forget, enter, candidate, out = gates.chunk(4, dim=1)
        entering = enter.sigmoid() * candidate.tanh()
        new_cell = entering if cell is None else forget.sigmoid() * cell + entering  # Eq. (9)
        return out.sigmoid() * new_cell.tanh(), new_cell  # Eq. (11)


def hidden_layers(num_features: int, hidden_size: int, count: int, dropout: float) -> nn.Sequential:
    """``count`` layers of Linear, ReLU, dropout; the identity for 0."""
    layers: list[nn.Module] = []
    for width in [num_features, *[hidden_size] * count][:count]:
        layers += [nn.Linear(width, hidden_size), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def merged_level_sizes(hierarchy: Hierarchy, max_levels: int | None) -> list[int]:
    """Number of classes for each step: levels by longest path, the deepest merged beyond ``max_levels``."""
    sizes = [len(level) for level in hierarchy.levels]
    if max_levels is not None and len(sizes) > max_levels:
        sizes = [*sizes[: max_levels - 1], sum(sizes[max_levels - 1 :])]
    return sizes


def init_local(layer: nn.Linear, how: str, constant: float) -> None:
    """Initial weights of a local output layer W_L (Appendix B); its bias starts at 0."""
    weight = layer.weight
    nn.init.zeros_(layer.bias)
    if how in ("constant", "zeros", "ones"):
        nn.init.constant_(weight, {"constant": constant, "zeros": 0.0, "ones": 1.0}[how])
    elif how == "normal":
        nn.init.normal_(weight)
    elif how == "xavier":
        nn.init.xavier_uniform_(weight)
    elif how == "he":
        nn.init.normal_(weight, std=weight.shape[1] ** -0.5)  # as printed: variance 1 / n_in
    else:
        raise ValueError(
            f"`local_init` should be constant, zeros, ones, normal, xavier or he. Found {how!r}."
        )
