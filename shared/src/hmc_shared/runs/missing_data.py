"""Whether the data set of a command is there, told before torch is imported, which takes seconds."""

from __future__ import annotations

from typing import Any

from hmc_shared.data.presence import find_source
from hmc_shared.runs.options import open_run


def check_data_set(options: Any) -> None:
    """Raise ValueError if the data set that a command reads is not there.

    A command reads one if its options have ``data_dir``: ``dataset`` or ``name``, or else that of the run.
    """
    if not hasattr(options, "data_dir"):
        return
    chosen = getattr(options, "dataset", None) or getattr(options, "name", None)
    _, saved = open_run(options.run) if hasattr(options, "run") else ("", {})
    name, data_dir = chosen or saved.get("dataset"), options.data_dir or saved.get("data_dir")
    levels = getattr(options, "levels", None) or saved.get("levels")
    if name:
        find_source(name, data_dir, has_levels=levels is not None)
