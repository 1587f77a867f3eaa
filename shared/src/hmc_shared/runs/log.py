"""Reading the log of a run, a line each epoch; torch is not imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hmc_shared.messages import shown
from hmc_shared.object_files import LARGEST_JSON, parse_object, read_text


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``, one each epoch, less one that a killed process left half written.

    Raises ValueError, naming file and line, for a line that is not an object with a number ``epoch``.
    """
    path = folder / "metrics.jsonl"
    records = []
    for number, line in enumerate(read_text(path, LARGEST_JSON).split("\n")[:-1], start=1):
        record = parse_object(line, f"{path}:{number}")
        if type(record.get("epoch")) is not int:
            raise ValueError(
                f"{path}:{number}: `epoch` should be a number. Found {shown(record.get('epoch'))}."
            )
        records.append(record)
    return records
