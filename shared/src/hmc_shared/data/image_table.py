"""Encoded images in memory-mapped Arrow tables: each is decoded when it is read."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from hmc_shared.data.dicom import SUFFIXES as DICOM_SUFFIXES
from hmc_shared.data.dicom import dicom_size, is_dicom, open_dicom
from hmc_shared.extras import needed
from hmc_shared.messages import reason

if TYPE_CHECKING:
    import datasets

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded, whatever the suffix. Others of Pillow's may start programs, as EPS does Ghostscript."""
SUFFIXES = {
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
    *DICOM_SUFFIXES,
}
"""Suffixes of the files in a folder that are read as images."""
BATCH = 64  # rows in memory while a table is written
BAND = 2**22  # pixels of a large image that are converted at a time
Window = tuple[float, float]
"""Percentiles of an image's own numbers that become black and white."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's: hidden, or what macOS adds to an archive."""
    return name.startswith(".") or name == "__MACOSX"


class ImageTable:
    """n images of any sizes, as their source encodes them: ``table[row]`` is (3, height, width) uint8, RGB.

    They are decoded by :func:`decode`. Only paths and row numbers are pickled, so a table goes to data
    loading processes cheaply.

    Args:
        files: the Arrow files of a `datasets` folder, in order.
        rows: (n,) row numbers in these files; default all.
        boxes: (n, 4) left, top, right, bottom in pixels of the encoded image; only that part is shown.
        origin: where the images come from, for messages; default the folder of the files.
        window: of deep images, see :func:`decode`.
    """

    def __init__(
        self,
        files: Sequence[Path],
        rows: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
        origin: Path | None = None,
        window: Window | None = None,
    ) -> None:
        self.window = window
        self.files = tuple(files)
        self.origin = origin or self.files[0].parent
        self.rows = np.arange(self._table.num_rows) if rows is None else np.asarray(rows, dtype=np.int64)
        self.boxes = boxes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Tensor:
        """Decode one image. Raises ValueError, naming file and image, if it is damaged."""
        try:
            pixels = decode(self.encoded(row), None if self.boxes is None else self.boxes[row], self.window)
        except ValueError as error:
            raise ValueError(f"{self.origin}: {self.name(row)!r} {error}") from error
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def __add__(self, other: ImageTable) -> ImageTable:
        """The images of both, one after the other."""
        rows = np.concatenate([self.rows, other.rows + self._table.num_rows])
        joined = ImageTable(self.files + other.files, rows, origin=self.origin, window=self.window)
        if self.boxes is not None or other.boxes is not None:
            joined.boxes = np.concatenate([self._frames(), other._frames()])
        return joined

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_table"}

    def select(self, rows: np.ndarray) -> ImageTable:
        """The images in some rows (m,), as a table over the same files."""
        boxes = None if self.boxes is None else self.boxes[rows]
        return ImageTable(self.files, self.rows[rows], boxes, self.origin, self.window)

    def crop(self, boxes: np.ndarray) -> ImageTable:
        """The same images, each cropped to its box: (n, 4) left, top, right, bottom.

        Raises ValueError, naming the image, for a box that is empty or not inside an undamaged image.
        """
        width, height = ImageTable(self.files, self.rows).sizes.T
        left, top, right, bottom = boxes.T
        outside = (
            (left < 0) | (top < 0) | (left >= right) | (top >= bottom) | (right > width) | (bottom > height)
        ) & (width > 0)
        if outside.any():
            row = int(outside.argmax())
            size = f"{self.name(row)!r} has {width[row]} x {height[row]} pixels"
            raise ValueError(f"`boxes` should lie in the image: {size}. Found {boxes[row].tolist()}.")
        return ImageTable(self.files, self.rows, boxes, self.origin, self.window)

    def with_window(self, window: Window | None) -> ImageTable:
        """The same images, deep ones through another window."""
        return ImageTable(self.files, self.rows, self.boxes, self.origin, window)

    def name(self, row: int) -> str:
        """What the image is called in its source."""
        return self._column("id")[self.rows[row]].as_py()

    def encoded(self, row: int) -> bytes:
        """The bytes of one image as in its source."""
        return self._column("image.bytes")[self.rows[row]].as_py()

    @property
    def sizes(self) -> np.ndarray:
        """(n, 2) width and height in pixels, before any EXIF orientation; 0 for what is not an image."""
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
        table = pa.concat_tables(part.select(columns) for part in parts).flatten()
        table.validate(full=True)  # offsets that lie would be followed out of the memory; pixels are not read
        return table


