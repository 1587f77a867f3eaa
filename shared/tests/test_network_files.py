"""What a file says of a network is not believed: neither its size nor its numbers."""

# No `from __future__ import annotations`: annotations must be types here, as in every model.
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hmc_shared import Hierarchy, network_files
from hmc_shared.model import check_arguments
from hmc_shared.network_files import bounded_network, refuse_not_finite


class Layer(nn.Module):
    """A parameter that would be filled as layers are."""

    filled = 0

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        Layer.filled += 1


@pytest.fixture(params=[None, "w.safetensors", "w.pt"])
def weights(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path | None:
    """Files of a tensor of 40 bytes, or none in a machine of 4 MB."""
    monkeypatch.setattr(network_files, "FREE_BYTES", 1 << 20)
    monkeypatch.setattr("os.sysconf", lambda name: 2000)
    if request.param is None:
        return None
    path = tmp_path / request.param
    state = {"w": torch.ones(10)}
    if path.suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    return path


def test_a_network_is_refused_before_it_is_filled(weights: Path | None) -> None:
    before = Layer.filled
    with bounded_network(weights):
        Layer(1000)
    with pytest.raises(ValueError, match="is none for these weights"), bounded_network(weights):
        Layer(10**8)
    assert Layer.filled == before + 1
    Layer(10**7)  # where nothing is said of a file


def test_so_is_one_of_endless_layers(weights: Path | None) -> None:
    with pytest.raises(ValueError, match=r"or 100\d\d tensors is none"), bounded_network(weights):
        nn.ModuleList(Layer(0) for _ in count())


@pytest.mark.parametrize(
    ("tensor", "is_parameter", "is_fine"),
    [
        (torch.tensor([1.0, torch.inf]), True, False),
        (torch.tensor([1.0, torch.inf]), False, True),  # the scale of a constant column, a mask
        (torch.tensor([1.0, torch.nan]), False, False),
        (torch.tensor([1]), False, True),
    ],
)
def test_weights_are_finite(tensor: torch.Tensor, is_parameter: bool, is_fine: bool) -> None:
    network = nn.Module()
    if is_parameter:
        network.register_parameter("x", nn.Parameter(tensor))
    else:
        network.register_buffer("x", tensor)
    if is_fine:
        refuse_not_finite(network, "w.pt")
        return
    with pytest.raises(ValueError, match=r"^w\.pt holds a number in x that is not finite"):
        refuse_not_finite(network, "w.pt")


class Model:
    def __init__(
        self,
        hierarchy: Hierarchy,
        sizes: Sequence[int] = (),
        width: int | None = None,
        share: float = 0.5,
        kind: Literal["a", "b"] = "a",
        flag: bool = False,
        pair: tuple[int, int] = (1, 2),
        other: Any = None,
        plain=3,
    ) -> None: ...


FITS: dict[str, list[object]] = {
    "hierarchy": ["{}"],
    "sizes": [[], [1, 2]],
    "width": [None, 3],
    "share": [0, 0.5],
    "kind": ["a", "b"],
    "flag": [True],
    "pair": [[1, 2]],
    "other": [None, "x", {}],
    "plain": [4, "x"],
}
DOES_NOT: dict[str, list[object]] = {
    "hierarchy": [{}, None],
    "sizes": [[1, "2"], [True], 3, None],
    "width": ["3", 3.0, True],
    "share": ["0.5", None, True, float("nan"), float("inf")],
    "kind": ["c", None],
    "flag": [1, None, "true"],
}


@pytest.mark.parametrize(("name", "value"), [(name, v) for name, values in FITS.items() for v in values])
def test_arguments_of_their_types_are_taken(name: str, value: object) -> None:
    check_arguments(Model, {name: value, "unknown": 1})


@pytest.mark.parametrize(("name", "value"), [(name, v) for name, values in DOES_NOT.items() for v in values])
def test_arguments_of_others_are_named(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"`{name}` should be of the type"):
        check_arguments(Model, {name: value})
