"""What makes vectors of images or texts: kept beside the table that it made, and in a model's folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from hmc_shared.data.choice import stored_window
from hmc_shared.embed.networks import open_network
from hmc_shared.embed.texts import TextFit
from hmc_shared.messages import reason, shown
from hmc_shared.object_files import read_json
from hmc_shared.resizing import Resize
from hmc_shared.runs.files import replacing

FILE, ARRAYS = "embedder.json", "embedder.safetensors"
VECTOR = "vector"
"""The column of the vectors."""
LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, eq=False)
class Embedder:
    """An encoder and what it takes.

    Vectors are rounded to float16, as the table holds them, so that a new input gets what a row got.
    """

    encoder: str
    """Such as "lite0", "timm:resnet18", or "tfidf"."""
    takes: Literal["images", "texts"]
    width: int
    """F, numbers in a vector."""
    columns: tuple[str, ...] = ()
    """Of a table, whose texts are joined with a blank."""
    image_size: int = 0
    """Side of the square that an image is brought to, in pixels."""
    resize: Resize = "crop"
    """How an image becomes that square."""
    window: tuple[float, float] | None = None
    """Percentiles of an image of more than 8 bits that become black and white."""
    weights: str = ""
    """SHA-256 of the weights of a network."""
    file: str = ""
    """Where they are, if they are not those of a library."""
    fit: TextFit | None = None
    """Of "tfidf"."""

    @property
    def features(self) -> tuple[str, ...]:
        """The F names of the features in the table."""
        return tuple(f"{VECTOR}[{place}]" for place in range(self.width))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (3, self.image_size, self.image_size)

    @property
    def source(self) -> str:
        """What the vectors are made of, for messages."""
        return "images" if self.takes == "images" else " and ".join(map(repr, self.columns))

    @cached_property
    def _encode(self) -> Callable[[Any], np.ndarray]:
        if self.fit is not None:
            return self.fit
        network = open_network(self.encoder, self.takes, self.image_size or None, self.file)
        if self.weights != network.weights:
            raise ValueError(
                f"the weights of {self.encoder} should be those that made the training vectors "
                f"(SHA-256 {self.weights[:12]}). Found {network.weights[:12]}: install the same release."
            )
        return network.encode

    def of_images(self, images: Tensor) -> np.ndarray:
        """(n, F) float16 of images (n, 3, height, width) uint8 of the encoder's size."""
        return to_float16(self._encode(images), self.encoder)

    def of_texts(self, texts: Sequence[str | None]) -> np.ndarray:
        """(n, F) float16 of texts; NaN where one is missing."""
        vectors = np.full((len(texts), self.width), np.nan, np.float16)
        there = [row for row, text in enumerate(texts) if text is not None]
        if there:
            vectors[there] = to_float16(self._encode([texts[row] for row in there]), self.encoder)
        return vectors

    def save(self, folder: str | Path) -> None:
        """Write embedder.json and, with terms, embedder.safetensors: no pickle."""
        content = {
            "encoder": self.encoder,
            "takes": self.takes,
            "width": self.width,
            "columns": self.columns,
            "image_size": self.image_size,
            "resize": self.resize,
            "window": self.window,
            "weights": self.weights,
            "file": self.file,
            "terms": None if self.fit is None else self.fit.terms,
        }
        if self.fit is not None:
            # In C's order: safetensors writes the memory as it lies.
            arrays = {name: np.ascontiguousarray(getattr(self.fit, name)) for name in ("idf", "components")}
            with replacing(Path(folder) / ARRAYS) as file:
                file.write(save(arrays))
        text = json.dumps(content, indent=None if self.fit else 2, ensure_ascii=False)
        with replacing(Path(folder) / FILE) as file:
            file.write((text + "\n").encode())


def load_embedder(folder: str | Path) -> Embedder | None:
    """What :meth:`Embedder.save` wrote; None without the file.

    Raises ValueError, naming the file, if it is damaged.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    content: Any = read_json(path)
    try:
        terms, fit = content.pop("terms"), None
        if terms is not None:
            if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
                raise ValueError(f"`terms` should be a list of words. Found {shown(terms)}.")
            arrays = load_file(path.with_name(ARRAYS))
            fit = TextFit(tuple(terms), arrays["idf"], arrays["components"])
        _check(content, fit)
        content["window"] = stored_window(content.get("window"))
        return Embedder(**content | {"columns": tuple(content["columns"]), "fit": fit})
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"{path} does not say how to embed: {reason(error)}") from error


def _check(content: Any, fit: TextFit | None) -> None:
    """Raise ValueError for a value of another type or out of its bounds."""
    columns = content["columns"]
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        raise ValueError(f"`columns` should be a list of names. Found {shown(columns)}.")
    rules = {
        "encoder": isinstance(content["encoder"], str),
        "takes": content["takes"] in ("images", "texts"),
        "columns": bool(columns) == (content["takes"] == "texts"),
        "width": type(content["width"]) is int and 0 < content["width"] <= 2**20,
        "image_size": type(content["image_size"]) is int and 0 <= content["image_size"] <= 2**12,
        "resize": content["resize"] in get_args(Resize),
        "weights": isinstance(content["weights"], str),
        "file": isinstance(content["file"], str),
    }
    if wrong := [name for name, holds in rules.items() if not holds]:
        raise ValueError(f"`{wrong[0]}` should not be {shown(content[wrong[0]])}.")
    if fit is not None and len(fit) != content["width"]:
        raise ValueError(f"`width` should be {len(fit)}. Found {content['width']}.")


def to_float16(vectors: np.ndarray, origin: str, first: int = 0) -> np.ndarray:
    """Raise ValueError for numbers that float16 does not hold; ``first`` is the number of the first row."""
    with np.errstate(over="ignore"):
        narrow = np.asarray(vectors).astype(np.float16)
    if np.isinf(narrow).any():
        row = int(np.isinf(narrow).any(1).argmax())
        raise ValueError(
            f"{origin}, row {first + row + 1}: numbers of vectors should be at most {LARGEST:g}, as float16 "
            f"holds them. Found {np.abs(vectors[row]).max():g}: divide them."
        )
    return narrow
