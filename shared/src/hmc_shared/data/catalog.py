"""The data sets by name: reader, the files that tell that a set is there, source, licence, shape.

The published ones stand in ``catalog.yaml``, those of other distributions come by entry points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from importlib.resources import files
from typing import Any, Literal

import yaml

GROUP = "hmc.datasets"
"""Entry points by which other distributions add data sets: name = "module:reader"."""


@dataclass(frozen=True)
class Entry:
    """A data set of the catalogue.

    The reader is called with those of name, path, data_dir, view, protocol and levels that its parameters are
    named after, and returns a :class:`~hmc_shared.data.dataset.HierarchicalDataset`.
    """

    name: str
    kind: Literal["embedded", "images", "CLUS", "Mulan", "added"]
    reader: str
    """"module:function"."""
    shape: str = ""
    """Inputs and classes, in a few words."""
    source: str = ""
    licence: str = "not stated"
    files: tuple[str, ...] = ()
    """The lists in the folder of an image set, looked for in ``data_dir`` and up to two folders below."""

    def load_reader(self) -> Callable[..., Any]:
        """Import the reader. Raises ValueError if that fails."""
        module, _, function = self.reader.partition(":")
        try:
            return getattr(import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"The reader {self.reader} of {self.name!r} is not importable: {error}."
            ) from error


def _published() -> dict[str, Entry]:
    content = yaml.safe_load((files("hmc_shared.data") / "catalog.yaml").read_text(encoding="utf-8"))
    entries = {}
    for row in content["sets"]:
        folder = row.pop("folder", "")
        row["files"] = tuple(f"{folder}/{file}" if folder else file for file in row.get("files", ()))
        row["reader"] = f"hmc_shared.data.benchmarks.{row['reader']}:load"
        entries[row["name"]] = Entry(**row | {"source": content["sources"][row["source"]]})
    return entries


CATALOG = _published()
"""The published sets. Those of CLUS and Mulan are found by the pattern of their files, by any name."""
EMBEDDED = tuple(name for name, entry in CATALOG.items() if entry.kind == "embedded")
"""These need no file."""
FORMATS = {
    name: Entry(f"{name}:", "added", f"hmc_shared.data.formats.{module}:load", shape)
    for name, module, shape in (
        ("folder", "image_folder", "nested folders of images"),
        ("labels", "labels_json", "images with a labels.json or a table"),
        ("table", "table", "features and labels in a .csv or .parquet file"),
        ("hf", "hf_export", "a folder that `hmc datasets export` wrote"),
        ("hf with --levels", "hf_columns", "any data set of the `datasets` library"),
    )
}
"""What stands before the colon of a path, and what it reads."""


def find_entry(name: str) -> Entry | None:
    """The entry of a name in any case, also of those that other distributions add; None if there is none."""
    lower = {"coco": "coco2014"}.get(name.lower(), name.lower())
    if lower.startswith(("voc2007-", "coco2014-")) and not lower.endswith("-tree"):
        return Entry(lower, "images", "hmc_shared.data.benchmarks.fewshot:load", "few-shot episode")
    known = {entry.name.lower(): entry for entry in [*CATALOG.values(), *added_entries()]}
    return known.get(lower)


def added_entries() -> list[Entry]:
    """The data sets that other distributions add by the entry points ``hmc.datasets``."""
    return [Entry(point.name, "added", point.value) for point in entry_points(group=GROUP)]
