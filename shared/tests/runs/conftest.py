"""The options of a toy, and processes that stand for those of accelerate, which is not needed here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest
import torch
from torch import Tensor, nn

from hmc_shared.cli.bounds import FREE
from hmc_shared.cli.train_options import TrainOptions


@dataclass(frozen=True)
class ToyOptions(TrainOptions):
    package: ClassVar[str] = "pytest"

    rate: float = 1.0
    threads: Annotated[int, FREE] = 1

    @property
    def label(self) -> str:
        return "toy"


class OneProcess:
    """What a run asks of ``accelerate.Accelerator``: process ``rank`` of two, each with its own figures."""

    scaler = None

    def __init__(self, rank: int = 0, num_processes: int = 1) -> None:
        self.process_index, self.num_processes = rank, num_processes
        self.is_main_process = rank == 0
        self.device = torch.device("cpu")
        self.entered = 0

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        self.entered += 1
        yield

    def wait_for_everyone(self) -> None:
        pass

    def gather(self, value: Tensor) -> Tensor:
        """The values of the processes 0 and 1; they differ in the last bits."""
        return torch.cat([torch.full_like(value, 0.1), value])

    def unwrap_model(self, network: nn.Module) -> nn.Module:
        return network

    def clip_grad_norm_(self, weights: Iterable[Tensor], largest: float) -> Tensor:
        return nn.utils.clip_grad_norm_(weights, largest)


@pytest.fixture
def toy_options() -> type[ToyOptions]:
    return ToyOptions


@pytest.fixture
def one_process() -> type[OneProcess]:
    return OneProcess
