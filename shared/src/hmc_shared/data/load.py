"""A data set by its name, in any case.

Names are:

* "digits", "digit-scenes" and "products", which is vectors alone, need no file.
* Image sets, whose folder is found in ``data_dir`` or up to two folders below: "cifar100", and
  "cifar-scenes" composed of it; "coco2014" (also "coco") and "coco2017", with "-tree" below their
  supercategories; "fgvc-aircraft" and "fgvc-aircraft-boxes", cropped to the bounding boxes, and of each its
  first two levels, "fgvc-aircraft-families" and "fgvc-aircraft-families-boxes";
  "grocery"; "mirflickr"; "nuswide" and "nuswide21", the 21 most frequent concepts; "voc2007";
  "voc2012"; "coco-lt" and "voc-lt", long-tailed parts of coco2017 and voc2012.
* Few-shot settings of voc2007 and coco2014: "voc2007-base", "voc2007-1shot-1" to "-10",
  "voc2007-5shot-1" to "-10", see :mod:`hmc_shared.data.benchmarks.fewshot`.
* CLUS sets such as "cellcycle_FUN", Mulan sets such as "yeast" and MEKA sets, found there by the pattern of
  the names of their files.
* "folder:PATH", nested folders of images; "labels:PATH", images with a labels.json, or with a
  .csv or .parquet file of paths and labels, see :mod:`hmc_shared.data.formats.image_rows`.
* "table:PATH", a .csv or .parquet file with features and labels, see
  :mod:`hmc_shared.data.formats.table`.
* "hf:PATH", a folder that `hmc datasets export` wrote; "hf:OWNER/NAME", a dataset repository of
  the Hugging Face hub that holds one. With ``levels``, any data set of the `datasets` library,
  see :mod:`hmc_shared.data.formats.hf_columns`.
* Whatever other distributions add by the entry points ``hmc.datasets``.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Literal, get_args

from hmc_shared.data.catalog import FORMATS, Entry, find_entry
from hmc_shared.data.choice import FeatureChoice
from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.image_check import OnError, check_images, with_window
from hmc_shared.data.presence import data_folder
from hmc_shared.data.storage.find import LABELS, find_files
from hmc_shared.unsure import Blank, Uncertain
from hmc_shared.waiting import waiting

View = Literal["vector", "image"]


def load_dataset(
    name: str,
    data_dir: str | Path | None = None,
    *,
    view: View | None = None,
    protocol: Literal["default", "paper"] = "default",
    levels: str | Sequence[str] | None = None,
    features: Sequence[str] = (),
    drop: Sequence[str] = (),
    categorical: Sequence[str] = (),
    evidence: Sequence[str] = (),
    uncertain: Uncertain = "refuse",
    blank: Blank = "refuse",
    window: str | None = None,
    on_error: OnError = "refuse",
    workers: int = 0,
    set_aside: float = 0.0,
) -> HierarchicalDataset:
    """Load a data set by name, in any case. All its images can be decoded: each is tried once.

    Args:
        name: one of those that :mod:`hmc_shared.data.load` lists, in any case.
        data_dir: folder with the files of sets that are not embedded; default the environment variable
            HMC_DATA.
        view: "vector" or "image", where a set has both: digits give flattened float32 or uint8 pixels.
            Default: the only one, and "vector" for digits.
        protocol: how feature vectors are preprocessed, see :mod:`hmc_shared.data.preprocessing`.
        levels: columns of labels, coarse to fine, of a "table:", "labels:" or "hf:" set: a list, or text
            with commas.
        features, drop, categorical: columns of such a set, see :class:`hmc_shared.data.choice.FeatureChoice`.
        evidence: codes that count in a .gaf file beside a table; none: all.
        uncertain, blank: what -1 and an empty cell are, in a "labels:" table of 0 and 1.
        window: percentiles, such as "1,99", between which deep images are scaled; default: by their type.
        on_error: "refuse" images that cannot be decoded, or "skip" them.
        workers: processes that try the images.
        set_aside: share of the validation rows that becomes the split "reserved".

    Raises ValueError, listing what is known, for an unknown name; for an unknown view or protocol, or a view,
    levels or columns that the set does not have; and, naming file and line, for a damaged or missing file.
    """
    _check_choice("view", view, (None, "vector", "image"))
    _check_choice("protocol", protocol, ("default", "paper"))
    _check_choice("on_error", on_error, ("refuse", "skip"))
    source, _, path = name.partition(":")
    choice = FeatureChoice(tuple(features), tuple(drop), tuple(categorical))
    _check_columns(name, levels, choice)
    if evidence and source.lower() != "table":
        raise ValueError(f"`--evidence` is for table:PATH only. Found it for {name!r}.")
    _check_unsure(name, uncertain, blank)
    options: dict[str, object] = {"protocol": protocol, "view": view or "vector", "path": path}
    options |= {"levels": levels, "choice": choice, "evidence": tuple(evidence)}
    options |= {"uncertain": uncertain, "blank": blank}
    with waiting(f"reading {name}"):
        if ":" in name and source.lower() in FORMATS:
            form = "hf with --levels" if source.lower() == "hf" and levels is not None else source.lower()
            dataset = _read(FORMATS[form], options)
        else:
            dataset = _load_benchmark(name, data_folder(name, data_dir), options)
    _check_kind(dataset, name, view)
    return check_images(with_window(dataset, window), on_error, workers).set_aside(set_aside)


def _check_kind(dataset: HierarchicalDataset, name: str, view: View | None) -> None:
    if view not in (None, dataset.kind):
        wanted, content = ("images", "feature vectors") if view == "image" else ("feature vectors", "images")
        raise ValueError(f"`--dataset` should have {wanted}. Found the {content} of {name!r}.")


def _check_columns(name: str, levels: str | Sequence[str] | None, choice: FeatureChoice) -> None:
    source = name.partition(":")[0].lower()
    if levels is not None and source not in ("hf", "table", "labels"):
        raise ValueError(
            f"`--levels` is for hf:PATH, table:PATH and labels:PATH only. Found it for {name!r}."
        )
    if choice and source != "table" and not (source == "hf" and levels is not None):
        raise ValueError(
            f"{choice.option} is for table:PATH, and hf:PATH with --levels, only. Found it for {name!r}."
        )


def _check_unsure(name: str, uncertain: Uncertain, blank: Blank) -> None:
    for option, value, choices in (("uncertain", uncertain, Uncertain), ("blank", blank, Blank)):
        _check_choice(option, value, get_args(choices))
        if value != "refuse" and not name.lower().startswith("labels:"):
            raise ValueError(f"`--{option}` is for labels:PATH only. Found it for {name!r}.")


def _check_choice(name: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        names = " or ".join(repr(choice) for choice in choices if choice)
        raise ValueError(f"`{name}` should be {names}. Found {value!r}.")


def _load_benchmark(
    name: str, data_dir: str | Path | None, options: dict[str, object]
) -> HierarchicalDataset:
    entry = find_entry(name)
    if entry and entry.kind in ("embedded", "images", "added"):
        return _read(entry, options | {"name": entry.name, "data_dir": data_dir})
    name, files = find_files(name, data_dir or "")
    module = "mulan" if LABELS in files else "clus"
    entry = Entry(name, "Mulan", f"hmc_shared.data.benchmarks.{module}:load")
    return _read(entry, options | {"name": name, "files": files})


def _read(entry: Entry, options: dict[str, object]) -> HierarchicalDataset:
    """Call the reader with those options that its parameters are named after."""
    reader = entry.load_reader()
    return reader(**{key: options[key] for key in signature(reader).parameters if key in options})