def decode(content: bytes, box: np.ndarray | None = None, window: Window | None = None) -> np.ndarray:
    """(height, width, 3) uint8 RGB pixels of an encoded image, or of the part in ``box``.

    Grey, palette and CMYK images become RGB, transparency is dropped, the first of several frames is taken,
    and the EXIF orientation is applied. Deeper images are scaled by what their type can hold, never by their
    own brightest pixel, so that equal numbers are equal grey in all images: 16 and 32 bits from 0 to 65535,
    12 bits from 0 to 4095, floats from 0 to 1. What such a scale would make black or white is refused:
    numbers outside, NaN, and 16 bits of which only 12 or fewer are used. With a ``window``, a low and a high
    percentile, deep grey images are scaled between these percentiles of their own numbers instead.

    Of DICOM the first frame is taken, see :func:`hmc_shared.data.dicom.open_dicom`.

    Raises ValueError, a sentence without its subject, if the content is damaged, of another format, deeper
    than that, or larger than Pillow's limit of 89 million pixels.
    """
    from PIL import ImageOps  # optional: the extra `images`

    image = open_dicom(content, is_scaled=window is None) if is_dicom(content) else _open(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about broken EXIF blocks, once for each image
            scale = _scale(image, window)
            if box is not None:
                left, top, right, bottom = box.tolist()
                if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
                    raise ValueError(
                        f"the box {box.tolist()} lies outside its {image.width} x {image.height}"
                    )
                image = image.crop((left, top, right, bottom))
            ImageOps.exif_transpose(image, in_place=True)
            pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
            for rows, band in _bands(image):
                if scale is None:
                    pixels[rows] = np.asarray(band.convert("RGB"))
                else:
                    values = (np.asarray(band) - np.float32(scale[0])) * np.float32(scale[1])
                    pixels[rows] = np.clip(values, 0, 255.999).astype(np.uint8)[..., None]
            return pixels
    except Exception as error:  # Pillow's decoders raise anything on damaged files
        raise ValueError(f"cannot be decoded: {_reason(error)}") from error


def _scale(image: Any, window: Window | None) -> tuple[float, float] | None:
    """What is taken off the numbers of a deep grey image, and what they are multiplied by, to be below 256.

    None for 8 bits a channel, and what Pillow makes 8 bits of.

    Raises ValueError for an image of which that would leave nothing to see.
    """
    raw = str(getattr(image, "tile", ""))  # of the file's own numbers; gone when it is loaded
    if image.mode[0] not in "IF":
        deep = ";16" in raw and image.mode in ("LA", "RGB", "RGBA")  # Pillow keeps the upper 8 bits
        if deep and max(high for _, high in image.getextrema()[: 1 if image.mode == "LA" else 3]) < 16:
            raise ValueError(
                "it has 16 bits a channel and no number above 4095, too dark: convert it to 8 bits"
            )
        return None
    if window is not None:
        low, high = np.percentile(np.asarray(image), window)
        if not np.isfinite(high - low):
            raise ValueError("its numbers should be finite")
        return float(low), 255.999 / float(high - low) if high > low else 0.0
    limits = [(array.min(), array.max()) for array in (np.asarray(band) for _, band in _bands(image))]
    low, high = np.min(limits), np.max(limits)  # NaN if there is one
    most = 1 if image.mode == "F" else 4095 if ";12" in raw else 65535
    if not 0 <= low <= high <= most:
        raise ValueError(
            f"its numbers should lie in 0 to {most}. Found {low:g} to {high:g}: convert it to 8 bits"
        )
    if most == 65535 and high < 4096 and image.format != "PPM":  # whose header says the largest number
        raise ValueError("it has 16 bits or more and no number above 4095, too dark: convert it to 8 bits")
    return 0.0, 255.999 / most if image.mode == "F" else 256 / (most + 1)


def _bands(image: Any) -> Iterator[tuple[slice, Any]]:
    """Rows of an image, and the image of them, a few million pixels at a time: copies stay small."""
    step = max(1, BAND // image.width)
    if image.height <= step:
        yield slice(None), image
        return
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


def image_size(content: bytes) -> tuple[int, int]:
    """Width and height from the header of an encoded image. Raises ValueError as :func:`decode` does."""
    return dicom_size(content) if is_dicom(content) else _open(content).size


def _open(content: bytes) -> Any:
    from PIL import Image  # optional: the extra `images`

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception as error:
        raise ValueError(f"is not an image that Pillow can read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    # Pillow names the BytesIO object, which says nothing.
    text = reason(error)
    return f"none of {', '.join(FORMATS)}" if "cannot identify image file" in text else text


def write_images(
    path: Path, rows: Iterable[Mapping[str, Any]], more: Mapping[str, Any] | None = None
) -> datasets.Dataset:
    """Write rows with ``id`` and ``image`` (bytes) to one Arrow file, in batches, and map it into memory.

    ``more`` are the `datasets` features of further columns. Width and height are added, 0 for bytes that are
    not an image.
    """
    import datasets  # slow to import, and only needed to write

    number = datasets.Value("int32")
    features = {"id": datasets.Value("string"), "image": datasets.Image(), "width": number, "height": number}
    schema = datasets.Features({**features, **(more or {})}).arrow_schema
    rows = map(_with_size, rows)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        while batch := list(islice(rows, BATCH)):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
    return datasets.Dataset.from_file(str(path))


def _with_size(row: Mapping[str, Any]) -> dict[str, Any]:
    if is_dicom(row["image"]):
        needed(
            "pydicom", "dicom", f"{row['id']}, a DICOM file,"
        )  # here, or the cache would say it is damaged
    try:
        width, height = image_size(row["image"])
    except ValueError:  # found, and named, by hmc_shared.data.image_check
        width, height = 0, 0
    image = {"bytes": row["image"], "path": Path(row["id"]).name}
    return {**row, "image": image, "width": width, "height": height}


def needs_pillow(what: str) -> None:
    """Raise ValueError, saying how to install it, if Pillow is missing."""
    try:
        import PIL  # noqa: F401  # pyright: ignore[reportUnusedImport] - optional: the extra `images`
    except ModuleNotFoundError:
        raise ValueError(f"{what} needs Pillow: pip install hmc-shared[images]") from None
