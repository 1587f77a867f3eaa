"""Data sets: embedded ones, the CLUS and Mulan sets, image sets, one's own files, and exported folders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hmc_shared.cli.lazy import lazy_attribute

if TYPE_CHECKING:
    from hmc_shared.data.dataset import HierarchicalDataset, Split
    from hmc_shared.data.image_table import ImageTable
    from hmc_shared.data.load import load_dataset

__all__ = ["HierarchicalDataset", "ImageTable", "Split", "load_dataset"]
_MODULE_OF = {
    "HierarchicalDataset": "dataset",
    "ImageTable": "image_table",
    "Split": "dataset",
    "load_dataset": "load",
}


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import: whether a data set is there is found out without it.
    return lazy_attribute(__name__, name, _MODULE_OF)
