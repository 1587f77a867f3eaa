"""Options of the command ``hmc embed``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from hmc_shared.cli.bounds import FREE, Bounds, Count, check_options, free_options
from hmc_shared.cli.metavars import Codes, Columns, Levels, Percentiles
from hmc_shared.unsure import Blank, Uncertain


@dataclass(frozen=True)
class Embed:
    """Turn images or texts into a table of vectors, which every method for vectors reads.

    `--output DIR` gets table.parquet (names, labels, splits, vectors in float16), edges.csv, the hierarchy,
    and a note of how the vectors were made, so that models trained on them take raw images and texts:
    `hlstm train --dataset table:DIR`, `hlstm predict RUN photo.jpg`.
    """

    dataset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")]
    """Data set of images, also folder:PATH, labels:PATH or hf:PATH; or table:PATH with `--text` or
    `--array`."""
    output: Annotated[Path, FREE, tyro.conf.arg(metavar="DIR")]
    """New folder."""
    encoder: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """For images lite0 (default; the extra `lite0`), timm:NAME, a network of torchvision, or
    open_clip:NAME/WEIGHTS; for texts tfidf (default: pieces of words, fitted to the training rows),
    sentence-transformers:NAME or open_clip:NAME/WEIGHTS."""
    weights: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Weights of a network of timm or torchvision, a state dict in a file, instead of those that the library
    offers; `predict` needs the file, too."""
    text: Annotated[tuple[str, ...], Columns] = ()
    """Columns of text to embed; several are joined."""
    array: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Vectors that are there already: an .npy file (n, F), whose rows are those of the table."""
    levels: Annotated[str | None, Levels] = None
    """Columns of labels of a data set hf:PATH or table:PATH, coarse to fine, with commas between them."""
    uncertain: Uncertain = "refuse"
    """What -1 is in a column of 0 and 1 of a table labels:PATH; default: an error that names the line."""
    blank: Blank = "refuse"
    """What an empty cell is in such a column: in CheXpert, negative."""
    window: Annotated[str | None, Percentiles] = None
    """Percentiles of the numbers of an image of more than 8 bits that become black and white, such as 1,99;
    default: 16 bits are scaled from 0 to 65535, DICOM by the window in the file."""
    evidence: Annotated[tuple[str, ...], Codes] = ()
    """Evidence codes that count in a .gaf file beside a table; default: all."""
    data_dir: Annotated[Path | None, FREE, tyro.conf.arg(metavar="DIR")] = None
    """Folder with the files of sets that are not embedded; default: the environment variable HMC_DATA."""
    size: Annotated[int, Bounds(1, 4096)] = 256
    """Numbers in a vector of tfidf; fewer where there are fewer rows or words."""
    image_size: Annotated[int, Bounds(8, 2048)] | None = None
    """Side, in pixels, of the square that images are brought to; default: the encoder's own."""
    batch_size: Count = 16
    """Rows that a network takes at a time; few are fastest without a GPU."""
    workers: Annotated[int, Bounds(0), FREE] = 2
    """Processes that read images."""
    on_error: Literal["refuse", "skip"] = "refuse"
    """What to do with images that cannot be decoded: end with the name of the first, or leave them out."""
    resume: Annotated[bool, FREE] = False
    """Go on in the folder where it was stopped."""
    overwrite: Annotated[bool, FREE] = False
    """Write the folder anew."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.text and self.array:
            raise ValueError("`--text` and `--array` should not come together. Found both.")
        is_table = self.dataset.lower().startswith("table:")
        if is_table != bool(self.text or self.array):
            rule = "`--text COLUMN` or `--array FILE` should come with table:PATH"
            raise ValueError(f"{rule}. Found {self.dataset!r} {'without' if is_table else 'with'} it.")
        if is_table and self.window is not None:
            raise ValueError(f"`--window` is for images. Found it for {self.dataset!r}.")
        if self.array and self.encoder:
            raise ValueError(f"`--array` holds vectors already: it takes no encoder. Found {self.encoder!r}.")

    def free_on_resume(self) -> frozenset[str]:
        return free_options(type(self))
