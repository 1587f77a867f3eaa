"""Options of the command ``hmc push``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hmc_shared.cli.metavars import RunFolder


@dataclass(frozen=True)
class Push:
    """Upload the model of a finished run to the Hugging Face hub, with a card of its scores, data and limits.

    The card takes the place of README.md in the model's folder. Needs a token that may write: `hf auth login`
    or the environment variable HF_TOKEN.
    """

    run: Annotated[Path, tyro.conf.Positional, RunFolder]
    """Run folder of any method or of `hmc blend`."""
    repository: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OWNER/NAME")]
    """Repository of the hub; made if it is not there."""
    private: tyro.conf.FlagCreatePairsOff[bool] = False
    """Make a repository that only its owner sees."""
    license: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Licence of the model, as the hub names it, such as cc-by-4.0; default: the card names none."""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """Write the card and list the files; upload nothing."""
