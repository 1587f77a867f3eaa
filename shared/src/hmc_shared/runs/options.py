"""The options that a run was trained with, from its ``config.yaml``. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hmc_shared.messages import shown
from hmc_shared.object_files import read_yaml

_TEXT: Any = (str, "text")
_OPTIONAL: Any = (str | None, "text")
_NUMBER: Any = (int | float | None, "a number or null")
_NAMES: Any = ((list, str, type(None)), "text or a list")
_OPTIONS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("dataset", "protocol", "on_error", "uncertain", "blank"), _TEXT),
    **dict.fromkeys(("data_dir", "window"), _OPTIONAL),
    **dict.fromkeys(("levels", "features", "drop", "categorical", "evidence"), _NAMES),
    "set_aside": _NUMBER,
}
"""Those of ``config.yaml`` by which the data set of a run is found again."""


def open_run(path: str) -> tuple[Path, dict[str, Any]]:
    """The folder of the saved model, and the options of the run (none for a bare model folder)."""
    folder = Path(path)
    if not (folder / "config.yaml").is_file():
        return folder, {}
    return folder / "model", read_config(folder)


def read_config(folder: Path) -> dict[str, Any]:
    """The options in ``config.yaml``. Raises ValueError, naming the file, if it is damaged."""
    path = folder / "config.yaml"
    options = read_yaml(path)
    for name, (kind, what) in _OPTIONS.items():
        if name in options and not isinstance(options[name], kind):
            raise ValueError(f"{path}: `{name}` should be {what}. Found {shown(options[name])}.")
    return options
