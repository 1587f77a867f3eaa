"""The options of a toy, and processes that stand for those of accelerate, which is not needed here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
import torch
from torch import Tensor

from hmc_shared.cli.bounds import FREE
from hmc_shared.cli.train_options import TrainOptions
from hmc_shared.runs.progress import Progress


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

    def __init__(self, rank: int = 0, progress: Progress | None = None) -> None:
        self.is_main_process = rank == 0
        self.device = torch.device("cpu")
        self.progress = progress or Progress()
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

    def save_state(self, folder: str) -> None:
        Path(folder).mkdir(parents=True)
        torch.save(self.progress.state_dict(), Path(folder, "state"))

    def load_state(self, folder: str) -> None:
        self.progress.load_state_dict(torch.load(Path(folder, "state")))


@pytest.fixture
def toy_options() -> type[ToyOptions]:
    return ToyOptions


@pytest.fixture
def one_process() -> type[OneProcess]:
    return OneProcess
