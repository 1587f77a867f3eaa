"""Export of a data set to a `datasets` folder, and the way back: ``load_dataset("hf:PATH")``.

The folder holds a ``DatasetDict`` of train, validation and test with the columns ``id``, ``inputs`` (flat),
``labels`` (ids of the classes, ancestors included) and perhaps ``caption``; ``hierarchy.json``; and
``dataset.json`` with the rest: name, kind, shape of one input, evaluated classes, sources, notes. Images that
are kept as their source encodes them stand in the columns ``image``, ``width``, ``height`` and perhaps
``box`` instead of ``inputs``, and the shape is null.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from hmc_shared.data.dataset import HierarchicalDataset, Split
from hmc_shared.data.image_table import ImageTable, needs_pillow, write_images
from hmc_shared.data.storage.cache import DAMAGED, save_quietly
from hmc_shared.data.storage.hub import download
from hmc_shared.embed.embedder import load_embedder
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import reason
from hmc_shared.object_files import LARGEST_JSON, read_json, read_text


def export(dataset: HierarchicalDataset, folder: str | Path) -> None:
    """Write ``dataset``, inputs as they are, to ``folder``. Raises ValueError if the folder is not empty."""
    dataset.refuse_unknown("hmc datasets export")
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} should be a new or an empty folder. Found files in it.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        tables = datasets.DatasetDict()
        for name, split in dataset.splits.items():
            if isinstance(split.inputs, ImageTable):
                tables[name] = _image_table(split, split.inputs, Path(temporary, name))
            else:
                tables[name] = _vector_table(split, split.inputs)
        save_quietly(tables, folder)
    (folder / "hierarchy.json").write_text(dataset.hierarchy.to_json(), encoding="utf-8")
    rest = {
        "name": dataset.name,
        "kind": dataset.kind,
        "input_shape": None
        if isinstance(dataset.train.inputs, ImageTable)
        else list(dataset.train.inputs.shape[1:]),
        "not_evaluated": [
            dataset.hierarchy.names[i] for i in (~dataset.evaluated).nonzero().flatten().tolist()
        ],
        "feature_mean": _as_list(dataset.feature_mean),
        "feature_scale": _as_list(dataset.feature_scale),
        "sources": dataset.sources,
        "notes": list(dataset.notes),
        "published_counts": None if dataset.published_counts is None else dataset.published_counts.tolist(),
        "feature_names": list(dataset.feature_names),
    }
    if dataset.embedder is not None:
        dataset.embedder.save(folder)
    (folder / "dataset.json").write_text(json.dumps(rest, indent=2, ensure_ascii=False), encoding="utf-8")


def load(path: str) -> HierarchicalDataset:
    """Read an exported folder back, bit for bit.

    ``path`` is the folder, or the id "owner/name" of a dataset repository on the Hugging Face hub that holds
    its files. Raises ValueError naming the folder, and what is missing or damaged in it.
    """

    folder = Path(path).expanduser()
    if not folder.is_dir():
        folder = download(path)
    if not (folder / "dataset.json").is_file():
        raise ValueError(
            f"{folder} is not a folder that `hmc datasets export` wrote: it has no dataset.json. For any "
            "other data set of `datasets`, name its columns of labels by `--levels`."
        )
    try:
        tables = datasets.DatasetDict.load_from_disk(str(folder))
        for rows in tables.values():
            rows.data.validate(full=True)  # offsets that lie would be followed out of the memory
        hierarchy = Hierarchy.from_json(read_text(folder / "hierarchy.json", LARGEST_JSON))
        rest = read_json(folder / "dataset.json")
        splits: dict[str, Any] = {
            name: _split(tables[name].data.table, folder / name, rest["input_shape"], hierarchy)
            for name in ("train", "validation", "test")
        }
        left_out, published = set(rest["not_evaluated"]), rest.get("published_counts")
        return HierarchicalDataset(
            name=rest["name"],
            hierarchy=hierarchy,
            evaluated=torch.tensor([name not in left_out for name in hierarchy.names]),
            kind=rest["kind"],
            feature_mean=_as_tensor(rest["feature_mean"]),
            feature_scale=_as_tensor(rest["feature_scale"]),
            sources=rest["sources"],
            notes=tuple(rest["notes"]),
            published_counts=None if published is None else torch.tensor(published),
            feature_names=tuple(rest.get("feature_names", ())),
            embedder=load_embedder(folder),
            **splits,
        )
    except DAMAGED as error:
        raise ValueError(
            f"{folder} is not a folder that `hmc datasets export` wrote: {reason(error)}"
        ) from error


def _as_list(values: Tensor | None) -> list[float | None] | None:
    """A float64 vector as JSON numbers, which are exact; JSON has no inf, so that is null."""
    return None if values is None else [None if math.isinf(value) else value for value in values.tolist()]


def _as_tensor(values: list[float | None] | None) -> Tensor | None:
    if values is None:
        return None
    return torch.tensor([math.inf if value is None else value for value in values], dtype=torch.float64)


def _vector_table(split: Split, inputs: Tensor) -> datasets.Dataset:
    """The rows of a split as a table in memory."""
    from datasets.table import InMemoryTable

    flat = inputs.numpy().reshape(len(split), -1)
    columns = {
        "id": pa.array(split.ids),
        "inputs": pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1]),
        "labels": pa.array(list(_labels(split)), pa.list_(pa.int32())),
    }
    if split.captions:
        columns["caption"] = pa.array(split.captions)
    return datasets.Dataset(InMemoryTable(pa.table(columns)))


def _image_table(split: Split, images: ImageTable, path: Path) -> datasets.Dataset:
    """The rows of a split, written to ``path`` a few at a time."""
    from datasets import List, Value

    more: dict[str, Any] = {"labels": List(Value("int32"))}
    columns: dict[str, Iterable[Any]] = {
        "id": split.ids,
        "image": map(images.encoded, range(len(split))),
        "labels": (row.tolist() for row in _labels(split)),
    }
    if split.captions:
        more["caption"], columns["caption"] = Value("string"), split.captions
    if images.boxes is not None:
        more["box"], columns["box"] = List(Value("int32")), images.boxes.tolist()
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return write_images(path, rows, more)


def _labels(split: Split) -> Iterator[np.ndarray]:
    return (row.nonzero()[0] for row in split.targets.numpy())


def _split(table: pa.Table, folder: Path, shape: list[int] | None, hierarchy: Hierarchy) -> Split:
    """One split; ``folder`` holds the Arrow files of ``table``."""

    if shape is None:
        needs_pillow(str(folder.parent))
        inputs = ImageTable(sorted(folder.glob("*.arrow")))
        if "box" in table.column_names:
            inputs = inputs.crop(table["box"].combine_chunks().flatten().to_numpy().reshape(-1, 4))
    else:
        flat = table["inputs"].combine_chunks().flatten().to_numpy()
        inputs = torch.from_numpy(flat.reshape(len(table), *shape).copy())
    labels = table["labels"].combine_chunks()
    targets = torch.zeros(len(table), len(hierarchy), dtype=torch.bool)
    rows = np.repeat(np.arange(len(table)), labels.value_lengths().to_numpy())
    ids = labels.flatten().to_numpy()
    if ids.dtype.kind not in "iu" or (len(ids) and not 0 <= ids.min() <= ids.max() < len(hierarchy)):
        raise ValueError(f"`labels` should hold ids of {len(hierarchy)} classes, from 0.")
    targets[rows, ids.astype(np.int64)] = True
    if int(targets.sum()) != len(ids) or not hierarchy.has_ancestors(targets):  # such as a vector of 0 and 1
        raise ValueError("`labels` should hold each class of a row once, and its ancestors.")
    captions = tuple(table["caption"].to_pylist()) if "caption" in table.column_names else ()
    return Split(inputs, targets, tuple(table["id"].to_pylist()), captions)
