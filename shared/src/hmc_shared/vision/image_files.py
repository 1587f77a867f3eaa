"""Image files, as a model looks at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from hmc_shared.data.image_table import SUFFIXES, Window, decode, is_hidden
from hmc_shared.resizing import Resize
from hmc_shared.vision.pixels import resize_and_crop


def find_images(inputs: Sequence[str | Path]) -> list[Path]:
    """The files, and all image files below the folders but hidden ones, sorted inside each.

    Raises ValueError for a folder without any, and where there is nothing.
    """
    files: list[Path] = []
    for path in map(Path, inputs):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            inside = [p for p in inside if not any(map(is_hidden, p.relative_to(path).parts))]
            if not inside:
                raise ValueError(f"{path} should hold images. Found none.")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise ValueError(f"{path} should be an image or a folder. Found nothing there.")
    return files


def read_image(
    path: Path, input_shape: tuple[int, ...], resize: Resize, window: Window | None = None
) -> Tensor:
    """An image file as (channels, height, width) uint8, brought to the model's size as in evaluation.

    Raises ValueError, naming the file, for one that cannot be read or decoded.
    """
    try:
        pixels = decode(path.read_bytes(), window=window)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    return resize_and_crop(torch.from_numpy(pixels).permute(2, 0, 1), input_shape, resize)


def read_batches(
    files: Sequence[Path],
    input_shape: tuple[int, ...],
    resize: Resize,
    left_out: list[str],
    batch_size: int = 64,
    window: Window | None = None,
) -> Iterator[tuple[list[Path], Tensor]]:
    """Image files in order, a few at a time, with (b, channels, height, width) uint8 of :func:`read_image`.

    Of those that cannot be decoded, the messages that say so are added to ``left_out``.
    """
    for start in range(0, len(files), batch_size):
        read: list[Path] = []
        images: list[Tensor] = []
        for path in files[start : start + batch_size]:
            try:
                images.append(read_image(path, input_shape, resize, window))
                read.append(path)
            except ValueError as error:
                left_out.append(str(error))
        if images:
            yield read, torch.stack(images)
