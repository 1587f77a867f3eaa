"""Experiment trackers, such as TensorBoard or Weights & Biases, by Accelerate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate import Accelerator  # the methods depend on it, this package does not

    from hmc_shared.cli.train_options import TrainOptions

FOLDER = "trackers"
"""In a run folder: what trackers write there."""
EXTRAS = ("tensorboard", "trackio", "wandb")
"""Trackers that are extras of this package."""


class Trackers:
    """What ``--log-with`` names is given the options, a point an epoch, and the metrics at the end.

    Raises ValueError, saying what to install, where its library is missing.
    """

    def __init__(self, accelerator: Accelerator, config: TrainOptions, folder: Path) -> None:
        self.accelerator, self.config, self.folder = accelerator, config, folder
        self._has_begun = False
        if (name := config.log_with) is not None:
            from accelerate.tracking import get_available_trackers

            if name not in [str(getattr(one, "value", one)) for one in get_available_trackers()]:
                library = f"'hmc-shared[{name}]'" if name in EXTRAS else name.replace("_", "-")
                raise ValueError(f"`--log-with {name}` needs its library: pip install {library}")

    def log(self, values: Mapping[str, Any], epoch: int) -> None:
        """Log those of the values that are numbers."""
        if self.config.log_with is None:
            return
        if not self._has_begun:
            self._begin(self.config.log_with)
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        self.accelerator.log({name: value for name, value in numbers.items() if name != "epoch"}, step=epoch)

    def finish(self, metrics: Mapping[str, Any], epoch: int) -> None:
        """Log the metrics at the end, and wait until all is written."""
        self.log(metrics, epoch)
        for tracker in self.accelerator.trackers if self._has_begun else ():
            tracker.finish()
        self._has_begun = False

    def _begin(self, name: str) -> None:
        from accelerate.tracking import filter_trackers

        folder = self.folder / FOLDER
        folder.mkdir(exist_ok=True)
        self.accelerator.project_configuration.set_directories(str(folder))
        self.accelerator.log_with = filter_trackers([name], self.accelerator.logging_dir)
        options = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in asdict(self.config).items()
        }
        run = self.folder.resolve().as_posix().removeprefix(f"{Path.cwd().as_posix()}/")
        names: dict[str, dict[str, Any]] = {
            "wandb": {"name": run, "dir": str(folder)},
            "trackio": {"name": run},
            "mlflow": {"run_name": run},
        }
        init = {name: names[name]} if name in names else {}
        self.accelerator.init_trackers(f"hmc-{self.config.package}", options, init)
        self._has_begun = True
