"""The data sets by name: reader, the files that tell that a set is there, source, licence, shape."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmc_shared.data.dataset import HierarchicalDataset

GROUP = "hmc.datasets"
"""Entry points by which other distributions add data sets: name = "module:reader"."""
UNKNOWN = "not stated"


@dataclass(frozen=True)
class Entry:
    """A data set of the catalogue.

    The reader is called with those of name, path, data_dir, view, protocol and levels that its parameters are
    named after, and returns a :class:`~hmc_shared.data.dataset.HierarchicalDataset`.
    """

    name: str
    kind: Literal["embedded", "images", "CLUS", "Mulan", "added"]
    reader: str
    """"module:function"."""
    shape: str = ""
    """Inputs and classes, in a few words."""
    source: str = ""
    licence: str = UNKNOWN
    files: tuple[str, ...] = ()
    """The lists that the folder of an image set has, looked for in ``data_dir`` and up to two folders below."""

    def load_reader(self) -> Callable[..., HierarchicalDataset]:
        """Import the reader. Raises ValueError if it cannot be imported."""
        module, _, function = self.reader.partition(":")
        try:
            return getattr(import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"The reader {self.reader} of {self.name!r} cannot be had: {error}.") from error


BENCHMARKS = "hmc_shared.data.benchmarks"
FORMATS = {
    name: Entry(f"{name}:", "added", f"hmc_shared.data.formats.{module}:load", shape)
    for name, module, shape in (
        ("folder", "image_folder", "nested folders of images"),
        ("labels", "labels_json", "images with a labels.json"),
        ("table", "table", "features and labels in a .csv or .parquet file"),
        ("hf", "hf_export", "a folder that `hmc datasets export` wrote"),
        ("hf with --levels", "hf_columns", "any data set of the `datasets` library"),
    )
}
"""What stands before the colon of a path, and what it reads."""

_SPLITS = ("train", "val", "test")
_CIFAR = tuple(f"cifar-100-python/{name}" for name in ("meta", "train", "test"))
_COCO = {
    year: tuple(f"annotations/instances_{part}{year}.json" for part in ("train", "val"))
    for year in (2014, 2017)
}
_AIRCRAFT = tuple(
    f"fgvc-aircraft-2013b/data/images_{level}_{part}.txt"
    for level in ("variant", "family", "manufacturer")
    for part in _SPLITS
)
_NUSWIDE = tuple(f"ImageList/{part}Imagelist.txt" for part in ("Train", "Test"))
MIRFLICKR = (
    *(
        "animals",
        "baby",
        "bird",
        "car",
        "clouds",
        "dog",
        "female",
        "flower",
        "food",
        "indoor",
        "lake",
        "male",
    ),
    *(
        "night",
        "people",
        "plant_life",
        "portrait",
        "river",
        "sea",
        "sky",
        "structures",
        "sunset",
        "transport",
    ),
    *("tree", "water"),
)
"""The potential labels of MIRFLICKR-25k."""

_UCI = "Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998"
_CIFAR_SOURCE = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
_COCO_SOURCE = "Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014"
_VOC_SOURCE = "Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010"
_NUS_SOURCE = "Chua et al., NUS-WIDE: A Real-World Web Image Database, CIVR 2009"
_AIRCRAFT_SOURCE = "Maji et al., Fine-Grained Visual Classification of Aircraft, 2013"
_LONG_TAIL = "Wu et al., Distribution-Balanced Loss for Multi-Label Classification, ECCV 2020"
_CLUS_SOURCE = "Vens et al., Decision Trees for Hierarchical Multi-Label Classification, 2008"
_MULAN_SOURCE = "Tsoumakas et al., Mulan: A Java Library for Multi-Label Learning, JMLR 2011"
_COCO_LICENCE, _FLICKR = "annotations CC BY 4.0, images by Flickr's terms", "images by Flickr's terms"


def _images(
    name: str, module: str, shape: str, source: str, files: tuple[str, ...], licence: str = UNKNOWN
) -> Entry:
    return Entry(name, "images", f"{BENCHMARKS}.{module}:load", shape, source, licence, files)


def _lists(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}.txt" for name in names)


_ENTRIES = (
    Entry("digits", "embedded", f"{BENCHMARKS}.digits:load", "8 x 8 pixels, tree of 16", _UCI, "CC BY 4.0"),
    Entry(
        "digit-scenes",
        "embedded",
        f"{BENCHMARKS}.digit_scenes:load",
        "32 x 32 pixels, several of 16",
        _UCI,
        "CC BY 4.0",
    ),
    _images("cifar100", "cifar100", "32 x 32 images, tree of 120", _CIFAR_SOURCE, _CIFAR),
    _images("cifar-scenes", "cifar_scenes", "64 x 64 images, several of 120", _CIFAR_SOURCE, _CIFAR),
    *(
        _images(
            f"coco{year}{tree}",
            "coco",
            "images, tree of 92" if tree else "images, 80 labels",
            _COCO_SOURCE,
            _COCO[year],
            _COCO_LICENCE,
        )
        for year in _COCO
        for tree in ("", "-tree")
    ),
    _images(
        "coco-lt", "voc_coco_lt", "images, 80 labels", _LONG_TAIL, _lists("coco_lt", "train", "test"), _FLICKR
    ),
    _images(
        "fgvc-aircraft",
        "fgvc_aircraft",
        "images, tree of 200",
        _AIRCRAFT_SOURCE,
        _AIRCRAFT,
        "non-commercial research",
    ),
    _images(
        "fgvc-aircraft-boxes",
        "fgvc_aircraft",
        "the same, cropped to the boxes",
        _AIRCRAFT_SOURCE,
        (*_AIRCRAFT, "fgvc-aircraft-2013b/data/images_box.txt"),
        "non-commercial research",
    ),
    _images(
        "grocery",
        "grocery",
        "images, tree of 124",
        "Klasson et al., A Hierarchical Grocery Store Image Dataset, WACV 2019",
        ("classes.csv", *(f"{part}.txt" for part in _SPLITS)),
        "MIT",
    ),
    _images(
        "mirflickr",
        "mirflickr",
        "images, 24 labels",
        "Huiskes and Lew, The MIR Flickr Retrieval Evaluation, MIR 2008",
        _lists("mirflickr25k_annotations_v080", *MIRFLICKR),
        "images under Creative Commons licences",
    ),
    _images("nuswide", "nuswide", "images, 81 labels", _NUS_SOURCE, _NUSWIDE, _FLICKR),
    _images("nuswide21", "nuswide", "images, 21 labels", _NUS_SOURCE, _NUSWIDE, _FLICKR),
    _images(
        "voc2007",
        "voc",
        "images, 20 labels",
        _VOC_SOURCE,
        _lists("VOC2007/ImageSets/Main", "train", "val", "test"),
        _FLICKR,
    ),
    _images(
        "voc2012",
        "voc",
        "images, 20 labels",
        _VOC_SOURCE,
        _lists("VOC2012/ImageSets/Main", "train", "val"),
        _FLICKR,
    ),
    _images(
        "voc-lt", "voc_coco_lt", "images, 20 labels", _LONG_TAIL, _lists("voc_lt", "train", "test"), _FLICKR
    ),
    *(
        Entry(f"{yeast}_{ontology}", "CLUS", f"{BENCHMARKS}.clus:load", shape, _CLUS_SOURCE)
        for ontology, shape in (("FUN", "gene features, FunCat tree"), ("GO", "gene features, GO DAG"))
        for yeast in ("cellcycle", "derisi", "eisen", "expr", "gasch1", "gasch2", "seq", "spo")
    ),
    *(
        Entry(name, "CLUS", f"{BENCHMARKS}.clus:load", f"features of {what}, tree", _CLUS_SOURCE)
        for name, what in (
            ("Diatoms", "diatom images"),
            ("Enron", "e-mails"),
            ("ImCLEF07A", "X-ray images"),
            ("ImCLEF07D", "X-ray images"),
        )
    ),
    *(
        Entry(name, "Mulan", f"{BENCHMARKS}.mulan:load", shape, _MULAN_SOURCE)
        for name, shape in (
            ("bookmarks", "2150 features, 208 labels"),
            ("delicious", "500 features, 983 labels"),
            ("mediamill", "120 features, 101 labels"),
            ("scene", "294 features, 6 labels"),
            ("yeast", "103 features, 14 labels"),
        )
    ),
)
CATALOG = {entry.name: entry for entry in _ENTRIES}
"""The published sets. Those of CLUS and Mulan are found by the pattern of their files, whatever their name."""
EMBEDDED = tuple(entry.name for entry in _ENTRIES if entry.kind == "embedded")
"""These need no file."""


def find_entry(name: str) -> Entry | None:
    """The entry of a name in any case, also of those that other distributions add; None if there is none."""
    lower = {"coco": "coco2014"}.get(name.lower(), name.lower())
    if lower.startswith(("voc2007-", "coco2014-")) and not lower.endswith("-tree"):
        return Entry(lower, "images", f"{BENCHMARKS}.fewshot:load", "few-shot episode", licence=_FLICKR)
    known = {entry.name.lower(): entry for entry in [*CATALOG.values(), *added_entries()]}
    return known.get(lower)


def added_entries() -> list[Entry]:
    """The data sets that other distributions add by the entry points ``hmc.datasets``."""
    return [Entry(point.name, "added", point.value) for point in entry_points(group=GROUP)]
