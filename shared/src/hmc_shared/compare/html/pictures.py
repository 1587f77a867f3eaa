"""Pictures of test samples, taken from the data set of a run, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.image import imsave

from hmc_shared.compare.comparison import ComparisonTable
from hmc_shared.data import ImageTable, load_dataset
from hmc_shared.data.catalog import EMBEDDED

SIDE = 160
"""Longest side of a thumbnail, in pixels."""


def sample_pictures(table: ComparisonTable, ids: Sequence[str], data_dir: Path | None) -> dict[str, str]:
    """Data URIs of PNG images by sample id.

    A run folder may come from anybody, and says itself what its data set is: nothing is read but embedded
    sets and what lies in ``data_dir``.

    Raises ValueError if the data set has no images, is not there, or has changed.
    """
    run = table.rows[0].runs[0]
    name = str(run.options.get("dataset") or run.dataset)
    check_place(name, data_dir)
    dataset = load_dataset(
        name,
        data_dir,
        view="image",
        levels=run.options.get("levels"),
        on_error=run.options.get("on_error", "refuse"),
    )
    if dataset.checksum != run.fingerprint["dataset checksum"]:
        raise ValueError(f"{name!r} is not the data set of the runs: their checksums differ.")
    row_of = {sample: row for row, sample in enumerate(dataset.test.ids)}
    unknown = [sample for sample in ids if sample not in row_of]
    if unknown:
        raise ValueError(f"{name!r} has no test sample {unknown[0]!r}.")
    inputs = dataset.test.inputs
    if not isinstance(inputs, ImageTable) and inputs.ndim != 4:
        raise ValueError(f"{name!r} has no images.")
    return {sample: png(thumbnail(np.asarray(inputs[row_of[sample]]))) for sample in ids}


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


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """(channels, height, width) uint8 to (h, w) grey or (h, w, 3), at most SIDE pixels long.

    A large image is reduced by means over blocks of pixels; a small one stays as it is.
    """
    step = min(-(-max(pixels.shape[1:]) // SIDE), *pixels.shape[1:])
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
