"""Readers of what users bring along: tables of images, texts of classes, images of DICOM."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from harness import Reader
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from run_files import BINARY_TOKENS, JSON_TOKENS, TREE, YAML_TOKENS, of_file, put
from sets import CSV_TOKENS, IMAGES

from hmc_shared.data.formats.image_rows import load_image_rows
from hmc_shared.data.image_table import decode, image_size
from hp_dval.class_texts import class_texts

EDGES = b"parent,child\nlung,mass\nlung,edema\n"
LETTERS = "abcdefghijkl"
NAMED = "Image Index,Finding Labels,split\n" + "".join(
    f"{letter}.png,{('mass', 'mass|edema', 'lung')[row % 3]},{('train', 'val', 'test')[row // 4]}\n"
    for row, letter in enumerate(LETTERS)
)
ONE_HOT = "Path,age,mass,edema\n" + "".join(
    f"{letter}.png,{row + 40},{row % 2},{('0', '1', '-1', '')[row % 4]}\n"
    for row, letter in enumerate(LETTERS)
)
TEXTS = (
    (".yaml", b"a: an ant\nb: [a bee, 'a bee, flying']\nc: a crow\n", YAML_TOKENS),
    (".json", b'{"a": "an ant", "b": ["a bee", "bees"], "c": "a crow"}', JSON_TOKENS),
    (".csv", b'name,text\na,an ant\nb,a bee\nb,"bees, many"\nc,a crow\n', CSV_TOKENS),
)


def dicom() -> bytes:
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = SecondaryCaptureImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = "1.2.3"
    file.Rows, file.Columns, file.SamplesPerPixel, file.PhotometricInterpretation = 4, 6, 1, "MONOCHROME1"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.RescaleSlope, file.RescaleIntercept, file.WindowCenter, file.WindowWidth = 2, -1024, 40, 400
    file.PixelData = np.arange(24, dtype=np.uint16).tobytes()
    out = io.BytesIO()
    file.save_as(out, enforce_file_format=True)
    return out.getvalue()


def of_images(content: bytes, folder: Path) -> object:
    for letter in LETTERS:
        put(folder, f"{letter}.png", IMAGES[0])
    put(folder, "edges.csv", EDGES)
    unsure = ("refuse", "refuse") if b"Finding Labels" in content else ("unknown", "unknown")
    return load_image_rows([put(folder, "t.csv", content)], None, *unsure)


def pixels(content: bytes, _: Path) -> object:
    return image_size(content), decode(content)


READERS = (
    Reader("table of images", of_images, (NAMED.encode(), ONE_HOT.encode()), CSV_TOKENS, slow=2),
    *(
        Reader(
            f"class texts: {suffix}",
            of_file(f"texts{suffix}", lambda path: class_texts(TREE, path)),
            (content,),
            tokens,
            says=f"texts{suffix}",
        )
        for suffix, content, tokens in TEXTS
    ),
    Reader("dicom", pixels, (dicom(),), BINARY_TOKENS, slow=2),
)
