"""Archives of arrays, .npz: read without pickle and in bounded memory, or refused by name."""

from __future__ import annotations

import threading
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from hmc_shared.messages import reason

FREE_BYTES, GROWTH = 256 << 20, 100
"""An archive may unpack to 256 MiB, or to 100 times its size."""
_ONE_AT_A_TIME = threading.Lock()
"""NumPy reads the head of an array with Python's parser, which in Python 3.11 fails in several threads."""


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an archive, by name.

    Raises ValueError, naming the file, if it is damaged, holds pickled objects or anything but arrays, or
    unpacks to more than ``FREE_BYTES`` and ``GROWTH`` times its size.
    """
    try:
        # Opened here: np.load leaves a damaged file open.
        with Path(path).open("rb") as file, _ONE_AT_A_TIME, np.load(file, allow_pickle=False) as archive:
            check_unpacked(archive.zip, path)
            arrays = {name: archive[name] for name in archive.files}
            if other := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
                raise ValueError(f"{other[0]!r} is no array")
            return arrays
    except Exception as error:  # zipfile, zlib and numpy raise a dozen types for damaged content
        raise ValueError(f"{path} is not readable as arrays: {reason(error)}") from error


def check_unpacked(archive: ZipFile, path: str | Path) -> None:
    """Raise ValueError for what unpacks to more than ``FREE_BYTES`` and ``GROWTH`` times its size."""
    size = sum(item.file_size for item in archive.infolist())  # no more than this is unpacked
    if size > max(FREE_BYTES, GROWTH * Path(path).stat().st_size):
        raise ValueError(f"it unpacks to {size} bytes, write it without compression")
