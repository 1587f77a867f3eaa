"""Options of the command ``hmc blend``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from hmc_shared.cli.bounds import FREE, Count, Seed, check_options, free_options
from hmc_shared.cli.metavars import Name
from hmc_shared.cli.train_options import ThresholdBy, default_folder


@dataclass(frozen=True)
class Blend:
    """Mix finished runs on one data set: a run folder like any other, with a model that holds theirs.

    The weights of the runs are chosen on their validation predictions, so the mix is never worse there than
    the best of them.
    """

    package: ClassVar[str] = "hmc-shared"
    label: ClassVar[str] = "blend"

    runs: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN [RUN ...]", help_behavior_hint=""),
    ]
    """Folders of finished runs, all of one protocol, default or refit."""
    output_dir: Annotated[
        str | None, FREE, tyro.conf.arg(name="output", aliases=("--output-dir",), metavar="DIR")
    ] = None
    """Run folder; default: runs/<dataset>/blend/seed-<seed>."""
    metric: Literal["au_prc", "map"] = "au_prc"
    """What the weights are chosen for, on validation."""
    rounds: Count = 30
    """Rounds of the search for weights; each adds a share of the run that helps most."""
    threshold_by: ThresholdBy = "all"
    """As of `train`: one threshold of the mix for all classes, or for each class its own."""
    dataset: Annotated[str | None, FREE, Name] = None
    """Refuse runs that were trained on any other data set than this."""
    seed: Seed = 0
    """Names the run folder; nothing here is random."""
    resume: Annotated[bool, FREE] = False
    """Begin again in a run folder that is not finished."""
    overwrite: Annotated[bool, FREE] = False
    """Empty the run folder first."""

    def __post_init__(self) -> None:
        check_options(self)

    def folder_for(self, dataset: str) -> Path:
        return Path(self.output_dir or default_folder(dataset) / "blend" / f"seed-{self.seed}")

    def free_on_resume(self) -> frozenset[str]:
        return free_options(type(self))
