"""Encoded images in memory-mapped Arrow tables: each is decoded when it is read."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

if TYPE_CHECKING:
    import datasets

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""Suffixes of the files in a folder that are read as images."""
BATCH = 64  # rows in memory while a table is written


class ImageTable:
    """n images of any sizes, as their source encodes them: ``table[row]`` is (3, height, width) uint8, RGB.

    Grey, palette, CMYK and 16-bit images become RGB, transparency is dropped, and the EXIF orientation is
    applied. Only paths and row numbers are pickled, so a table goes to data loading processes cheaply.

    Args:
        files: the Arrow files of a `datasets` folder, in order.
        rows: (n,) row numbers in these files; default all.
        boxes: (n, 4) left, top, right, bottom in pixels of the encoded image; only that part is shown.
    """

    def __init__(
        self, files: Sequence[Path], rows: np.ndarray | None = None, boxes: np.ndarray | None = None
    ) -> None:
        self.files = tuple(files)
        self.rows = np.arange(self._table.num_rows) if rows is None else np.asarray(rows, dtype=np.int64)
        self.boxes = boxes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Tensor:
        """Decode one image. Raises ValueError, naming file and image, if it is damaged."""
        try:
            pixels = decode(self.encoded(row), None if self.boxes is None else self.boxes[row])
        except ValueError as error:
            raise ValueError(f"{self.files[0].parent}: {self.name(row)!r} {error}") from error
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def __add__(self, other: ImageTable) -> ImageTable:
        """The images of both, one after the other."""
        rows = np.concatenate([self.rows, other.rows + self._table.num_rows])
        joined = ImageTable(self.files + other.files, rows)
        if self.boxes is not None or other.boxes is not None:
            joined.boxes = np.concatenate([self._frames(), other._frames()])
        return joined

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_table"}

    def select(self, rows: np.ndarray) -> ImageTable:
        """The images in some rows (m,), as a table over the same files."""
        return ImageTable(self.files, self.rows[rows], None if self.boxes is None else self.boxes[rows])

    def crop(self, boxes: np.ndarray) -> ImageTable:
        """The same images, each cropped to its box: (n, 4) left, top, right, bottom.

        Raises ValueError, naming the image, for a box that is empty or not inside.
        """
        width, height = ImageTable(self.files, self.rows).sizes.T
        left, top, right, bottom = boxes.T
        outside = (
            (left < 0) | (top < 0) | (left >= right) | (top >= bottom) | (right > width) | (bottom > height)
        )
        if outside.any():
            row = int(outside.argmax())
            size = f"{self.name(row)!r} has {width[row]} x {height[row]} pixels"
            raise ValueError(f"`boxes` should lie in the image: {size}. Found {boxes[row].tolist()}.")
        return ImageTable(self.files, self.rows, boxes)

    def name(self, row: int) -> str:
        """What the image is called in its source."""
        return self._column("id")[self.rows[row]].as_py()

    def encoded(self, row: int) -> bytes:
        """The bytes of one image as in its source."""
        return self._column("image.bytes")[self.rows[row]].as_py()

    @property
    def sizes(self) -> np.ndarray:
        """(n, 2) width and height in pixels, before any EXIF orientation."""
        frames = self._frames()
        return frames[:, 2:] - frames[:, :2]

    def _frames(self) -> np.ndarray:
        """(n, 4) the part shown of each image."""
        if self.boxes is not None:
            return self.boxes
        width, height = (self._column(name).to_numpy()[self.rows] for name in ("width", "height"))
        return np.stack([np.zeros_like(width), np.zeros_like(height), width, height], axis=1)

    def _column(self, name: str) -> pa.ChunkedArray:
        return self._table[name]

    @cached_property
    def _table(self) -> pa.Table:
        parts = [pa.ipc.open_stream(pa.memory_map(str(file))).read_all() for file in self.files]
        columns = ["id", "image", "width", "height"]
        return pa.concat_tables(part.select(columns) for part in parts).flatten()


def decode(content: bytes, box: np.ndarray | None = None) -> np.ndarray:
    """(height, width, 3) uint8 RGB pixels of an encoded image, or of the part in ``box``.

    Raises ValueError, a sentence without its subject, if the content is damaged.
    """
    from PIL import Image, ImageOps  # optional: the extra `images`

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about broken EXIF blocks, once for each image
            image = Image.open(io.BytesIO(content))
            if box is not None:
                left, top, right, bottom = box.tolist()
                image = image.crop((left, top, right, bottom))
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16 bits a pixel: Pillow would clip them to 255
                image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
            return np.array(image.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise anything on damaged files
        raise ValueError(f"cannot be decoded: {error}") from error


def image_size(content: bytes) -> tuple[int, int]:
    """Width and height from the header of an encoded image.

    Raises ValueError, a sentence without its subject, if it is not an image or too large for Pillow.
    """
    from PIL import Image  # optional: the extra `images`

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(content)).size
    except Exception as error:
        raise ValueError(f"is not an image that Pillow can read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    # Pillow names the BytesIO object, which says nothing.
    text = str(error)
    return "unknown format" if "cannot identify image file" in text else text


def write_images(
    path: Path, rows: Iterable[Mapping[str, Any]], origin: Path, more: Mapping[str, Any] | None = None
) -> datasets.Dataset:
    """Write rows with ``id`` and ``image`` (bytes) to one Arrow file, in batches, and map it into memory.

    ``more`` are the `datasets` features of further columns. Width and height are added. Raises ValueError,
    naming ``origin`` and id, for bytes that are not an image.
    """
    import datasets  # slow to import, and only needed to write

    number = datasets.Value("int32")
    features = {"id": datasets.Value("string"), "image": datasets.Image(), "width": number, "height": number}
    schema = datasets.Features({**features, **(more or {})}).arrow_schema
    rows = (_with_size(row, origin) for row in rows)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        while batch := list(islice(rows, BATCH)):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
    return datasets.Dataset.from_file(str(path))


def _with_size(row: Mapping[str, Any], origin: Path) -> dict[str, Any]:
    try:
        width, height = image_size(row["image"])
    except ValueError as error:
        raise ValueError(f"{origin}: {row['id']!r} {error}") from error
    image = {"bytes": row["image"], "path": Path(row["id"]).name}
    return {**row, "image": image, "width": width, "height": height}


def needs_pillow(what: str) -> None:
    """Raise ValueError, saying how to install it, if Pillow is missing."""
    try:
        import PIL  # noqa: F401  # pyright: ignore[reportUnusedImport] - optional: the extra `images`
    except ModuleNotFoundError:
        raise ValueError(f"{what} needs Pillow: pip install hmc-shared[images]") from None
