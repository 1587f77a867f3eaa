"""Options of the command ``hmc peer``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from hmc_shared.cli.bounds import FREE, Positive, Seed, check_options, free_options
from hmc_shared.cli.metavars import Folder
from hmc_shared.cli.train_options import FeatureOptions, default_folder

PeerName = Literal["hiclass", "chains"]


@dataclass(frozen=True)
class Peer(FeatureOptions):
    """Train a classifier of another library on feature vectors, and write a run folder for `hmc compare`.

    hiclass needs the extra `peers`: pip install 'hmc-shared[peers]'. The folder holds the predictions for
    the test split, with time and memory, but no model.
    """

    package: ClassVar[str] = "hmc-shared"
    protocol: ClassVar[Literal["default"]] = "default"

    method: PeerName = "hiclass"
    """hiclass: HiClass, a logistic regression at each parent that chooses among its children; for a tree
    whose samples have one path each. chains: scikit-learn's classifier chain, a logistic regression for each
    class that sees the classes before it: parents before children, frequent ones before rare ones."""
    c: Positive = 1.0
    """Inverse strength of the L2 penalty, C of scikit-learn's LogisticRegression."""
    seed: Seed = 0
    """Names the run folder; nothing here is random."""
    test: Annotated[bool, FREE] = True
    """Score the test split. --no-test, for a search: the mAP on validation goes to validation.json."""
    output_dir: Annotated[str | None, FREE, Folder] = None
    """Run folder; default: runs/<dataset>/<method>/seed-<seed>."""
    resume: Annotated[bool, FREE] = False
    """Begin again in a run folder that is not finished."""
    overwrite: Annotated[bool, FREE] = False
    """Empty the run folder first."""

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def label(self) -> str:
        return self.method

    @property
    def run_folder(self) -> Path:
        return Path(self.output_dir or default_folder(self.dataset) / self.label / f"seed-{self.seed}")

    def free_on_resume(self) -> frozenset[str]:
        return free_options(type(self))
