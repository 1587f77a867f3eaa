"""Options."""

from dataclasses import dataclass
from typing import ClassVar

from hmc_shared.cli.commands import EvaluateOptions, PredictOptions
from hmc_shared.cli.train_options import TrainOptions


@dataclass(frozen=True)
class Config(TrainOptions):
    """Train a linear layer on vectors."""

    package: ClassVar[str] = "toy-method"

    @property
    def label(self) -> str:
        return "toy-linear"


@dataclass(frozen=True)
class EvaluateConfig(EvaluateOptions):
    """Score a split of a data set with a trained model and print the metrics."""

    library: ClassVar[str] = "toy_method"


@dataclass(frozen=True)
class PredictConfig(PredictOptions):
    """Write labels and probabilities for each row of a table."""

    library: ClassVar[str] = "toy_method"
