"""DICOM files: the first frame as an image of Pillow. They need the extra `dicom`."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from hmc_shared.extras import needed
from hmc_shared.messages import reason

SUFFIXES = {".dcm", ".dicom"}
GREY = ("MONOCHROME1", "MONOCHROME2")


def is_dicom(content: bytes) -> bool:
    """Whether a file begins as one of DICOM: 128 bytes, and then DICM."""
    return content[128:132] == b"DICM"


def dicom_size(content: bytes) -> tuple[int, int]:
    """Width and height by the header. Raises ValueError, a sentence without its subject."""
    header = _read(content, stop_before_pixels=True)
    try:
        return int(header.Columns), int(header.Rows)
    except Exception as error:  # what is read on demand raises anything on damaged files
        raise ValueError(f"is no image of DICOM: {reason(error)}") from error


def open_dicom(content: bytes, *, is_scaled: bool) -> Any:
    """The first frame: RGB, or grey as floats (Pillow's mode F), large numbers bright.

    Stored numbers become those of the modality (rescale slope and intercept, PS3.3 C.11.1), and of
    MONOCHROME1, where low numbers are bright, their negatives. With ``is_scaled`` the window of the file, its
    first one, lies in 0 to 1, and without a window all numbers that its bits can store.

    Raises ValueError, a sentence without its subject, for a damaged file, and without pydicom.
    """
    from PIL import Image  # optional: the extra `images`

    file = _read(content)
    pixels = needed("pydicom.pixels", "dicom", "it is a DICOM file, which")
    try:
        frame = pixels.pixel_array(file, index=0)
        if file.PhotometricInterpretation not in GREY:
            return Image.fromarray(np.asarray(frame, dtype=np.uint8), "RGB")
        values = pixels.apply_modality_lut(frame, file).astype(np.float64)
        low, high = _window(file)
    except Exception as error:  # pydicom's decoders raise anything on damaged files
        raise ValueError(f"cannot be decoded: {reason(error)}") from error
    if file.PhotometricInterpretation == "MONOCHROME1":
        values, low, high = -values, -high, -low
    if is_scaled:
        values = np.clip((values - low) / max(high - low, 1e-30), 0, 1)
    return Image.fromarray(values.astype(np.float32))


def _window(file: Any) -> tuple[float, float]:
    """The numbers of the modality between which an image is shown."""
    if "WindowCenter" in file and "WindowWidth" in file:
        center, width = (np.atleast_1d(file[name].value)[0] for name in ("WindowCenter", "WindowWidth"))
        return float(center) - float(width) / 2, float(center) + float(width) / 2
    slope, intercept = float(file.get("RescaleSlope", 1)), float(file.get("RescaleIntercept", 0))
    bits, is_signed = int(file.BitsStored), int(file.PixelRepresentation)
    stored = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
    ends = sorted(slope * number + intercept for number in stored)
    return ends[0], ends[1]


def _read(content: bytes, **options: Any) -> Any:
    pydicom = needed("pydicom", "dicom", "it is a DICOM file, which")
    try:
        return pydicom.dcmread(io.BytesIO(content), **options)
    except Exception as error:
        raise ValueError(f"is no file that pydicom can read: {reason(error)}") from error
