"""Data sets: embedded ones, the CLUS sets, and exported folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from hmc_shared.data.batches import batches
from hmc_shared.data.dataset import EMBEDDED, HierarchicalDataset, Split
from hmc_shared.data.describe import available, describe, plot_description
from hmc_shared.data.folder import export

__all__ = [
    "EMBEDDED",
    "HierarchicalDataset",
    "Split",
    "available",
    "batches",
    "describe",
    "export",
    "load_dataset",
    "plot_description",
]


def load_dataset(
    name: str,
    data_dir: str | Path | None = None,
    *,
    view: Literal["vector", "image"] = "vector",
    protocol: Literal["default", "paper"] = "default",
) -> HierarchicalDataset:
    """Load a data set by name, in any case.

    Args:
        name: "digits" or "digit-scenes", which need no file; the name of a CLUS set such as "cellcycle_FUN",
            whose files are found by the pattern of their names; or "hf:PATH" for a folder that `hmc datasets
            export` wrote, "hf:OWNER/NAME" for a dataset repository of the Hugging Face hub that holds one.
        data_dir: folder with the files of the CLUS sets; default the environment variable HMC_DATA.
        view: what the embedded sets give: "vector", flattened and standardised, or "image", uint8.
        protocol: how the CLUS sets are preprocessed, see :func:`hmc_shared.data.preprocessing.prepare`.

    Raises ValueError, listing what is known, for an unknown name; for an unknown view or protocol, or a view
    that the set does not have; and, naming file and line, for a damaged or missing file.
    """
    # Readers are imported where they are used: torch and scikit-learn take seconds.
    if view not in ("vector", "image"):
        raise ValueError(f"`view` should be 'vector' or 'image'. Found {view!r}.")
    if protocol not in ("default", "paper"):
        raise ValueError(f"`protocol` should be 'default' or 'paper'. Found {protocol!r}.")
    if name.lower() == "digits":
        from hmc_shared.data import digits

        return digits.load(view)
    if name.lower() == "digit-scenes":
        from hmc_shared.data import digit_scenes

        return digit_scenes.load(view)
    if name.startswith("hf:"):
        from hmc_shared.data import folder

        dataset = folder.load(name.removeprefix("hf:"))
    else:
        data_dir = data_dir or os.environ.get("HMC_DATA")
        if not data_dir:
            known = ", ".join(EMBEDDED)
            raise ValueError(
                f"{name!r} is not an embedded data set ({known}): pass `data_dir` or set HMC_DATA."
            )
        from hmc_shared.data import clus

        dataset = clus.load(name, data_dir, protocol)
    if view == "image" and dataset.kind == "vector":
        raise ValueError(f"`view` should be 'vector' for {name!r}, a set of feature vectors. Found 'image'.")
    return dataset
