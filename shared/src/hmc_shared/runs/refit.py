"""What validation chooses: calibration and threshold; and, for ``--protocol refit``, the number of epochs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from hmc_shared.cli.parse import to_yaml
from hmc_shared.cli.train_options import ThresholdBy, TrainOptions
from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.model import HierarchicalModel, load_model
from hmc_shared.partial_labels import without_unknown
from hmc_shared.predict.score import score_split
from hmc_shared.runs.folder import RunFolder
from hmc_shared.runs.read import RESERVED, SELECTION, VALIDATION, read_results

if TYPE_CHECKING:
    from accelerate import Accelerator  # the methods depend on it, this package does not

Config = TypeVar("Config", bound=TrainOptions)


def fit_on_validation(
    model: HierarchicalModel,
    logits: Tensor,
    targets: Tensor,
    ids: Sequence[str],
    evaluated: Tensor,
    folder: RunFolder,
    unknown: Tensor | None = None,
    threshold_by: ThresholdBy = "all",
) -> None:
    """Calibrate, choose thresholds where samples may have several paths, and write ``validation.npz``.

    ``logits`` (n, C) are the model's of the validation split, with targets (n, C) bool and n ids; entries
    that are ``unknown`` (n, C) bool do not count. ``threshold_by``: one of all classes, or of each its own.
    """
    known = without_unknown(logits, unknown)
    model.calibrate(known, targets, evaluated)
    if not model.decision.single_path:
        model.choose_threshold(known, targets, evaluated, threshold_by)
    scores, probabilities = model.to_scores(logits), model.to_probabilities(logits)
    folder.write_predictions(VALIDATION, targets, ids, scores, probabilities, unknown)


def score_reserved(
    model: HierarchicalModel, dataset: HierarchicalDataset, folder: RunFolder, workers: int = 0
) -> None:
    """Write ``reserved.npz``, what a finished model says of the rows that were set aside, if any were."""
    if (split := dataset.reserved) is not None:
        logits = score_split(model, split, workers)
        scores, probabilities = model.to_scores(logits), model.to_probabilities(logits)
        folder.write_predictions(RESERVED, split.targets, split.ids, scores, probabilities, split.unknown)


def use_held_out(
    model: HierarchicalModel,
    dataset: HierarchicalDataset,
    folder: RunFolder,
    config: TrainOptions,
    held_out: Tensor | None = None,
) -> None:
    """What a trained model takes from validation under the protocol "default", and from rows set aside.

    ``config`` may have the options ``--workers`` and ``--threshold-by``. ``held_out`` are the model's logits
    (n, C) of the validation split, if they are known. See :func:`fit_on_validation` and
    :func:`score_reserved`.
    """
    workers: int = getattr(config, "workers", 0)
    by: ThresholdBy = getattr(config, "threshold_by", "all")
    if config.protocol == "default":
        split = dataset.validation
        logits = score_split(model, split, workers) if held_out is None else held_out
        about = split.targets, split.ids, dataset.evaluated
        fit_on_validation(model, logits, *about, folder, split.unknown, by)
    score_reserved(model, dataset, folder, workers)


@dataclass(frozen=True)
class Selection:
    """What validation has chosen."""

    folder: Path
    """Of the run that chose: a run folder like any other."""
    epochs: int
    """The best epoch, counted from 1, on the training rows alone."""
    score: float | None
    """What it had on validation."""
    model: HierarchicalModel
    """What was best, with its calibration and its threshold."""

    def give_to(self, model: HierarchicalModel, folder: RunFolder) -> None:
        """Let a model that has seen all rows have the calibration and the threshold of the one that chose.

        Its run folder gets the validation predictions of that one.
        """
        model.calibration.load_state_dict(self.model.calibration.state_dict())
        model.decision = self.model.decision
        folder.write(VALIDATION, (self.folder / VALIDATION).read_bytes())

    @property
    def summary(self) -> dict[str, Any]:
        return {"best_epoch": self.epochs, "validation": self.score}


def select(
    config: Config,
    train: Callable[[Config, HierarchicalDataset], object],
    dataset: HierarchicalDataset,
    folder: RunFolder,
    accelerator: Accelerator,
) -> Selection:
    """Train under the default protocol, in a folder within that of the run, or take what is finished there.

    All processes call this. Raises what ``train`` does.
    """
    inner = folder.path / SELECTION
    if accelerator.is_main_process:
        folder.write_config(to_yaml(config))  # so that the run goes on here if it is stopped within the other
    accelerator.wait_for_everyone()  # --overwrite has emptied it now
    if not (inner / "results.json").is_file():
        train(
            replace(
                config,
                protocol="default",
                output_dir=str(inner),
                resume=(inner / "config.yaml").is_file(),
                overwrite=False,
            ),
            dataset,
        )
    accelerator.wait_for_everyone()
    results = read_results(inner)
    epochs = results.get("best_epoch") or results.get("epochs") or 1
    return Selection(inner, epochs, results.get("validation"), load_model(inner))
