"""Pictures of test samples as data URIs, from the data set of a run or an archive of thumbnails."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import ZipFile

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.image import imsave

from hmc_shared.compare.comparison import ComparisonTable
from hmc_shared.compare.inspection import Inspection
from hmc_shared.data import ImageTable, load_dataset
from hmc_shared.data.catalog import EMBEDDED
from hmc_shared.messages import reason, shown
from hmc_shared.runs.read import load_run

SIDE, SMALL_SIDE = 160, 48
"""Longest side, in pixels, of the picture of a sample, and of one that stands for a class."""
LARGEST_THUMBNAIL = 64 << 10
"""Bytes of a picture in an archive of thumbnails."""
KINDS = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n": "image/png", b"RIFF....WEBP": "image/webp"}
"""How the content begins."""

Picture = Callable[[str, int], str]
"""From a sample id and the longest side to a data URI. Raises ValueError."""


@dataclass(frozen=True)
class Pictures:
    """What a report shows of the test samples of a table."""

    samples: dict[str, str] = field(default_factory=dict[str, str])
    """Sample id to data URI."""
    classes: dict[int, str] = field(default_factory=dict[int, str])
    """Class to the data URI of a sample that has it."""
    missing: str = ""
    """Why there are none."""


def take_pictures(table: ComparisonTable, inspection: Inspection, data_dir: Path | None) -> Pictures:
    """Those of the worst samples, and of the first sample of each class that is confused with a sibling.

    A run folder may come from anybody, and says itself what its data set is: nothing is read but embedded
    sets and what lies in ``data_dir``.
    """
    run = load_run(table.rows[0].runs[0].path)
    ids = [sample.id for sample in inspection.samples]
    confused = sorted({node for pair in inspection.confusions for node in (pair.true, pair.other)})
    rows = run.targets[:, confused].argmax(0)  # (k,) the first row of each class; of one without any, row 0
    example = {
        node: str(run.ids[row]) for node, row in zip(confused, rows, strict=True) if run.targets[row, node]
    }
    try:
        picture = open_thumbnails(run.results["dataset"]["name"], data_dir) or open_images(table, data_dir)
        samples = {sample: picture(sample, SIDE) for sample in ids}
        return Pictures(samples, {node: picture(sample, SMALL_SIDE) for node, sample in example.items()})
    except (ValueError, OSError) as error:
        return Pictures(missing=" ".join(str(error).split()))


def open_thumbnails(name: str, data_dir: Path | None) -> Picture | None:
    """The pictures in ``<data set>-thumbnails.zip`` of ``data_dir``, each a file named by its sample id.

    None if there is no such file. Raises ValueError, naming it, if it lies elsewhere or is damaged; and the
    picture of a sample does so, if it is not there, or too large, or neither JPEG nor PNG nor WebP.
    """
    if data_dir is None or not (path := data_dir / f"{name}-thumbnails.zip").is_file():
        return None
    if not path.resolve().is_relative_to(data_dir.resolve()):
        raise ValueError(f"{path} does not lie in {data_dir}, the folder of `--pictures`.")
    try:
        archive = ZipFile(io.BytesIO(path.read_bytes()))
    except Exception as error:  # zipfile and zlib raise several types for damaged content
        raise ValueError(f"{path} is not readable: {reason(error)}") from error

    def picture(sample: str, side: int) -> str:
        try:
            with archive.open(sample) as file:
                image = file.read(LARGEST_THUMBNAIL + 1)  # no more is unpacked
        except Exception as error:
            raise ValueError(f"{path} has no readable {shown(sample)}: {reason(error)}") from error
        kind = next((kind for start, kind in KINDS.items() if re.match(start, image, re.DOTALL)), None)
        if kind is None or len(image) > LARGEST_THUMBNAIL:
            rule = f"a JPEG, PNG or WebP of at most {LARGEST_THUMBNAIL >> 10} KiB"
            raise ValueError(f"{path}: {shown(sample)} should be {rule}.")
        return data_uri(image, kind)

    return picture


def open_images(table: ComparisonTable, data_dir: Path | None) -> Picture:
    """The pictures of a data set of images, as PNG.

    Raises ValueError if the data set has no images, is not there, or has changed; and the picture of a sample
    does so, if the data set has no such sample.
    """
    run = table.rows[0].runs[0]
    name = str(run.options.get("dataset") or run.dataset)
    check_place(name, data_dir)
    dataset = load_dataset(
        name,
        data_dir,
        view="image",
        levels=run.options.get("levels"),
        uncertain=run.options.get("uncertain", "refuse"),
        blank=run.options.get("blank", "refuse"),
        window=run.options.get("window"),
        on_error=run.options.get("on_error", "refuse"),
    )
    if dataset.checksum != run.fingerprint["dataset checksum"]:
        raise ValueError(f"{name!r} is not the data set of the runs: their checksums differ.")
    row_of = {sample: row for row, sample in enumerate(dataset.test.ids)}
    inputs = dataset.test.inputs
    if not isinstance(inputs, ImageTable) and inputs.ndim != 4:
        raise ValueError(f"{name!r} has no images.")

    def picture(sample: str, side: int) -> str:
        if sample not in row_of:
            raise ValueError(f"{name!r} has no test sample {sample!r}.")
        return png(thumbnail(np.asarray(inputs[row_of[sample]]), side))

    return picture


def check_place(name: str, data_dir: Path | None) -> None:
    """Raise ValueError unless the data set of this name is embedded, or can only lie in ``data_dir``."""
    if name.lower() in EMBEDDED:
        return
    if data_dir is None:
        raise ValueError(f"pass `--pictures` with the folder of {name!r} to show its images.")
    path = Path(name.partition(":")[2]).expanduser() if ":" in name else data_dir / name
    if not path.resolve().is_relative_to(data_dir.resolve()):
        raise ValueError(f"{name!r} does not lie in {data_dir}, the folder of `--pictures`.")
    if ":" in name and not path.exists():  # nor is anything downloaded
        raise ValueError(f"{name!r} is not a folder on this machine.")


def thumbnail(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """(channels, height, width) uint8 to (h, w) grey or (h, w, 3), at most ``side`` pixels long.

    A large image is reduced by means over blocks of pixels; a small one stays as it is.
    """
    step = min(-(-max(pixels.shape[1:]) // side), *pixels.shape[1:])
    height, width = (size // step * step for size in pixels.shape[1:])
    blocks = pixels[:, :height, :width].reshape(len(pixels), height // step, step, width // step, step)
    small = blocks.mean((2, 4)).round().astype(np.uint8)
    return small[0] if len(small) == 1 else small.transpose(1, 2, 0)


def png(pixels: np.ndarray) -> str:
    """(h, w) or (h, w, 3) uint8 as a data URI."""
    buffer = io.BytesIO()
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)  # as colours, which imsave writes as they are
    imsave(buffer, pixels, format="png")
    return data_uri(buffer.getvalue(), "image/png")


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def shade(value: float, low: float, high: float, colours: str = "viridis") -> tuple[str, str]:
    """Colour of a value on the scale from ``low`` to ``high``, and of text that is legible on it.

    ``colours`` is the name of a colour map of matplotlib.
    """
    if np.isnan(value):
        return "#eeeeee", "#666666"
    at = (value - low) / (high - low) if high > low else 1.0
    rgb = matplotlib.colormaps[colours](float(np.clip(at, 0, 1)))[:3]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    luminance = np.dot(linear, [0.2126, 0.7152, 0.0722])  # as WCAG defines it
    return to_hex(rgb), "#000000" if luminance > 0.18 else "#ffffff"
