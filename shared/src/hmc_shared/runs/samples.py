"""The samples that results are about, of a data set or of a run, and their metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.metrics import summarize
from hmc_shared.metrics._inputs import Threshold
from hmc_shared.metrics.calibration import expected_calibration_error
from hmc_shared.runs.read import Run


@dataclass(frozen=True)
class Samples:
    """The samples that a run answers for, and what its results say of their data set."""

    name: str
    checksum: str
    sizes: Mapping[str, int]
    hierarchy: Hierarchy
    evaluated: Tensor
    train_counts: Tensor
    targets: Tensor
    ids: Sequence[str]
    information: np.ndarray
    protocol: str | None = None
    """Of the runs that were mixed; None: that of the options."""
    unknown: Tensor | None = None
    """(n, C) bool: entries that no metric counts; None: all are known."""

    @classmethod
    def of_split(cls, dataset: HierarchicalDataset, split: str) -> Samples:
        return cls(
            dataset.name,
            dataset.checksum,
            {name: len(part) for name, part in dataset.splits.items()},
            dataset.hierarchy,
            dataset.evaluated,
            dataset.train_counts,
            dataset.splits[split].targets,
            dataset.splits[split].ids,
            dataset.information,
            unknown=dataset.splits[split].unknown,
        )

    @classmethod
    def of_run(cls, run: Run) -> Samples:
        """The test samples of a finished run."""
        about = run.results["dataset"]
        return cls(
            about["name"],
            about["checksum"],
            about.get("sizes", {}),
            run.hierarchy,
            torch.from_numpy(run.evaluated),
            torch.from_numpy(run.train_counts),
            torch.from_numpy(run.targets.astype(bool)),
            run.ids.tolist(),
            run.information,
            run.results["protocol"],
            None if run.unknown is None else torch.from_numpy(run.unknown),
        )

    def metrics(
        self, scores: Tensor, threshold: Threshold = 0.0, split: str = "test", answers: Tensor | None = None
    ) -> dict[str, float | None]:
        """Those of :func:`hmc_shared.metrics.summarize`, named ``<split>/<metric>``; None if undefined."""
        metrics = summarize(
            scores.detach().float().cpu().numpy(),
            self.targets.cpu(),
            self.hierarchy,
            evaluated=self.evaluated,
            train_counts=self.train_counts.cpu(),
            information=self.information,
            threshold=threshold,
            answers=answers,
            unknown=self.unknown,
        )
        return {f"{split}/{metric}": or_null(value) for metric, value in metrics.items()}

    def calibration_error(self, probabilities: Tensor) -> float | None:
        p, targets, evaluated = (
            part.cpu().numpy() for part in (probabilities.float(), self.targets, self.evaluated)
        )
        unknown = None if self.unknown is None else self.unknown.cpu().numpy()
        return or_null(expected_calibration_error(p, targets, self.hierarchy, evaluated, unknown=unknown))


def or_null(value: Any) -> Any:
    """A metric, or what else is logged, as JSON can write it: an undefined number, NaN, is null."""
    return None if value != value else value
