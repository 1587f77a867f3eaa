"""Readers of published image sets, of tables and of folders of images; no path may lead out of a folder."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from harness import Reader
from PIL import Image
from pyarrow import parquet
from run_files import BINARY_TOKENS, JSON_TOKENS, as_json, folder_of, in_folder, of_file, put

from hmc_shared.data import load_dataset
from hmc_shared.data.benchmarks import (
    coco,
    fewshot,
    fgvc_aircraft,
    grocery,
    mirflickr,
    nuswide,
    voc,
    voc_coco_lt,
)
from hmc_shared.data.formats import labels_json
from hmc_shared.data.formats.features import read_table
from hmc_shared.data.formats.table import read_edges
from hmc_shared.data.image_table import decode, image_size
from hmc_shared.vision.image_files import read_image

LIST_TOKENS = (
    *b"../a /etc/passwd ..\\a a.jpg 0 1 19 20 -1 99999999999 x \xff \xef\xbb\xbf \0 \" ' ,".split(),
    *(b"\n", b"\r\n", b"\t", b" ", b",1,0", "\u0661".encode(), "\u2028".encode(), b"a" * 300),
)


def inside(names: Iterable[str]) -> None:
    """Fail, by another error than the documented one, for a path that leads out of its folder."""
    for name in names:
        assert not name.startswith("/"), name
        assert ".." not in name.split("/"), name
        assert "\0" not in name, name


def of_images(name: str, read: Callable[[Path], Iterable[str]]) -> Callable[[bytes, Path], object]:
    return of_file(name, lambda path: inside(read(path)))


def instances(path: Path) -> Iterable[str]:
    content = coco.read_instances(path, "train")
    coco.build_hierarchy(content["categories"], tree=False)
    return content["images"]


COCO = as_json(
    {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 9, "file_name": "b.jpg"}],
        "categories": [
            {"id": 1, "name": "cat", "supercategory": "animal"},
            {"id": 2, "name": "cup", "supercategory": "x"},
        ],
        "annotations": [{"image_id": 7, "category_id": 2, "segmentation": [[1, 2]], "iscrowd": 0}],
    }
)
VOC = b"<annotation>\n<object><name>cat</name><difficult>0</difficult></object>\n</annotation>"
XML_TOKENS = (
    *(
        b"<object>",
        b"</object>",
        b"<name>",
        b"</name>",
        b"dog",
        b"&a;",
        b"&#0;",
        b"\0",
        b"\xff\xfe",
        b"\n",
        b"<!--",
    ),
    b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
    *(b'<?xml version="1.0" encoding="' + name + b'"?>' for name in (b"utf-7", b"shift_jis", b"x")),
)
LASO = as_json({"runs": {"1shot_run1": {"class_to_positions": {"0": [3, 4], "1": [5]}}}})
CLASSES = b"Class Name,Class ID,Coarse,Coarse ID\nFuji,0,Apple,0\nGala,1,Apple,0\nMilk,2,Milk,1\n"
FINE = {(0, 0): "Apple/Fuji", (1, 0): "Apple/Gala", (2, 1): "Milk/Milk"}


def tar_of() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("train/a.jpg", "train/b.jpg"):
            item = tarfile.TarInfo(name)
            item.size = 600
            archive.addfile(item, io.BytesIO(b"x" * 600))
    return file.getvalue()


def nus(content: bytes, folder: Path) -> object:
    labels = put(folder, "Labels_sky_Train.txt", b"1\n0\n")
    return inside(nuswide.read_part(put(folder, "TrainImagelist.txt", content), [labels])["images"])


def nus_labels(content: bytes, folder: Path) -> object:
    images = put(folder, "TrainImagelist.txt", b"a\\1.jpg\nb\\2.jpg\n")
    return nuswide.read_part(images, [put(folder, "Labels_sky_Train.txt", content)])


# Images and tables


RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (9, 11, 3), dtype=np.uint8)
NUMBERS = RNG.integers(0, 60000, (5, 7))
TURNED = Image.Exif()
TURNED[0x0112], TURNED[0x010E] = 6, "a description"
FRAMES: dict[str, Any] = {"save_all": True, "append_images": [Image.new("L", (11, 9))] * 2}


def saved(suffix: str, mode: str | None = None, pixels: np.ndarray = COLOURS, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, suffix, **options)
    return file.getvalue()


IMAGES = (
    *map(saved, ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")),
    *(saved("PNG", mode) for mode in ("1", "L", "LA", "P", "RGBA")),
    *(saved("TIFF", pixels=NUMBERS.astype(kind)) for kind in (np.uint16, np.int32)),
    saved("TIFF", pixels=RNG.random((5, 7)).astype(np.float32)),
    *(saved("TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")),
    saved("JPEG", progressive=True, exif=TURNED),
    *(saved("JPEG", "CMYK"), saved("PNG", exif=TURNED), saved("GIF", **FRAMES), saved("WEBP", **FRAMES)),
    b"P5\n3 2\n4095\n" + bytes(range(12)),
)


def image(content: bytes, _: Path) -> object:
    size, pixels = image_size(content), decode(content)
    assert size in (pixels.shape[1::-1], pixels.shape[:2]), size  # turned by its EXIF orientation
    return pixels


def labels(classes: bytes | None) -> Callable[[bytes, Path], object]:
    def of(content: bytes, folder: Path) -> object:
        for number in range(12):
            put(folder, f"{number}.png", IMAGES[3])
        put(folder, "labels.json", content)
        if classes is not None:
            put(folder, "classes.json", classes)
        return labels_json.load(str(folder))

    return of


def classes(content: bytes, folder: Path) -> object:
    return labels(content)(NUMBERED, folder)


NAMED = as_json({f"{n}.png": ["ant", "bee"][: 1 + n % 2] for n in range(12)})
NUMBERED = as_json({f"{n}.png": [n % 3] for n in range(12)})


def table(name: str) -> Callable[[bytes, Path], object]:
    def of(path: Path) -> object:
        read_table(path)
        return load_dataset(f"table:{path}")

    return of_file(name, of)


CSV = ("id,x,y,labels\n" + "".join(f"r{i},{i},0.5,{'cat' if i % 2 else 'dog'}\n" for i in range(12))).encode()
CSV_TOKENS = (
    *b"? NA nan inf 1e39 1e400 1,5 True cat;dog a|b ['cat','dog'] [0,1] [[[ \" ' ; | \xff \0".split(),
    *(b"\n", b"\r", b"\t", b",", b"labels", b"split", b"train", b"v[0]", b"x" * 300, "\u2028".encode()),
)
sink = io.BytesIO()
parquet.write_table(
    pa.table(
        {"x": [1.0, 2.0, 3.0] * 4, "labels": [["cat"], ["dog"], ["cat", "dog"]] * 4, "v": [[1.0, 2.0]] * 12}
    ),
    sink,
)
PARQUET = sink.getvalue()
CHOSEN = ("x", "v[0]")  # as a model names its features


def saved_to_disk(folder: Path) -> None:
    """A set of `datasets` with class labels, alone and in lists, in two splits."""
    kind = datasets.ClassLabel(names=["ant", "bee"])
    features = datasets.Features(
        {"x": datasets.Value("float64"), "kind": kind, "all": datasets.List(kind), "y": kind}
    )
    rows = {
        "x": [0.5] * 12,
        "kind": [0, 1] * 6,
        "all": [[0], [1], [0, 1], []] * 3,
        "y": [0] * 12,
    }
    part = datasets.Dataset.from_dict(rows, features)
    datasets.disable_progress_bars()
    datasets.DatasetDict({"train": part, "test": part}).save_to_disk(folder)


HF = folder_of(saved_to_disk)


def of_columns(folder: Path) -> object:
    return [load_dataset(f"hf:{folder}", levels=levels) for levels in ("kind", "all")]


array = io.BytesIO()
np.save(array, np.arange(12.0).reshape(4, 3))

READERS = (
    Reader("coco", of_images("coco.json", instances), (COCO,), JSON_TOKENS, says="coco.json"),
    Reader(
        "voc list",
        of_images("train.txt", voc.read_ids),
        (b"000001\n000002\n",),
        LIST_TOKENS,
        says="train.txt",
    ),
    Reader(
        "voc annotation",
        lambda content, folder: voc.object_classes(content, folder / "a.xml"),
        (VOC,),
        XML_TOKENS,
        says="a.xml",
    ),
    Reader(
        "voc-lt list",
        of_images("train.txt", lambda path: voc_coco_lt.read_list(path, 20)),
        (b"VOC/a.jpg 14 4\nVOC/b.jpg 0\n",),
        LIST_TOKENS,
        says="train.txt",
    ),
    Reader(
        "fewshot",
        of_file("laso.json", lambda path: fewshot.read_episode(path, "1shot_run1", 80)),
        (LASO,),
        JSON_TOKENS,
        says="laso.json",
    ),
    Reader(
        "grocery classes",
        of_file("classes.csv", grocery.read_classes),
        (CLASSES,),
        LIST_TOKENS,
        says="classes.csv",
    ),
    Reader(
        "grocery list",
        of_images("train.txt", lambda path: grocery.read_list(path, FINE)[0]),
        (b"train/a.jpg, 0, 0\ntrain/b.jpg, 2, 1\n",),
        LIST_TOKENS,
        says="train.txt",
    ),
    Reader(
        "grocery tar",
        of_file("t.tar", lambda path: list(grocery.read_tar(path, ["train/a.jpg", "train/b.jpg"]))),
        (tar_of(),),
        BINARY_TOKENS,
        says="t.tar",
    ),
    Reader(
        "aircraft list",
        of_images("l.txt", fgvc_aircraft.read_labels),
        (b"12 707-320\n13 A 310\n",),
        LIST_TOKENS,
        says="l.txt",
    ),
    Reader(
        "aircraft boxes",
        of_file("b.txt", fgvc_aircraft.read_boxes),
        (b"12 3 2 8 6\n13 1 1 5 5\n",),
        LIST_TOKENS,
        says="b.txt",
    ),
    Reader(
        "mirflickr", of_file("sea.txt", mirflickr.read_numbers), (b"3\n4\n11\n",), LIST_TOKENS, says="sea.txt"
    ),
    Reader("nuswide list", nus, (b"a\\1.jpg\nb\\2.jpg\n",), LIST_TOKENS, says="Train"),
    Reader("nuswide labels", nus_labels, (b"1\n0\n",), LIST_TOKENS, says="Labels_sky"),
    Reader("image", image, IMAGES, BINARY_TOKENS),
    Reader("labels.json", labels(None), (NAMED, NUMBERED), JSON_TOKENS, slow=10),
    Reader(
        "classes.json",
        classes,
        (b'["ant", "bee", "cow"]', b'{"0": "ant", "1": "bee", "2": "cow"}'),
        JSON_TOKENS,
        slow=10,
    ),
    Reader(
        "image file", of_file("i.png", lambda path: read_image(path, (3, 8, 8), 0.875)), IMAGES, BINARY_TOKENS
    ),
    *(
        Reader(
            f"hf columns: {name}",
            in_folder(HF, name, of_columns),
            (HF[name],),
            JSON_TOKENS if name.endswith("json") else BINARY_TOKENS,
            slow=10,
        )
        for name in (
            "dataset_dict.json",
            "train/state.json",
            "train/dataset_info.json",
            "train/data-00000-of-00001.arrow",
        )
    ),
    Reader(
        "predict: csv",
        of_file("t.csv", lambda path: read_table(path, ("x", "labels=cat"))),
        (CSV,),
        CSV_TOKENS,
    ),
    Reader(
        "predict: parquet",
        of_file("t.parquet", lambda path: read_table(path, CHOSEN)),
        (PARQUET,),
        BINARY_TOKENS,
    ),
    Reader("table: csv", table("t.csv"), (CSV,), CSV_TOKENS, slow=2),
    Reader("table: parquet", table("t.parquet"), (PARQUET,), BINARY_TOKENS, slow=2),
    Reader(
        "edges",
        of_file("e.csv", read_edges),
        (b"parent,child\na,b\na,c\nb,d\n,e\n",),
        CSV_TOKENS,
        says="e.csv",
    ),
    Reader("npy", of_file("t.npy", read_table), (array.getvalue(),), BINARY_TOKENS, says="t.npy"),
)
