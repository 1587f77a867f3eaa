"""Data sets: embedded ones, the CLUS and Mulan sets, image sets, and exported folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from hmc_shared.data.batches import batches
from hmc_shared.data.dataset import EMBEDDED, HierarchicalDataset, Split
from hmc_shared.data.describe import available, describe, plot_description
from hmc_shared.data.folder import export
from hmc_shared.data.images import ImageTable
from hmc_shared.data.preprocessing import Protocol

__all__ = [
    "EMBEDDED",
    "HierarchicalDataset",
    "ImageTable",
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
    view: Literal["vector", "image"] | None = None,
    protocol: Literal["default", "paper"] = "default",
    levels: str | Sequence[str] | None = None,
) -> HierarchicalDataset:
    """Load a data set by name, in any case.

    Args:
        name: one of these, in any case.

            * "digits" and "digit-scenes" need no file.
            * Image sets, whose folder is found in ``data_dir`` or up to two folders below: "cifar100", and
              "cifar-scenes" composed of it; "coco2014" (also "coco") and "coco2017", with "-tree" below their
              supercategories; "fgvc-aircraft" and "fgvc-aircraft-boxes", cropped to the bounding boxes;
              "grocery"; "mirflickr"; "nuswide" and "nuswide21", the 21 most frequent concepts; "voc2007";
              "voc2012"; "coco-lt" and "voc-lt", long-tailed parts of coco2017 and voc2012.
            * Few-shot settings of voc2007 and coco2014: "voc2007-base", "voc2007-1shot-1" to "-10",
              "voc2007-5shot-1" to "-10", see :mod:`hmc_shared.data.fewshot`.
            * CLUS sets such as "cellcycle_FUN" and Mulan sets such as "yeast", found there by the pattern of
              the names of their files.
            * "folder:PATH", nested folders of images; "labels:PATH", images with a labels.json.
            * "table:PATH", a .csv or .parquet file with features and labels, see
              :mod:`hmc_shared.data.table`.
            * "hf:PATH", a folder that `hmc datasets export` wrote; "hf:OWNER/NAME", a dataset repository of
              the Hugging Face hub that holds one. With ``levels``, any data set of the `datasets` library,
              see :mod:`hmc_shared.data.label_columns`.
        data_dir: folder with the files of sets that are not embedded; default the environment variable
            HMC_DATA.
        view: "vector" or "image", where a set has both: the embedded ones give flattened, standardised
            float32 or uint8 pixels. Default: the only one, and "vector" for the embedded sets.
        protocol: how feature vectors are preprocessed, see :func:`hmc_shared.data.preprocessing.prepare`.
        levels: columns of labels, coarse to fine, of a "table:" or "hf:" set: a list, or text with commas.

    Raises ValueError, listing what is known, for an unknown name; for an unknown view or protocol, or a view
    or levels that the set does not have; and, naming file and line, for a damaged or missing file.
    """
    if view not in (None, "vector", "image"):
        raise ValueError(f"`view` should be 'vector' or 'image'. Found {view!r}.")
    if protocol not in ("default", "paper"):
        raise ValueError(f"`protocol` should be 'default' or 'paper'. Found {protocol!r}.")
    source, _, path = name.partition(":")
    if levels is not None and source.lower() not in ("hf", "table"):
        raise ValueError(
            f"`--levels` should be given for hf:PATH and table:PATH only. Found it for {name!r}."
        )
    if source.lower() == "table":
        from hmc_shared.data import table

        dataset = table.load(path, protocol, levels)
    elif levels is not None:
        from hmc_shared.data import label_columns

        dataset = label_columns.load(path, levels, protocol)
    else:
        dataset = _load(name, data_dir or os.environ.get("HMC_DATA"), view, protocol)
    if view not in (None, dataset.kind):
        content = "images" if dataset.kind == "image" else "feature vectors"
        raise ValueError(
            f"`view` should be {dataset.kind!r} for {name!r}, a set of {content}. Found {view!r}."
        )
    return dataset


def _load(
    name: str, data_dir: str | Path | None, view: Literal["vector", "image"] | None, protocol: Protocol
) -> HierarchicalDataset:
    # Readers are imported where they are used: torch and scikit-learn take seconds.
    match name.lower().split(":")[0]:
        case "digits":
            from hmc_shared.data import digits

            return digits.load(view or "vector")
        case "digit-scenes":
            from hmc_shared.data import digit_scenes

            return digit_scenes.load(view or "vector")
        case "hf":
            from hmc_shared.data import folder

            return folder.load(name[len("hf:") :])
        case "folder":
            from hmc_shared.data import image_folder

            return image_folder.load(name[len("folder:") :])
        case "labels":
            from hmc_shared.data import labelled_images

            return labelled_images.load(name[len("labels:") :])
    if not data_dir:
        known = ", ".join(EMBEDDED)
        raise ValueError(f"{name!r} is not an embedded data set ({known}): pass `data_dir` or set HMC_DATA.")
    if name.lower().startswith(("voc2007-", "coco2014-")) and not name.lower().endswith("-tree"):
        from hmc_shared.data import fewshot

        return fewshot.load(name.lower(), data_dir)
    match name.lower():
        case "cifar100":
            from hmc_shared.data import cifar100

            return cifar100.load(data_dir)
        case "cifar-scenes":
            from hmc_shared.data import cifar_scenes

            return cifar_scenes.load(data_dir)
        case "coco" | "coco2014" | "coco2017" | "coco2014-tree" | "coco2017-tree":
            from hmc_shared.data import coco

            return coco.load("coco2014" if name.lower() == "coco" else name.lower(), data_dir)
        case "coco-lt" | "voc-lt":
            from hmc_shared.data import split_lists

            return split_lists.load(name.lower(), data_dir)
        case "fgvc-aircraft" | "fgvc-aircraft-boxes":
            from hmc_shared.data import fgvc_aircraft

            return fgvc_aircraft.load(name.lower(), data_dir)
        case "grocery":
            from hmc_shared.data import grocery

            return grocery.load(data_dir)
        case "mirflickr":
            from hmc_shared.data import mirflickr

            return mirflickr.load(data_dir)
        case "nuswide" | "nuswide21":
            from hmc_shared.data import nuswide

            return nuswide.load(name.lower(), data_dir)
        case "voc2007" | "voc2012":
            from hmc_shared.data import voc

            return voc.load(name.lower(), data_dir)
    from hmc_shared.data import clus, mulan
    from hmc_shared.data.files import LABELS, find_files

    name, files = find_files(name, data_dir)
    return (mulan if LABELS in files else clus).load(name, files, protocol)
