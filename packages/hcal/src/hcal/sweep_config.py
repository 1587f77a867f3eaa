"""Options of ``hcal sweep``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from hcal.config import Config
from hmc_shared.cli.bounds import check

# Section 4.4 names these of epsilon, and of gamma only 0.5.
VALUES = {"gamma": (0.1, 0.2, 0.5, 1.0, 2.0), "epsilon": (0.001, 0.01, 0.05, 0.1, 0.2)}


@dataclass(frozen=True)
class SweepConfig(Config):
    """Train HCAL with several values of gamma or epsilon, each with several seeds; finished runs stay.

    All options of `hcal train` count for every run. Runs go to <output-dir>/<parameter>-<value>/seed-<seed>,
    the table to <output-dir>/<parameter>.csv, the plot beside it; an interrupted run goes on.
    """

    parameter: Literal["gamma", "epsilon"] = "gamma"
    """The option that varies."""
    values: tuple[float, ...] = ()
    """Its values; default: 0.1 to 2 for gamma, and for epsilon the paper's, 0.001 to 0.2."""
    seeds: tuple[int, ...] = ()
    """Seeds of the runs with each value; default: three, from --seed on."""
    output_dir: str | None = None
    """Folder of the sweep; default: sweeps/<dataset>/<method>."""
    resume: bool = True
    """Always on: finished runs stay, interrupted ones go on."""
    overwrite: bool = False
    """Train all runs anew."""

    @property
    def folder(self) -> Path:
        # Not below runs/: two sweeps share a setting, which `hmc compare` would find twice.
        return Path(self.output_dir or Path("sweeps", *self.run_folder.parts[1:-1]))

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "method", self.method == "hcal", "be hcal in a sweep")
        if self.parameter == "gamma":
            check(self, "weighting", self.weighting == "adaptive", "be adaptive where gamma varies")
            check(self, "task", self.task == "multi", "be multi where gamma varies")
        for name in ("values", "seeds"):
            values = getattr(self, name)
            check(self, name, len(set(values)) == len(values), "differ from each other")

    def run(self, value: float, seed: int) -> Config:
        """The options of one run."""
        changes: dict[str, Any] = {
            self.parameter: value,
            "seed": seed,
            "output_dir": str(self.folder / f"{self.parameter}-{value:g}" / f"seed-{seed}"),
            "resume": not self.overwrite,
        }
        options: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(Config)}
        return Config(**options | changes)
