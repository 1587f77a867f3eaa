"""Data sets: embedded ones, the CLUS and Mulan sets, image sets, one's own files, and exported folders."""

from hmc_shared.data.batches import batches
from hmc_shared.data.dataset import HierarchicalDataset, Split
from hmc_shared.data.describe import available, describe
from hmc_shared.data.image_table import ImageTable
from hmc_shared.data.load import load_dataset

__all__ = [
    "HierarchicalDataset",
    "ImageTable",
    "Split",
    "available",
    "batches",
    "describe",
    "load_dataset",
]
